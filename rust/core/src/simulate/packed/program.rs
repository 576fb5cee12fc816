//! A graph prepared for kernels that keep two sums in one 16-bit lane.
//!
//! A lane holds the codes of two rows, one per byte, and `lane * weight` multiplies both. The sum
//! modulo `2^16` of such products is `low + 256 * high` for the two rows' sums, whatever borrows and
//! carries went between the bytes on the way; so if both true sums are proven to lie in `[0, 255]`
//! they can be read from the bytes in the end. A neuron's inputs are therefore cut into groups whose
//! sums, counted from their proven minimum, have at most 8 bits, and the groups' sums are added up in
//! 16 bits. Their total is the accumulator counted from its own minimum: offsets cancel out.

use std::sync::OnceLock;

use super::quantizer::{Arithmetic, Brackets};
use super::table::Table;
use crate::graph::IntegerGraph;
use crate::graph::bounds::{CodeInterval, Interval};
use crate::graph::input::Input;
use crate::graph::linear::Linear;

/// What a group's sum can reach.
const GROUP_WIDTH: u64 = 255;

/// A neuron wider than this has no place in 16 bits.
const MAX_WIDTH: u64 = 65_535;

/// Cutting weights into parts stops paying, against 16-bit lanes, when there are this many times as
/// many parts as weights.
const MAX_PARTS_PER_WEIGHT: usize = 3;

/// Up to this magnitude accumulators and their distances from a minimum are exact in `f64`.
const MAX_EXACT: u64 = 1 << 52;

/// The prepared graph.
#[derive(Debug)]
pub(crate) struct Program {
    /// One per Linear.
    pub(in crate::simulate) layers: Vec<Layer>,
    /// The quantizer in single precision, where it can be had: see [`Program::brackets`].
    fused: OnceLock<Option<Brackets>>,
    rounded_twice: OnceLock<Option<Brackets>>,
    /// Constants of the outputs, eight by eight.
    pub(in crate::simulate) outputs: Vec<OutputGroup>,
    /// The same in the order of results; none for a single output or more than a
    /// tile has columns.
    pub(in crate::simulate) runs: Option<Runs>,
}

/// Constants of eight outputs; those beyond the last one are never used.
#[derive(Debug, Clone)]
pub(in crate::simulate) struct OutputGroup {
    /// Each accumulator's proven minimum.
    pub(in crate::simulate) low: [i64; 8],
    /// The same.
    pub(in crate::simulate) low_steps: [f64; 8],
    pub(in crate::simulate) scale: [f64; 8],
    pub(in crate::simulate) offset: [f64; 8],
}

/// Some rows' results in the order in which they are stored, eight by eight.
#[derive(Debug)]
pub(in crate::simulate) struct Runs {
    /// Rows whose results are so many.
    pub(in crate::simulate) rows: usize,
    pub(in crate::simulate) runs: Vec<Run>,
}

/// Eight results that follow each other, across rows.
#[derive(Debug)]
pub(in crate::simulate) struct Run {
    pub(in crate::simulate) group: OutputGroup,
    /// Where each is in four rows of a tile: sixteen times the row, plus the column, in the first byte.
    pub(in crate::simulate) places: [[u8; 8]; 8],
    /// The first of these four rows.
    pub(in crate::simulate) first: usize,
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

/// A Linear and, but for the last, the Lookup after it.
#[derive(Debug)]
pub(in crate::simulate) struct Layer {
    pub(in crate::simulate) neurons: Vec<Neuron>,
    groups: Vec<Group>,
    terms: Vec<Term>,
    /// Columns of codes that it reads.
    pub(in crate::simulate) n_inputs: usize,
    /// Whether a neuron has more than one group, so more than 8 bits.
    pub(in crate::simulate) wide: bool,
}

/// The end of a neuron's groups, and how its sum is read.
#[derive(Debug)]
pub(in crate::simulate) struct Neuron {
    groups_end: usize,
    pub(in crate::simulate) table: Option<Table>,
}

/// Products whose sum has at most 8 bits.
#[derive(Debug, Clone, Copy)]
struct Group {
    terms_end: usize,
    /// Minus the sum's minimum, for both rows of a lane.
    start: u16,
}

/// A weight on a column of codes.
#[derive(Debug, Clone, Copy)]
pub(in crate::simulate) struct Term {
    pub(in crate::simulate) column: u32,
    /// The weight modulo `2^16`, twice: processors spread 32 bits over a register at no cost.
    pub(in crate::simulate) weights: u32,
}

impl Program {
    /// Prepares `graph`; none if a code needs more than 8 bits or an accumulator more than 16, or if
    /// weights are so large that other lanes are faster.
    pub(crate) fn new(graph: &IntegerGraph) -> Option<Self> {
        let max = graph.input().max_code();
        let mut codes = vec![CodeInterval { low: 0, high: max }; graph.n_features()];
        let lookups = graph.hidden().iter().map(|hidden| Some(&hidden.lookup)).chain([None]);
        let mut layers = Vec::new();
        for (linear, lookup) in graph.linears().zip(lookups) {
            if codes.iter().any(|codes| u64::from(codes.high) > GROUP_WIDTH) {
                return None;
            }
            let mut layer = Layer::new(linear, &codes)?;
            if let Some(lookup) = lookup {
                for (index, neuron) in layer.neurons.iter_mut().enumerate() {
                    let width = graph.intervals()[layers.len()][index].width();
                    neuron.table = Some(Table::new(lookup, index, width)?);
                }
                codes = lookup.images();
            }
            layers.push(layer);
        }
        let outputs = graph.intervals().last()?;
        let exact =
            |acc: &Interval| acc.low.unsigned_abs().max(acc.high.unsigned_abs()) < MAX_EXACT;
        if !outputs.iter().all(exact) {
            return None;
        }
        let groups = OutputGroup::all(graph, outputs);
        Some(Self {
            layers,
            fused: OnceLock::new(),
            rounded_twice: OnceLock::new(),
            runs: Runs::new(&groups, outputs.len()),
            outputs: groups,
        })
    }

