//! The constants that make results of sums.

use crate::graph::IntegerGraph;
use crate::graph::interval::Interval;

/// Up to this magnitude accumulators and their distances from a minimum are exact in `f64`.
const MAX_EXACT: u64 = 1 << 52;

/// Constants of all outputs.
#[derive(Debug)]
pub(super) struct Outputs {
    /// Eight by eight.
    pub(super) groups: Vec<OutputGroup>,
    /// The same in the order of results; none for a single output or more than a tile has columns.
    pub(super) runs: Option<Runs>,
}

impl Outputs {
    /// The constants of `graph`; none if an accumulator is not exact in `f64`.
    pub(super) fn new(graph: &IntegerGraph) -> Option<Self> {
        let intervals = graph.output_intervals();
        let largest = |acc: &Interval| acc.low.unsigned_abs().max(acc.high.unsigned_abs());
        if intervals.iter().map(largest).max()? >= MAX_EXACT {
            return None;
        }
        let groups = OutputGroup::all(graph, intervals);
        Some(Self { runs: Runs::new(&groups, intervals.len()), groups })
    }
}

/// Constants of eight outputs; those beyond the last one are never used.
#[derive(Debug, Clone)]
pub(super) struct OutputGroup {
    /// Each accumulator's proven minimum.
    pub(super) low: [i64; 8],
    /// The same.
    pub(super) low_steps: [f64; 8],
    pub(super) scale: [f64; 8],
    pub(super) offset: [f64; 8],
}

/// Some rows' results in the order in which they are stored, eight by eight.
#[derive(Debug)]
pub(super) struct Runs {
    /// Rows whose results are so many.
    pub(super) rows: usize,
    pub(super) runs: Vec<Run>,
}

/// Eight results that follow each other, across rows.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) group: OutputGroup,
    /// Where each is in four rows of a tile: sixteen times the row, plus the column, in the first byte.
    pub(super) places: [[u8; 8]; 8],
    /// The first of these four rows.
    pub(super) first: usize,
}

impl Runs {
    /// Rows that a run may span.
    const SPAN: usize = 4;

    fn new(outputs: &[OutputGroup], n: usize) -> Option<Self> {
        let rows = if n.is_multiple_of(2) { Self::SPAN } else { 2 * Self::SPAN };
        let run = |index: usize| {
            let first = (8 * index / n).min(rows - Self::SPAN);
            let place = |at: usize| 16 * ((8 * index + at) / n - first) + (8 * index + at) % n;
            let places = |at: usize| [place(at).to_le_bytes()[0], 0, 0, 0, 0, 0, 0, 0];
            let group = OutputGroup::gather(outputs, |at| (8 * index + at) % n);
            Run { group, places: std::array::from_fn(places), first }
        };
        let runs = (0..n * rows / 8).map(run);
        (2..=16).contains(&n).then(|| Self { rows, runs: runs.collect() })
    }
}

impl OutputGroup {
    /// Any eight outputs of these groups.
    fn gather(outputs: &[Self], which: impl Fn(usize) -> usize) -> Self {
        let from = |at: usize| (&outputs[which(at) / 8], which(at) % 8);
        Self {
            low: std::array::from_fn(|at| from(at).0.low[from(at).1]),
            low_steps: std::array::from_fn(|at| from(at).0.low_steps[from(at).1]),
            scale: std::array::from_fn(|at| from(at).0.scale[from(at).1]),
            offset: std::array::from_fn(|at| from(at).0.offset[from(at).1]),
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "below 2^52")]
    fn all(graph: &IntegerGraph, intervals: &[Interval]) -> Vec<Self> {
        let zero = Self { low: [0; 8], low_steps: [0.0; 8], scale: [0.0; 8], offset: [0.0; 8] };
        let mut groups = vec![zero; intervals.len().div_ceil(8)];
        for (output, interval) in intervals.iter().enumerate() {
            let (group, at) = (&mut groups[output / 8], output % 8);
            group.low[at] = interval.low;
            group.low_steps[at] = interval.low as f64;
            group.scale[at] = graph.output().scale()[output];
            group.offset[at] = graph.output().offset()[output];
        }
        groups
    }
}
