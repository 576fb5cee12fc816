//! A few rows, one by one: nothing to arrange in blocks, nothing to prepare.

use super::block::BLOCK;
use super::finish::Finish;
use super::job::Job;
use super::noise::block_of;
use super::source::Source;
use crate::error::InputError;
use crate::graph::IntegerGraph;
use crate::graph::layer::Hidden;
use crate::graph::linear::Linear;

/// Space for the codes of a block of rows, row by row, before and after a layer.
pub(super) struct Scratch {
    codes: Vec<u16>,
    next: Vec<u16>,
    width: usize,
}

impl Scratch {
    pub(super) fn new(graph: &IntegerGraph) -> Self {
        let hidden = graph.hidden().iter().map(|hidden| hidden.lookup.len());
        let width = hidden.chain([graph.n_features()]).max().unwrap_or(0);
        Self { codes: Vec::new(), next: Vec::new(), width }
    }

    fn make_room(&mut self, rows: usize) {
        self.codes.resize(rows * self.width, 0);
        self.next.resize(rows * self.width, 0);
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
        let Scratch { codes, next, .. } = scratch;
        let mut n_codes = graph.n_features();
        for (row, codes) in (start..).zip(codes.chunks_exact_mut(n_codes)).take(rows) {
            job.source.load(row, codes)?;
        }
        for (layer, hidden) in graph.hidden().iter().enumerate() {
            let n = hidden.lookup.len();
            let all = next.chunks_exact_mut(n).zip(codes.chunks_exact(n_codes));
            for (next, codes) in all.take(rows) {
                look_up(hidden, codes, next);
            }
            if let Some(errors) = job.errors {
                let sum = |row: usize, neuron| {
                    sum(hidden, neuron, |column: usize| codes[row * n_codes + column])
                };
                let part = (block_of(start), layer, rows);
                errors.misread(part, &hidden.lookup, sum, |row, neuron, code| {
                    next[row * n + neuron] = code;
                });
            }
            std::mem::swap(codes, next);
            n_codes = n;
        }
        for (out, codes) in out.chunks_exact_mut(width).zip(codes.chunks_exact(n_codes)) {
            for (output, out) in out.iter_mut().enumerate() {
                *out = job
                    .finish
                    .one(output, accumulator(graph.head(), output, |column| codes[column]));
            }
        }
    }
    Ok(())
}

fn look_up(hidden: &Hidden, codes: &[u16], next: &mut [u16]) {
    let lookup = &hidden.lookup;
    for (neuron, code) in next.iter_mut().enumerate() {
        let index = (sum(hidden, neuron, |column| codes[column]) + lookup.half()) >> lookup.lsbs();
        // Proven to be in the table, whose indexes have 16 bits.
        *code = lookup.table(neuron)[usize::try_from(index).unwrap_or(usize::MAX)];
    }
}

/// The accumulator of a neuron before its lookup, counted from its minimum.
pub(super) fn sum(hidden: &Hidden, neuron: usize, code: impl Fn(usize) -> u16) -> u64 {
    accumulator(&hidden.linear, neuron, code).abs_diff(hidden.lookup.low()[neuron])
}

/// Wraps on the way, if at all: the sum itself is proven to fit.
fn accumulator(linear: &Linear, neuron: usize, code: impl Fn(usize) -> u16) -> i64 {
    let (columns, weights) = linear.row(neuron);
    let products = columns
        .iter()
        .zip(weights)
        .map(|(&column, &weight)| weight.wrapping_mul(code(column as usize).into()));
    products.fold(linear.offset()[neuron], i64::wrapping_add)
}