    /// The quantizer of the graph, `input`, in single precision, where it can be had.
    pub(in crate::simulate) fn brackets(
        &self,
        input: &Input,
        arithmetic: Arithmetic,
    ) -> Option<&Brackets> {
        let brackets = match arithmetic {
            Arithmetic::Fused => &self.fused,
            Arithmetic::RoundedTwice => &self.rounded_twice,
        };
        brackets.get_or_init(|| Brackets::new(input, arithmetic)).as_ref()
    }
}

impl Layer {
    fn new(linear: &Linear, codes: &[CodeInterval]) -> Option<Self> {
        let mut layer = Self {
            neurons: Vec::new(),
            groups: Vec::new(),
            terms: Vec::new(),
            n_inputs: linear.n_inputs(),
            wide: false,
        };
        for neuron in 0..linear.n_outputs() {
            let before = layer.groups.len();
            layer.push_neuron(linear, neuron, codes)?;
            layer.wide |= layer.groups.len() > before + 1;
        }
        let few = layer.terms.len() <= MAX_PARTS_PER_WEIGHT * linear.n_nonzeros();
        few.then_some(layer)
    }

    fn push_neuron(
        &mut self,
        linear: &Linear,
        neuron: usize,
        codes: &[CodeInterval],
    ) -> Option<()> {
        let (columns, weights) = linear.row(neuron);
        let (mut left, mut width, mut start) = (GROUP_WIDTH, 0_u64, 0_u16);
        for (&column, &weight) in columns.iter().zip(weights) {
            let codes = codes[column as usize];
            let range = u64::from(codes.high - codes.low);
            // A constant input moves the sum and its minimum alike.
            if range == 0 {
                continue;
            }
            width = width.checked_add(range.checked_mul(weight.unsigned_abs())?)?;
            if width > MAX_WIDTH {
                return None;
            }
            let mut magnitude = weight.unsigned_abs();
            while magnitude > 0 {
                let whole = range * magnitude;
                if whole > left && (whole <= GROUP_WIDTH || left < range) {
                    self.close_group(&mut start);
                    left = GROUP_WIDTH;
                }
                let part = magnitude.min(left / range);
                magnitude -= part;
                left -= range * part;
                start = self.push_term(column, weight.signum(), part, codes, start);
            }
        }
        self.close_group(&mut start);
        self.neurons.push(Neuron { groups_end: self.groups.len(), table: None });
        Some(())
    }

    /// Adds a term and returns the group's start with it.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_possible_wrap,
        reason = "parts are at most 255, the rest is modulo 2^16"
    )]
    fn push_term(
        &mut self,
        column: u32,
        sign: i64,
        part: u64,
        codes: CodeInterval,
        start: u16,
    ) -> u16 {
        let weight = sign * part as i64;
        self.terms.push(Term { column, weights: u32::from(weight as u16) * 0x1_0001 });
        let at_least = if sign < 0 { codes.high } else { codes.low };
        start.wrapping_sub((weight * i64::from(at_least) * 257) as u16)
    }

    fn close_group(&mut self, start: &mut u16) {
        self.groups.push(Group { terms_end: self.terms.len(), start: *start });
        *start = 0;
    }

    /// Groups of the neuron with this index: each the start and the terms of a sum of 8 bits.
    #[inline(always)]
    pub(in crate::simulate) fn groups(
        &self,
        neuron: usize,
    ) -> impl Iterator<Item = (u16, &[Term])> {
        let first = if neuron == 0 { 0 } else { self.neurons[neuron - 1].groups_end };
        let mut terms = if first == 0 { 0 } else { self.groups[first - 1].terms_end };
        self.groups[first..self.neurons[neuron].groups_end].iter().map(move |group| {
            let start = std::mem::replace(&mut terms, group.terms_end);
            (group.start, &self.terms[start..group.terms_end])
        })
    }

    /// The first, or only, group of the neuron with this index.
    #[inline(always)]
    pub(in crate::simulate) fn first_group(&self, neuron: usize) -> (u16, &[Term]) {
        let first = if neuron == 0 { 0 } else { self.neurons[neuron - 1].groups_end };
        let start = if first == 0 { 0 } else { self.groups[first - 1].terms_end };
        let group = self.groups[first];
        (group.start, &self.terms[start..group.terms_end])
    }

    /// Whether the neuron has one group.
    #[inline(always)]
    pub(in crate::simulate) fn is_narrow(&self, neuron: usize) -> bool {
        let first = if neuron == 0 { 0 } else { self.neurons[neuron - 1].groups_end };
        self.neurons[neuron].groups_end == first + 1
    }
}
