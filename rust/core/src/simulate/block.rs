//! A block of rows, evaluated layer by layer.
//!
//! Codes are stored feature by feature, so that one weight meets the codes of all rows of the block
//! in one loop over contiguous memory, which the compiler vectorizes. Compared with rows one by one,
//! each weight and column index is read once per block, and pruned weights cost nothing.

use super::lane::{Lane, LaneBits, Plan};
use super::noise::Noise;
use crate::bounds::Interval;
use crate::graph::{Hidden, IntegerGraph};
use crate::ops::Linear;

/// Rows of a block: enough to amortize reading the weights, few enough that the codes of a layer
/// stay in the nearest cache.
pub(super) const BLOCK: usize = 128;

/// Rows are padded to a multiple of this, a vector's worth, so that small batches cost little.
const PADDING: usize = 16;

/// Scratch space for one block: codes feature by feature, [`BLOCK`] apart.
///
/// Padding rows hold zeros or what an earlier block left, so input codes all the same; that is why
/// hidden layers don't share the inputs' buffer.
pub(super) struct Block {
    inputs: Vec<u16>,
    hidden: Vec<u16>,
    next: Vec<u16>,
}

impl Block {
    pub(super) fn new(graph: &IntegerGraph) -> Self {
        let widest = graph.hidden().iter().map(|hidden| hidden.lookup.len()).max().unwrap_or(0);
        let hidden = vec![0; widest * BLOCK];
        Self { inputs: vec![0; graph.n_features() * BLOCK], next: hidden.clone(), hidden }
    }

    /// Puts in the codes of one row, which must be in the quantizer's range.
    pub(super) fn set_row(&mut self, row: usize, codes: &[u16]) {
        for (column, &code) in self.inputs.chunks_exact_mut(BLOCK).zip(codes) {
            column[row] = code;
        }
    }

    /// Evaluates the first `rows` rows and gives `emit(output, accumulators)` one accumulator each.
    ///
    /// `noise` comes with the number of the block's first row.
    pub(super) fn evaluate(
        &mut self,
        graph: &IntegerGraph,
        plan: &Plan,
        rows: usize,
        noise: Option<(Noise, u64)>,
        emit: impl FnMut(usize, &[i64]),
    ) {
        let lanes = rows.next_multiple_of(PADDING).min(BLOCK);
        let Self { inputs, hidden, next } = self;
        for (index, layer) in graph.hidden().iter().enumerate() {
            let codes: &[u16] = if index == 0 { inputs } else { hidden };
            let pass = LookupPass { layer, position: 2 * index + 1, noise, lanes };
            match plan.lanes(index) {
                LaneBits::Bits16 => pass.run::<u16>(codes, next),
                LaneBits::Bits32 => pass.run::<u32>(codes, next),
                LaneBits::Bits64 => pass.run::<u64>(codes, next),
            }
            std::mem::swap(hidden, next);
        }
        let last = graph.hidden().len();
        let codes: &[u16] = if last == 0 { inputs } else { hidden };
        let pass = OutputPass { linear: graph.head(), intervals: &graph.intervals()[last], rows };
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
    /// Position of the Lookup in the list of layers.
    position: usize,
    noise: Option<(Noise, u64)>,
    lanes: usize,
}

impl LookupPass<'_> {
    fn run<L: Lane>(&self, codes: &[u16], next: &mut [u16]) {
        let Hidden { linear, lookup } = self.layer;
        let half = L::wrap(1_i64.wrapping_shl(lookup.lsbs().into()) >> 1);
        let mut sums = [L::wrap(0); BLOCK];
        let mut indexes = [0; BLOCK];
        let (sums, indexes) = (&mut sums[..self.lanes], &mut indexes[..self.lanes]);
        for ((neuron, &low), out) in lookup.low().iter().enumerate().zip(next.chunks_mut(BLOCK)) {
            accumulate(linear, neuron, low, codes, sums);
            for (index, &sum) in indexes.iter_mut().zip(&*sums) {
                *index = sum.index(half, lookup.lsbs());
            }
            let table = lookup.table(neuron);
            self.disturb(neuron, table.len(), indexes);
            for (code, &index) in out.iter_mut().zip(&*indexes) {
                *code = table[usize::from(index)];
            }
        }
    }

    fn disturb(&self, neuron: usize, table_len: usize, indexes: &mut [u16]) {
        let Some((noise, first_row)) = self.noise else { return };
        #[expect(clippy::cast_possible_truncation, reason = "16-bit tables, 2^28 neurons a layer")]
        let (last, neuron) = ((table_len - 1) as u16, neuron as u32);
        #[expect(clippy::cast_possible_truncation, reason = "memory ends before 2^32 layers")]
        let layer = self.position as u32;
        for (row, index) in (first_row..).zip(indexes) {
            *index = noise.disturb(*index, last, row, layer, neuron);
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
