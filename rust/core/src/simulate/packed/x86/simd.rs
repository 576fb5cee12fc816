//! The kernel over any register.

use super::read::{read_bytes, read_steps, read_wide_bytes, read_wide_steps};
use super::vector::{Vector, Wide, low_bytes, transpose};
use super::{load, load_column};
use crate::graph::input::Input;
use crate::simulate::block::{BLOCK, Column, Planes, Rows, Shift, Sums, Tile};
use crate::simulate::finish::Finish;
use crate::simulate::outputs::Runs;
use crate::simulate::packed::kernel::{FeatureValues, HiddenLayer, Kernel};
use crate::simulate::packed::program::{Layer, Term};
use crate::simulate::packed::quantizer::{Arithmetic, Brackets};
use crate::simulate::packed::table::{Read, read_entries};
use crate::simulate::prefetch::{Ahead, fetch};

/// Registers of codes that a weight is multiplied with at a time.
const REGISTERS: usize = 4;

/// A kernel in the instructions of `V`, which are only inlined, so only fast, where the calling
/// function enables them.
#[derive(Clone, Copy)]
pub(super) struct Simd<V: Vector> {
    proof: V::Proof,
}

impl<V: Vector> Simd<V> {
    /// The kernel.
    pub(super) fn new(proof: V::Proof) -> Self {
        Self { proof }
    }
}

impl<V: Vector> Kernel for Simd<V> {
    const ARITHMETIC: Arithmetic = V::ARITHMETIC;

    #[inline(always)]
    fn load_reals(
        self,
        rows: Rows<'_, f32>,
        input: &Input,
        brackets: &Brackets,
        ahead: Ahead,
        columns: &mut [Column],
    ) -> bool {
        load::load_reals::<V>(self.proof, rows, input, brackets, ahead, columns)
    }

    #[inline(always)]
    fn load_codes(
        self,
        rows: Rows<'_, u16>,
        max: u8,
        ahead: Ahead,
        columns: &mut [Column],
    ) -> bool {
        load::load_codes::<V>(self.proof, rows, max, ahead, columns)
    }

    #[inline(always)]
    fn load_column(self, values: FeatureValues<'_>, column: &mut Column) -> bool {
        load_column::load_column::<V>(self.proof, values, column)
    }

    #[inline(always)]
    fn hidden(
        self,
        layer: HiddenLayer<'_>,
        codes: &[Column],
        next: &mut [Column],
        sums: &mut Planes,
    ) {
        let codes = &codes[..layer.layer.n_inputs];
        if layer.rows <= V::BYTES {
            self.hidden_by::<1>(layer, codes, next, sums);
        } else {
            self.hidden_by::<REGISTERS>(layer, codes, next, sums);
        }
    }

    #[inline(always)]
    fn head(self, layer: &Layer, rows: usize, codes: &[Column], ahead: Ahead, sums: &mut Planes) {
        let codes = &codes[..layer.n_inputs];
        if rows <= V::BYTES {
            self.head_by::<1>(layer, rows, codes, ahead, sums);
        } else {
            self.head_by::<REGISTERS>(layer, rows, codes, ahead, sums);
        }
    }

    #[inline(always)]
    fn transpose(self, columns: &[Column], tiles: &mut [Tile]) {
        for (columns, tile) in columns.as_chunks::<16>().0.iter().zip(tiles) {
            for (part, rows) in tile.0.chunks_exact_mut(V::BYTES).enumerate() {
                let mut matrix = [V::bytes(self.proof, 0); 16];
                for (loaded, column) in matrix.iter_mut().zip(columns) {
                    *loaded = V::load(self.proof, &column.0[part * V::BYTES..]);
                }
                for (at, register) in transpose(matrix).iter().enumerate() {
                    register.store_rows(rows, at);
                }
            }
        }
    }

    #[inline(always)]
    fn emit<F: Finish>(self, runs: &Runs, sums: Sums<'_>, out: &mut [F::Value]) -> usize {
        V::emit::<F>(self.proof, runs, sums, out)
    }
}

