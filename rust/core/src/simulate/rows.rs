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

/// Terms of a sum, on average, from which on they are taken four at a time.
const LONG_SUM: usize = 32;

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
            let look_up =
                if has_long_sums(&hidden.linear) { look_up::<true> } else { look_up::<false> };
            let all = next.chunks_exact_mut(n).zip(codes.chunks_exact(n_codes));
            for (next, codes) in all.take(rows) {
                look_up(hidden, codes, next);
            }
            if let Some(errors) = job.errors {
                let sum = |row: usize, neuron| {
                    sum::<false>(hidden, neuron, |column: usize| codes[row * n_codes + column])
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
                *out = job.finish.one(
                    output,
                    accumulator::<false>(graph.head(), output, |column| codes[column]),
                );
            }
        }
    }
    Ok(())
}

fn look_up<const FOURS: bool>(hidden: &Hidden, codes: &[u16], next: &mut [u16]) {
    let lookup = &hidden.lookup;
    for (neuron, code) in next.iter_mut().enumerate() {
        let sum = sum::<FOURS>(hidden, neuron, |column| codes[column]);
        let index = (sum + lookup.half()) >> lookup.lsbs();
        // Proven to be in the table, whose indexes have 16 bits.
        *code = lookup.table(neuron)[usize::try_from(index).unwrap_or(usize::MAX)];
    }
}

/// The accumulator of a neuron before its lookup, counted from its minimum. `FOURS` says whether terms
/// are taken four at a time.
#[inline(always)]
pub(super) fn sum<const FOURS: bool>(
    hidden: &Hidden,
    neuron: usize,
    code: impl Fn(usize) -> u16,
) -> u64 {
    accumulator::<FOURS>(&hidden.linear, neuron, code).abs_diff(hidden.lookup.low()[neuron])
}

/// Wraps on the way, if at all: the sum itself is proven to fit.
#[inline(always)]
fn accumulator<const FOURS: bool>(
    linear: &Linear,
    neuron: usize,
    code: impl Fn(usize) -> u16,
) -> i64 {
    let (mut columns, mut weights) = linear.row(neuron);
    let product = |column: u32, weight: i64| weight.wrapping_mul(code(column as usize).into());
    let mut sum = linear.offset()[neuron];
    if FOURS {
        let (column_fours, weight_fours);
        (column_fours, columns) = columns.as_chunks::<4>();
        (weight_fours, weights) = weights.as_chunks::<4>();
        for (&[a, b, c, d], four) in column_fours.iter().zip(weight_fours) {
            let firsts = product(a, four[0]).wrapping_add(product(b, four[1]));
            let seconds = product(c, four[2]).wrapping_add(product(d, four[3]));
            sum = sum.wrapping_add(firsts).wrapping_add(seconds);
        }
    }
    columns
        .iter()
        .zip(weights)
        .fold(sum, |sum, (&column, &weight)| sum.wrapping_add(product(column, weight)))
}

/// Whether sums are so long that taking terms four at a time saves more than it takes to begin with.
fn has_long_sums(linear: &Linear) -> bool {
    linear.n_nonzeros() >= LONG_SUM * linear.n_outputs()
}
