//! The kernel over any register.

use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
use std::marker::PhantomData;

use super::super::kernel::{HiddenLayer, Kernel};
use super::super::program::{Layer, Term};
use super::super::quantizer::{Arithmetic, Brackets};
use super::super::table::{Read, read_entries};
use super::load;
use super::read::{low_bytes, read_bytes, read_steps, read_wide_bytes, read_wide_steps};
use super::vector::{Vector, transpose};
use crate::graph::input::Input;
use crate::simulate::block::{BLOCK, Column, Planes, Rows, Shift, Sums, Tile};
use crate::simulate::finish::Finish;
use crate::simulate::outputs::Runs;
use crate::simulate::prefetch::Ahead;

/// Registers of codes that a weight is multiplied with at a time.
const REGISTERS: usize = 4;

/// A kernel in the instructions of `V`; that there is one says that they may be used.
#[derive(Clone, Copy)]
pub(super) struct Simd<V>(PhantomData<V>);

impl<V: Vector> Simd<V> {
    /// The kernel.
    ///
    /// # Safety
    /// The processor must have the instructions of `V`. They are only inlined, so only fast, where
    /// the calling function enables them.
    pub(super) unsafe fn new() -> Self {
        Self(PhantomData)
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
        // SAFETY: `self` says that the instructions may be used.
        unsafe { load::load_reals::<V>(rows, input, brackets, ahead, columns) }
    }

    #[inline(always)]
    fn load_codes(
        self,
        rows: Rows<'_, u16>,
        max: u8,
        ahead: Ahead,
        columns: &mut [Column],
    ) -> bool {
        // SAFETY: `self` says that the instructions may be used.
        unsafe { load::load_codes::<V>(rows, max, ahead, columns) }
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
        // SAFETY: `self` says that the instructions may be used, and all inputs have a column.
        unsafe {
            if layer.rows <= V::BYTES {
                hidden::<V, 1>(layer, codes, next, sums);
            } else {
                hidden::<V, REGISTERS>(layer, codes, next, sums);
            }
        }
    }

    #[inline(always)]
    fn head(self, layer: &Layer, rows: usize, codes: &[Column], ahead: Ahead, sums: &mut Planes) {
        let codes = &codes[..layer.n_inputs];
        // SAFETY: `self` says that the instructions may be used, and all inputs have a column.
        unsafe {
            if rows <= V::BYTES {
                head::<V, 1>(layer, rows, codes, ahead, sums);
            } else {
                head::<V, REGISTERS>(layer, rows, codes, ahead, sums);
            }
        }
    }

    #[inline(always)]
    fn transpose(self, columns: &[Column], tiles: &mut [Tile]) {
        for (columns, tile) in columns.as_chunks::<16>().0.iter().zip(tiles) {
            for row in (0..BLOCK).step_by(V::BYTES) {
                // SAFETY: `self` says that the instructions may be used; a register's rows are within
                // the block, whose rows it divides, and each row of a tile has sixteen bytes.
                unsafe {
                    let mut matrix = [V::bytes(0); 16];
                    for (loaded, column) in matrix.iter_mut().zip(columns) {
                        *loaded = V::load(column.0.as_ptr().add(row));
                    }
                    for (at, rows) in transpose(matrix).iter().enumerate() {
                        let to = tile.0.as_mut_ptr().cast::<u8>().add((row + at) * 16);
                        rows.store_rows(to, 16 * 16);
                    }
                }
            }
        }
    }

    #[inline(always)]
    fn emit<F: Finish>(self, runs: &Runs, sums: Sums<'_>, out: &mut [F::Value]) -> usize {
        const { assert!(size_of::<F::Value>() == 8, "results have 64 bits") };
        let groups = out.len() / (8 * runs.runs.len());
        let to = out.as_mut_ptr().cast();
        // SAFETY: `self` says that the instructions may be used; there is room for the results of as
        // many groups of rows, which are of the type that `F` says.
        let done = unsafe { V::emit::<F>(runs, sums, groups, to) };
        if done { groups * runs.rows } else { 0 }
    }
}