impl<V: Vector> Simd<V> {
    /// A Linear and its Lookup, `N` registers at a time.
    #[inline(always)]
    fn hidden_by<const N: usize>(
        self,
        task: HiddenLayer<'_>,
        codes: &[Column],
        next: &mut [Column],
        sums: &mut Planes,
    ) {
        for (neuron, next) in (0..task.layer.neurons.len()).zip(next) {
            let Some(table) = &task.layer.neurons[neuron].table else { continue };
            fetch_part(task.ahead, neuron, task.layer);
            let read = V::read(table);
            let keep = task.keep_sums || matches!(read, Read::Entries);
            let shift = task.shifts.map(|shifts| &shifts[neuron]);
            let mut first = 0;
            while first < task.rows {
                let part = NeuronRows::<V, N>::new(self.proof, task.layer, neuron, codes, first);
                part.look_up(read, shift, keep, next, sums);
                first += N * V::BYTES;
            }
            if matches!(read, Read::Entries) {
                let mut sum = [0; BLOCK];
                for (row, sum) in sum.iter_mut().enumerate().take(task.rows) {
                    *sum = sums.sum(neuron, row);
                }
                read_entries(task.lookup, neuron, &sum, next);
            }
        }
    }

    /// The last Linear, `N` registers at a time.
    #[inline(always)]
    fn head_by<const N: usize>(
        self,
        layer: &Layer,
        rows: usize,
        codes: &[Column],
        ahead: Ahead,
        sums: &mut Planes,
    ) {
        for neuron in 0..layer.neurons.len() {
            fetch_part(ahead, neuron, layer);
            let mut first = 0;
            while first < rows {
                let part = NeuronRows::<V, N>::new(self.proof, layer, neuron, codes, first);
                if layer.is_narrow(neuron) {
                    part.store_narrow(part.narrow_sum(), layer.wide, sums);
                } else {
                    part.store_wide(part.wide_sum(), sums);
                }
                first += N * V::BYTES;
            }
        }
    }
}

/// Fetches one neuron's part of what is ahead.
#[inline(always)]
fn fetch_part(ahead: Ahead, neuron: usize, layer: &Layer) {
    for line in ahead.lines(neuron, layer.neurons.len()) {
        fetch(line);
    }
}

/// One neuron in the rows from `first`, as many as `N` registers have bytes.
#[derive(Clone, Copy)]
struct NeuronRows<'a, V: Vector, const N: usize> {
    proof: V::Proof,
    layer: &'a Layer,
    neuron: usize,
    codes: &'a [Column],
    first: usize,
}

impl<'a, V: Vector, const N: usize> NeuronRows<'a, V, N> {
    #[inline(always)]
    fn new(
        proof: V::Proof,
        layer: &'a Layer,
        neuron: usize,
        codes: &'a [Column],
        first: usize,
    ) -> Self {
        const { assert!(BLOCK.is_multiple_of(N * V::BYTES), "registers fill a column") };
        // Known once, it need not be tested for every register.
        assert!(first <= BLOCK - N * V::BYTES, "rows are within a column");
        Self { proof, layer, neuron, codes, first }
    }

    /// Sums, and the codes that `read` gives for them; sums are stored if `keep`.
    #[inline(always)]
    fn look_up(
        self,
        read: &Read,
        shift: Option<&Shift>,
        keep: bool,
        next: &mut Column,
        sums: &mut Planes,
    ) {
        let proof = self.proof;
        if self.layer.is_narrow(self.neuron) {
            let mut sum = self.narrow_sum();
            if let Some(shift) = shift {
                self.shift_narrow(&mut sum, shift, read);
            }
            match read {
                Read::Steps(base, steps) => self.store(read_steps(proof, sum, *base, steps), next),
                Read::Bytes(bytes) => self.store(read_bytes(sum, bytes), next),
                Read::Entries => {}
            }
            if keep {
                self.store_narrow(sum, true, sums);
            }
        } else {
            let mut sum = self.wide_sum();
            if let Some(shift) = shift {
                self.shift_wide(&mut sum, shift, read);
            }
            match read {
                Read::Steps(base, steps) => {
                    self.store(read_wide_steps(proof, sum, *base, steps), next);
                }
                Read::Bytes(bytes) => self.store(read_wide_bytes(proof, sum, bytes), next),
                Read::Entries => {}
            }
            if keep {
                self.store_wide(sum, sums);
            }
        }
    }

