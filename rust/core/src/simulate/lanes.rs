//! Blocks of rows, evaluated layer by layer in lanes of 16, 32 or 64 bits.
//!
//! Codes are stored feature by feature, so that one weight meets the codes of all rows of the block
//! in one loop over contiguous memory, which the compiler vectorizes. Compared with rows one by one,
//! each weight and column index is read once per block, and pruned weights cost nothing.
//!
//! Sums wrap, and are exact all the same: a sum modulo `2^BITS` whose true value is proven to lie in
//! `[0, 2^BITS)` is that value, whatever its partial sums did on the way. An accumulator counted from
//! its proven minimum is never negative, so the narrowest lane that holds its width will do.

use super::block::BLOCK;
use super::finish::Finish;
use super::job::Job;
use super::noise::{Errors, block_of};
use super::rows::sum;
use super::source::Source;
use crate::error::InputError;
use crate::graph::IntegerGraph;
use crate::graph::interval::Interval;
use crate::graph::layer::{Hidden, Stage};
use crate::graph::linear::Linear;

/// Rows are padded to a multiple of this, a vector's worth, so that small batches cost little.
const PADDING: usize = 16;

/// Scratch space for one block: codes feature by feature, [`BLOCK`] apart.
///
/// Padding rows hold the least codes or what an earlier block left, so input codes all the same; that
/// is why hidden layers don't share the inputs' buffer.
pub(super) struct Scratch {
    plan: Plan,
    /// Codes of one row.
    row: Vec<u16>,
    inputs: Vec<u16>,
    hidden: Vec<u16>,
    next: Vec<u16>,
}

impl Scratch {
    pub(super) fn new(graph: &IntegerGraph) -> Self {
        let widest = graph.hidden().iter().map(|hidden| hidden.lookup.len()).max().unwrap_or(0);
        let hidden = vec![0; widest * BLOCK];
        let least = graph.input().codes().iter().map(|codes| codes.low);
        Self {
            plan: Plan::new(graph),
            row: vec![0; graph.n_features()],
            inputs: least.flat_map(|code| std::iter::repeat_n(code, BLOCK)).collect(),
            next: hidden.clone(),
            hidden,
        }
    }
}

/// Evaluates the rows from `start` that `out` has room for.
pub(super) fn evaluate<S: Source, F: Finish>(
    job: Job<'_, S, F>,
    start: usize,
    out: &mut [F::Value],
    scratch: &mut Scratch,
) -> Result<(), InputError> {
    let width = job.graph.n_outputs();
    for (start, out) in (start..).step_by(BLOCK).zip(out.chunks_mut(BLOCK * width)) {
        let rows = out.len() / width;
        for row in 0..rows {
            job.source.load(start + row, &mut scratch.row)?;
            let columns = scratch.inputs.chunks_exact_mut(BLOCK);
            for (column, &code) in columns.zip(&scratch.row) {
                column[row] = code;
            }
        }
        let noise = job.errors.map(|errors| (errors, block_of(start)));
        scratch.evaluate(job.graph, rows, noise, |output, accumulators| {
            for (row, &accumulator) in out.chunks_exact_mut(width).zip(accumulators) {
                row[output] = job.finish.one(output, accumulator);
            }
        });
    }
    Ok(())
}

impl Scratch {
    /// Evaluates the first `rows` rows and gives `emit(output, accumulators)` one accumulator each.
    ///
    /// `noise` comes with the number of the block.
    fn evaluate(
        &mut self,
        graph: &IntegerGraph,
        rows: usize,
        noise: Option<(&Errors, u64)>,
        emit: impl FnMut(usize, &[i64]),
    ) {
        let lanes = rows.next_multiple_of(PADDING).min(BLOCK);
        let Self { plan, inputs, hidden, next, .. } = self;
        for (index, layer) in graph.hidden().iter().enumerate() {
            let codes: &[u16] = if index == 0 { inputs } else { hidden };
            let pass = LookupPass { layer, lanes };
            match plan.lanes(index) {
                LaneBits::Bits16 => pass.run::<u16>(codes, next),
                LaneBits::Bits32 => pass.run::<u32>(codes, next),
                LaneBits::Bits64 => pass.run::<u64>(codes, next),
            }
            if let Some((errors, block)) = noise {
                let sum = |row: usize, neuron| {
                    sum::<false>(layer, neuron, |column: usize| codes[column * BLOCK + row])
                };
                errors.misread((block, index, rows), &layer.lookup, sum, |row, neuron, code| {
                    next[neuron * BLOCK + row] = code;
                });
            }
            std::mem::swap(hidden, next);
        }
        let last = graph.hidden().len();
        let codes: &[u16] = if last == 0 { inputs } else { hidden };
        let intervals = graph.output_intervals();
        let pass = OutputPass { linear: graph.head(), intervals, rows };
        match plan.lanes(last) {
            LaneBits::Bits16 => pass.run::<u16>(codes, emit),
            LaneBits::Bits32 => pass.run::<u32>(codes, emit),
            LaneBits::Bits64 => pass.run::<u64>(codes, emit),
        }
    }
}

/// A Linear with its Lookup, from codes to codes.
struct LookupPass<'a> {
    layer: &'a Hidden,
    lanes: usize,
}

