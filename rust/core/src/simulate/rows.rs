//! A few rows, one by one: nothing to arrange in blocks, nothing to prepare.

use super::evaluate::Job;
use super::finish::Finish;
use super::kernel::BLOCK;
use super::noise::block_of;
use super::source::Source;
use crate::error::InputError;
use crate::graph::IntegerGraph;
use crate::ops::Linear;

/// Space for the codes of a block of rows, row by row, and for table indexes.
pub(super) struct Scratch {
    codes: Vec<u16>,
    indexes: Vec<u16>,
    width: usize,
}

impl Scratch {
    pub(super) fn new(graph: &IntegerGraph) -> Self {
        let hidden = graph.hidden().iter().map(|hidden| hidden.lookup.len());
        let width = hidden.chain([graph.n_features()]).max().unwrap_or(0);
        Self { codes: Vec::new(), indexes: Vec::new(), width }
    }

    fn make_room(&mut self, rows: usize) {
        self.codes.resize(rows * self.width, 0);
        self.indexes.resize(rows * self.width, 0);
    }
}

/// Evaluates the rows from `start` that `out` has room for.
pub(super) fn evaluate<S: Source, F: Finish>(
    job: Job<'_, S, F>,
    start: usize,
    out: &mut [F::Value],
    scratch: &mut Scratch,
) -> Result<(), InputError> {
    let graph = job.graph;
    let width = graph.n_outputs();
    for (start, out) in (start..).step_by(BLOCK).zip(out.chunks_mut(BLOCK * width)) {
        let rows = out.len() / width;
        scratch.make_room(rows);
        let Scratch { codes, indexes, .. } = scratch;
        let mut n_codes = graph.n_features();
        for (row, codes) in (start..).zip(codes.chunks_exact_mut(n_codes)).take(rows) {
            job.source.load(row, codes)?;
        }
        for (layer, hidden) in graph.hidden().iter().enumerate() {
            let n = hidden.lookup.len();
            let all = indexes.chunks_exact_mut(n).zip(codes.chunks_exact(n_codes));
            for (indexes, codes) in all.take(rows) {
                look_up_indexes(&hidden.linear, &hidden.lookup, codes, indexes);
            }
            if let Some(gaps) = job.gaps {
                for misread in gaps.misreads(block_of(start), layer, rows, n) {
                    let index = &mut indexes[misread.row * n + misread.neuron];
                    let last = hidden.lookup.table(misread.neuron).len() - 1;
                    #[expect(clippy::cast_possible_truncation, reason = "tables have 16 bits")]
                    let read = misread.index((*index).into(), last) as u16;
                    *index = read;
                }
            }
            for (codes, indexes) in
                codes.chunks_exact_mut(n).zip(indexes.chunks_exact(n)).take(rows)
            {
                for ((neuron, code), &index) in codes.iter_mut().enumerate().zip(indexes) {
                    *code = hidden.lookup.table(neuron)[usize::from(index)];
                }
            }
            n_codes = n;
        }
        for (out, codes) in out.chunks_exact_mut(width).zip(codes.chunks_exact(n_codes)) {
            for (output, out) in out.iter_mut().enumerate() {
                *out = job.finish.one(output, accumulator(graph.head(), output, codes));
            }
        }
    }
    Ok(())
}

fn look_up_indexes(
    linear: &Linear,
    lookup: &crate::ops::Lookup,
    codes: &[u16],
    indexes: &mut [u16],
) {
    for ((neuron, index), &low) in indexes.iter_mut().enumerate().zip(lookup.low()) {
        let distance = accumulator(linear, neuron, codes).abs_diff(low);
        #[expect(clippy::cast_possible_truncation, reason = "proven to have 16 bits")]
        let rounded = ((distance + lookup.half()) >> lookup.lsbs()) as u16;
        *index = rounded;
    }
}

/// Wraps on the way, if at all: the sum itself is proven to fit.
fn accumulator(linear: &Linear, neuron: usize, codes: &[u16]) -> i64 {
    let (columns, weights) = linear.row(neuron);
    let products = columns
        .iter()
        .zip(weights)
        .map(|(&column, &weight)| weight.wrapping_mul(codes[column as usize].into()));
    products.fold(linear.offset()[neuron], i64::wrapping_add)
}