/// A Linear and its Lookup, `N` registers at a time.
///
/// # Safety
/// As [`Vector`]; `codes` must have a column for every input, and `N` registers must divide a column.
#[inline(always)]
unsafe fn hidden<V: Vector, const N: usize>(
    task: HiddenLayer<'_>,
    codes: &[Column],
    next: &mut [Column],
    sums: &mut Planes,
) {
    for (neuron, next) in (0..task.layer.neurons.len()).zip(next) {
        let Some(table) = &task.layer.neurons[neuron].table else { continue };
        fetch(task.ahead, neuron, task.layer);
        let read = V::read(table);
        let keep = task.keep_sums || matches!(read, Read::Entries);
        let shift = task.shifts.map(|shifts| &shifts[neuron]);
        let mut first = 0;
        while first < task.rows {
            let part = Part { layer: task.layer, neuron, codes, first };
            // SAFETY: the caller's.
            unsafe { part.look_up::<V, N>(read, shift, keep, next, sums) };
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

/// Fetches one neuron's part of what is ahead.
#[inline(always)]
fn fetch(ahead: Ahead, neuron: usize, layer: &Layer) {
    for line in ahead.lines(neuron, layer.neurons.len()) {
        // SAFETY: a hint, which any address may be given to.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(line.cast()) };
    }
}

/// The last Linear, `N` registers at a time.
///
/// # Safety
/// As [`hidden`].
#[inline(always)]
unsafe fn head<V: Vector, const N: usize>(
    layer: &Layer,
    rows: usize,
    codes: &[Column],
    ahead: Ahead,
    sums: &mut Planes,
) {
    for neuron in 0..layer.neurons.len() {
        fetch(ahead, neuron, layer);
        let mut first = 0;
        while first < rows {
            let part = Part { layer, neuron, codes, first };
            // SAFETY: the caller's.
            unsafe {
                if layer.is_narrow(neuron) {
                    part.store_narrow(part.narrow_sum::<V, N>(), layer.wide, sums);
                } else {
                    part.store_wide(part.wide_sum::<V, N>(), sums);
                }
            }
            first += N * V::BYTES;
        }
    }
}

/// One neuron in the rows from `first`, as many as the registers hold that a method is asked for.
#[derive(Clone, Copy)]
struct Part<'a> {
    layer: &'a Layer,
    neuron: usize,
    codes: &'a [Column],
    first: usize,
}

/// The sums of a neuron, in 16-bit lanes: of the even rows, and of the odd ones.
pub(super) type Wide<V, const N: usize> = ([V; N], [V; N]);

/// # Safety
/// For all methods, as [`hidden`]; the registers must be within a column.
impl Part<'_> {
    /// Sums, and the codes that `read` gives for them; sums are stored if `keep`.
    #[inline(always)]
    unsafe fn look_up<V: Vector, const N: usize>(
        self,
        read: &Read,
        shift: Option<&Shift>,
        keep: bool,
        next: &mut Column,
        sums: &mut Planes,
    ) {
        // SAFETY: the caller's.
        unsafe {
            if self.layer.is_narrow(self.neuron) {
                let mut sum = self.narrow_sum::<V, N>();
                if let Some(shift) = shift {
                    self.shift_narrow(&mut sum, shift, read);
                }
                match read {
                    Read::Steps(base, steps) => self.store(read_steps(sum, *base, steps), next),
                    Read::Bytes(bytes) => self.store(read_bytes(sum, bytes), next),
                    Read::Entries => {}
                }
                if keep {
                    self.store_narrow(sum, true, sums);
                }
            } else {
                let mut sum = self.wide_sum::<V, N>();
                if let Some(shift) = shift {
                    self.shift_wide(&mut sum, shift, read);
                }
                match read {
                    Read::Steps(base, steps) => {
                        self.store(read_wide_steps(sum, *base, steps), next);
                    }
                    Read::Bytes(bytes) => self.store(read_wide_bytes(sum, bytes), next),
                    Read::Entries => {}
                }
                if keep {
                    self.store_wide(sum, sums);
                }
            }
        }
    }

    /// Adds noise to sums of 8 bits; those that are read from a table of bytes stay within it.
    #[inline(always)]
    unsafe fn shift_narrow<V: Vector, const N: usize>(
        self,
        sums: &mut [V; N],
        shift: &Shift,
        read: &Read,
    ) {
        // SAFETY: the caller's.
        unsafe {
            let last = V::bytes(if let Read::Bytes(bytes) = read { bytes.last } else { u8::MAX });
            for (at, sum) in sums.iter_mut().enumerate() {
                let (up, down) = self.units(shift, at);
                *sum = sum.add_bytes(up).subtract_bytes(down).min_bytes(last);
            }
        }
    }

    /// The same for sums of 16 bits.
    #[inline(always)]
    unsafe fn shift_wide<V: Vector, const N: usize>(
        self,
        (even, odd): &mut Wide<V, N>,
        shift: &Shift,
        read: &Read,
    ) {
        // SAFETY: the caller's.
        unsafe {
            let (low, last) = (V::words(255), V::words(read.last_sum()));
            // What is above the last sum is taken away again.
            let shifted = |sum: V, up: V, down: V| {
                let sum = sum.add_words(up).subtract_words(down);
                sum.subtract_words(sum.subtract_words(last))
            };
            for at in 0..N {
                let (up, down): (V, V) = self.units(shift, at);
                even[at] = shifted(even[at], up.and(low), down.and(low));
                odd[at] = shifted(odd[at], up.shift_right(8), down.shift_right(8));
            }
        }
    }

    /// What noise adds and takes in the rows of the register `at`.
    #[inline(always)]
    unsafe fn units<V: Vector>(self, shift: &Shift, at: usize) -> (V, V) {
        // SAFETY: the caller's.
        unsafe {
            let load = |column: &Column| V::load(column.0.as_ptr().add(self.first + at * V::BYTES));
            (load(&shift.up), load(&shift.down))
        }
    }

    /// The sums of a neuron with one group, a row to a byte.
    #[inline(always)]
    unsafe fn narrow_sum<V: Vector, const N: usize>(self) -> [V; N] {
        let (start, terms) = self.layer.first_group(self.neuron);
        // SAFETY: the caller's.
        unsafe { self.group_sum(start, terms) }
    }

    /// The sums of any neuron.
    #[inline(always)]
    unsafe fn wide_sum<V: Vector, const N: usize>(self) -> Wide<V, N> {
        // SAFETY: the caller's.
        unsafe {
            let (mut even, mut odd) = ([V::words(0); N], [V::words(0); N]);
            for (start, terms) in self.layer.groups(self.neuron) {
                let sums = self.group_sum::<V, N>(start, terms);
                for at in 0..N {
                    even[at] = even[at].add(sums[at].and(V::words(255)));
                    odd[at] = odd[at].add(sums[at].shift_right(8));
                }
            }
            (even, odd)
        }
    }

    /// A group's sums, a row to a byte. The terms must be the layer's.
    #[inline(always)]
    unsafe fn group_sum<V: Vector, const N: usize>(self, start: u16, terms: &[Term]) -> [V; N] {
        const { assert!(BLOCK.is_multiple_of(N * V::BYTES), "registers fill a column") };
        // SAFETY: a term's column is one of the layer's inputs, by construction of the program, and
        // those have codes; registers within a column are the caller's promise.
        unsafe {
            let mut sums = [V::words(start); N];
            let codes = self.codes.as_ptr().cast::<u8>().add(self.first);
            for term in terms {
                let weights = V::doubles(term.weights);
                let column = codes.add(term.column as usize * size_of::<Column>());
                for (at, sum) in sums.iter_mut().enumerate() {
                    *sum = sum.add(V::load(column.add(at * V::BYTES)).multiply(weights));
                }
            }
            sums
        }
    }

    #[inline(always)]
    unsafe fn store<V: Vector, const N: usize>(self, registers: [V; N], column: &mut Column) {
        for (at, register) in registers.iter().enumerate() {
            // SAFETY: the caller's.
            unsafe { register.store(column.0.as_mut_ptr().add(self.first + at * V::BYTES)) };
        }
    }

    /// Stores sums of 8 bits, with zeros for high bytes if `clear_high`.
    #[inline(always)]
    unsafe fn store_narrow<V: Vector, const N: usize>(
        self,
        sum: [V; N],
        clear_high: bool,
        sums: &mut Planes,
    ) {
        // SAFETY: the caller's.
        unsafe {
            self.store(sum, &mut sums.low[self.neuron]);
            if clear_high {
                self.store([V::bytes(0); N], &mut sums.high[self.neuron]);
            }
        }
    }

    #[inline(always)]
    unsafe fn store_wide<V: Vector, const N: usize>(
        self,
        (mut even, mut odd): Wide<V, N>,
        sums: &mut Planes,
    ) {
        // SAFETY: the caller's.
        unsafe {
            self.store(low_bytes((even, odd)), &mut sums.low[self.neuron]);
            for at in 0..N {
                even[at] = even[at].shift_right(8);
                odd[at] = odd[at].shift_right(8);
            }
            self.store(low_bytes((even, odd)), &mut sums.high[self.neuron]);
        }
    }
}