    /// Adds noise to sums of 8 bits; those that are read from a table of bytes stay within it.
    #[inline(always)]
    fn shift_narrow(self, sums: &mut [V; N], shift: &Shift, read: &Read) {
        let last = if let Read::Bytes(bytes) = read { bytes.last } else { u8::MAX };
        let last = V::bytes(self.proof, last);
        for (at, sum) in sums.iter_mut().enumerate() {
            let (up, down) = (self.load(&shift.up, at), self.load(&shift.down, at));
            *sum = sum.add_bytes(up).subtract_bytes(down).min_bytes(last);
        }
    }

    /// The same for sums of 16 bits.
    #[inline(always)]
    fn shift_wide(self, (even, odd): &mut Wide<V, N>, shift: &Shift, read: &Read) {
        let (low, last) = (V::words(self.proof, 255), V::words(self.proof, read.last_sum()));
        // What is above the last sum is taken away again.
        let shifted = |sum: V, up: V, down: V| {
            let sum = sum.add_words(up).subtract_words(down);
            sum.subtract_words(sum.subtract_words(last))
        };
        for at in 0..N {
            let (up, down) = (self.load(&shift.up, at), self.load(&shift.down, at));
            even[at] = shifted(even[at], up.and(low), down.and(low));
            odd[at] = shifted(odd[at], up.shift_right(8), down.shift_right(8));
        }
    }

    /// The sums of a neuron with one group, a row to a byte.
    #[inline(always)]
    fn narrow_sum(self) -> [V; N] {
        let (start, terms) = self.layer.first_group(self.neuron);
        self.group_sum(start, terms)
    }

    /// The sums of any neuron.
    #[inline(always)]
    fn wide_sum(self) -> Wide<V, N> {
        let low = V::words(self.proof, 255);
        let (mut even, mut odd) = ([V::words(self.proof, 0); N], [V::words(self.proof, 0); N]);
        for (start, terms) in self.layer.groups(self.neuron) {
            let sums = self.group_sum(start, terms);
            for at in 0..N {
                even[at] = even[at].add(sums[at].and(low));
                odd[at] = odd[at].add(sums[at].shift_right(8));
            }
        }
        (even, odd)
    }

    /// A group's sums, a row to a byte. The terms must be the layer's.
    #[inline(always)]
    fn group_sum(self, start: u16, terms: &[Term]) -> [V; N] {
        let mut sums = [V::words(self.proof, start); N];
        for term in terms {
            let weights = V::doubles(self.proof, term.weights);
            let column = &self.codes[term.column as usize];
            for (at, sum) in sums.iter_mut().enumerate() {
                *sum = sum.add(self.load(column, at).multiply(weights));
            }
        }
        sums
    }

    /// The register `at` of a column's rows.
    #[inline(always)]
    fn load(self, column: &Column, at: usize) -> V {
        V::load(self.proof, &column.0[self.first + at * V::BYTES..])
    }

    #[inline(always)]
    fn store(self, registers: [V; N], column: &mut Column) {
        for (at, register) in registers.iter().enumerate() {
            register.store(&mut column.0[self.first + at * V::BYTES..]);
        }
    }

    /// Stores sums of 8 bits, with zeros for high bytes if `clear_high`.
    #[inline(always)]
    fn store_narrow(self, sum: [V; N], clear_high: bool, sums: &mut Planes) {
        self.store(sum, &mut sums.low[self.neuron]);
        if clear_high {
            self.store([V::bytes(self.proof, 0); N], &mut sums.high[self.neuron]);
        }
    }

    #[inline(always)]
    fn store_wide(self, (mut even, mut odd): Wide<V, N>, sums: &mut Planes) {
        self.store(low_bytes(self.proof, (even, odd)), &mut sums.low[self.neuron]);
        for at in 0..N {
            even[at] = even[at].shift_right(8);
            odd[at] = odd[at].shift_right(8);
        }
        self.store(low_bytes(self.proof, (even, odd)), &mut sums.high[self.neuron]);
    }
}