impl LookupPass<'_> {
    fn run<L: Lane>(&self, codes: &[u16], next: &mut [u16]) {
        let Hidden { linear, lookup } = self.layer;
        let half = L::wrap(1_i64.wrapping_shl(lookup.lsbs().into()) >> 1);
        let mut sums = [L::wrap(0); BLOCK];
        let sums = &mut sums[..self.lanes];
        for ((neuron, &low), out) in lookup.low().iter().enumerate().zip(next.chunks_mut(BLOCK)) {
            accumulate(linear, neuron, low, codes, sums);
            let table = lookup.table(neuron);
            for (code, &sum) in out[..self.lanes].iter_mut().zip(&*sums) {
                *code = table[usize::from(sum.index(half, lookup.lsbs()))];
            }
        }
    }
}

/// The last Linear, from codes to accumulators.
struct OutputPass<'a> {
    linear: &'a Linear,
    intervals: &'a [Interval],
    rows: usize,
}

impl OutputPass<'_> {
    fn run<L: Lane>(&self, codes: &[u16], mut emit: impl FnMut(usize, &[i64])) {
        let mut sums = [L::wrap(0); BLOCK];
        let mut accumulators = [0; BLOCK];
        let lanes = self.rows.next_multiple_of(PADDING).min(BLOCK);
        for (neuron, interval) in self.intervals.iter().enumerate() {
            accumulate(self.linear, neuron, interval.low, codes, &mut sums[..lanes]);
            for (accumulator, &sum) in accumulators.iter_mut().zip(&sums[..self.rows]) {
                *accumulator = interval.low + sum.distance();
            }
            emit(neuron, &accumulators[..self.rows]);
        }
    }
}

/// Sums up one neuron's accumulator, counted from its minimum `low`, for all rows of a block.
///
/// Four inputs are taken at a time: each sum is then loaded and stored once per four products.
fn accumulate<L: Lane>(linear: &Linear, neuron: usize, low: i64, codes: &[u16], sums: &mut [L]) {
    let lanes = sums.len();
    let input = |column: u32| &codes[column as usize * BLOCK..][..lanes];
    let (columns, weights) = linear.row(neuron);
    sums.fill(L::wrap(linear.offset()[neuron].wrapping_sub(low)));
    let (columns, columns_left) = columns.as_chunks::<4>();
    let (weights, weights_left) = weights.as_chunks::<4>();
    for (columns, weights) in columns.iter().zip(weights) {
        let [first, second, third, fourth] = columns.map(input);
        let weights = weights.map(L::wrap);
        let firsts = first.iter().zip(second);
        let seconds = third.iter().zip(fourth);
        for (sum, ((&a, &b), (&c, &d))) in sums.iter_mut().zip(firsts.zip(seconds)) {
            *sum = sum
                .add_product(weights[0], a)
                .add_product(weights[1], b)
                .add_product(weights[2], c)
                .add_product(weights[3], d);
        }
    }
    for (&column, &weight) in columns_left.iter().zip(weights_left) {
        let weight = L::wrap(weight);
        for (sum, &code) in sums.iter_mut().zip(input(column)) {
            *sum = sum.add_product(weight, code);
        }
    }
}

/// The lanes of each Linear of a graph, in order.
struct Plan(Vec<LaneBits>);

/// A choice of lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LaneBits {
    /// [`u16`]
    Bits16,
    /// [`u32`]
    Bits32,
    /// [`u64`]
    Bits64,
}

impl Plan {
    fn new(graph: &IntegerGraph) -> Self {
        Self(graph.evaluated().map(LaneBits::of).collect())
    }

    /// The lanes of the Linear with this index.
    fn lanes(&self, linear: usize) -> LaneBits {
        self.0[linear]
    }
}

impl LaneBits {
    /// The narrowest lane that holds every width, what a lookup adds to it before shifting, and a shift
    /// by that many bits.
    fn of(stage: Stage<'_>) -> Self {
        let widest = stage.intervals.iter().map(|interval| interval.width()).max().unwrap_or(0);
        let (half, lsbs) = stage.lookup.map_or((0, 0), |lookup| (lookup.half(), lookup.lsbs()));
        match (u64::BITS - (widest + half).leading_zeros()).max(u32::from(lsbs) + 1) {
            0..=16 => Self::Bits16,
            17..=32 => Self::Bits32,
            _ => Self::Bits64,
        }
    }
}

/// An unsigned integer with wrapping arithmetic.
trait Lane: Copy {
    /// `value` modulo `2^BITS`.
    fn wrap(value: i64) -> Self;

    /// `self + weight * code`, modulo `2^BITS`.
    fn add_product(self, weight: Self, code: u16) -> Self;

    /// `(self + half) >> lsbs`, which the proof holds to 16 bits.
    fn index(self, half: Self, lsbs: u8) -> u16;

    /// The lane's value as a distance from the accumulator's minimum.
    fn distance(self) -> i64;
}

macro_rules! lane {
    ($type:ty) => {
        #[expect(
            clippy::allow_attributes,
            reason = "which casts lose something depends on the type"
        )]
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_possible_wrap,
            clippy::cast_sign_loss,
            clippy::cast_lossless,
            trivial_numeric_casts,
            reason = "modulo 2^BITS, or proven to fit"
        )]
        impl Lane for $type {
            fn wrap(value: i64) -> Self {
                value as Self
            }

            fn add_product(self, weight: Self, code: u16) -> Self {
                self.wrapping_add(weight.wrapping_mul(code as Self))
            }

            fn index(self, half: Self, lsbs: u8) -> u16 {
                (self.wrapping_add(half) >> lsbs) as u16
            }

            fn distance(self) -> i64 {
                self as i64
            }
        }
    };
}

lane!(u16);
lane!(u32);
lane!(u64);
