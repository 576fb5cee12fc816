//! From rows to columns of codes.

use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};

use super::super::bracket::Brackets;
use super::super::kernel::{BLOCK, Column, Rows};
use super::vector::{MAX_ROWS, Vector, transpose};
use crate::input::Input;

/// Columns that are loaded at a time.
const TILE: usize = 16;

/// The most rows that are loaded at a time.
const GROUP: usize = 16 * MAX_ROWS;

/// How the codes of a register are had. A closure would not be inlined, so not be fast.
trait Load<V, T> {
    /// The codes of [`TILE`] values at each of the pointers to rows, which begin in column `first`.
    ///
    /// # Safety
    /// As [`Vector`].
    unsafe fn load(&mut self, rows: [*const T; MAX_ROWS], first: usize) -> V;
}

/// Rows of at least [`TILE`] values.
struct Matrix<T> {
    values: *const T,
    rows: usize,
    width: usize,
}

impl<T> Matrix<T> {
    /// Where the `count` rows from `row` on begin, the last one standing in for those beyond it.
    #[inline(always)]
    fn starts(&self, row: usize, count: usize) -> [usize; GROUP] {
        let mut starts = [0; GROUP];
        for (at, start) in starts.iter_mut().enumerate().take(count) {
            *start = (row + at).min(self.rows - 1) * self.width;
        }
        starts
    }

    /// Pointers to the values from `column` on in the rows of one register: those whose starts are
    /// the one with number `at` and each sixteenth after it.
    ///
    /// # Safety
    /// `starts` must be of this matrix, and `column + TILE` at most the width.
    #[inline(always)]
    unsafe fn pointers<V: Vector>(
        &self,
        starts: &[usize; GROUP],
        at: usize,
        column: usize,
    ) -> [*const T; MAX_ROWS] {
        let mut pointers = [self.values; MAX_ROWS];
        for (row, pointer) in pointers.iter_mut().enumerate().take(V::ROWS) {
            // SAFETY: within the row, by the caller's promise.
            *pointer = unsafe { self.values.add(starts[at + 16 * row] + column) };
            // The same place in the rows that come next.
            let next = pointer.wrapping_add(V::BYTES * self.width);
            // SAFETY: a hint, which any address may be given to.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(next.cast()) };
        }
        pointers
    }

    /// Fills `columns`.
    ///
    /// # Safety
    /// As [`Vector`].
    #[inline(always)]
    unsafe fn load<V: Vector>(&self, columns: &mut [Column], loader: &mut impl Load<V, T>) {
        let mut row = 0;
        while row < self.rows {
            let starts = self.starts(row, V::BYTES);
            let mut column = 0;
            while column < self.width {
                // The last columns are taken together with some before them, again.
                let first = column.min(self.width - TILE);
                let columns = &mut columns[first..first + TILE];
                // SAFETY: sixteen columns from `first` are within the width; rows of a register are
                // within a block, as `row` is a multiple of what divides it; the rest is the caller's.
                unsafe {
                    let mut matrix = [V::bytes(0); TILE];
                    for (at, loaded) in matrix.iter_mut().enumerate() {
                        *loaded = loader.load(self.pointers::<V>(&starts, at, first), first);
                    }
                    let matrix = transpose(matrix);
                    for (column, codes) in columns.iter_mut().zip(&matrix) {
                        codes.store(column.0.as_mut_ptr().add(row));
                    }
                }
                column += TILE;
            }
            row += V::BYTES;
        }
    }
}

impl<T: Copy + Default> Matrix<T> {
    /// The rows, widened with zeros to at least [`TILE`] columns in `padded`.
    #[inline(always)]
    fn new(rows: Rows<'_, T>, padded: &mut [[T; TILE]; BLOCK]) -> Self {
        let n = rows.len().min(BLOCK);
        if rows.width >= TILE {
            return Self { values: rows.values.as_ptr(), rows: n, width: rows.width };
        }
        for (padded, row) in padded.iter_mut().zip(rows.values.chunks_exact(rows.width)) {
            for (padded, &value) in padded.iter_mut().zip(row) {
                *padded = value;
            }
        }
        Self { values: padded.as_ptr().cast(), rows: n, width: TILE }
    }
}

/// [`super::super::kernel::Kernel::load_reals`].
///
/// # Safety
/// As [`Vector`].
#[inline(always)]
pub(super) unsafe fn load_reals<V: Vector>(
    rows: Rows<'_, f32>,
    input: &Input,
    brackets: &Brackets,
    columns: &mut [Column],
) -> bool {
    let mut padded = [[0.0; TILE]; BLOCK];
    let matrix = Matrix::new(rows, &mut padded);
    // SAFETY: the constants have at least sixteen entries; the matrix gives pointers to sixteen
    // values; the rest is the caller's.
    unsafe {
        let constants = constants::<V>(brackets, 0);
        let max = V::bytes(brackets.max_code);
        let mut loader = Reals { input, brackets, max, first: 0, constants, all_finite: true };
        matrix.load(columns, &mut loader);
        loader.all_finite
    }
}

/// Loads real values.
struct Reals<'a, V: Vector> {
    input: &'a Input,
    brackets: &'a Brackets,
    max: V,
    /// The feature that `constants` begin with.
    first: usize,
    constants: V::Constants,
    all_finite: bool,
}

impl<V: Vector> Load<V, f32> for Reals<'_, V> {
    #[inline(always)]
    unsafe fn load(&mut self, rows: [*const f32; MAX_ROWS], first: usize) -> V {
        // SAFETY: the caller's; constants are padded to the columns of a matrix.
        unsafe {
            if first != self.first {
                (self.first, self.constants) = (first, constants::<V>(self.brackets, first));
            }
            let mut doubts = [0; 16 * MAX_ROWS];
            let (codes, in_doubt) = V::bracket(rows, self.constants, &mut doubts);
            let codes = codes.min_bytes(self.max);
            if !in_doubt {
                return codes;
            }
            let mut bytes = [0; 16 * MAX_ROWS];
            codes.store(bytes.as_mut_ptr());
            self.all_finite &= divide(&rows[..V::ROWS], self.input, first, &doubts, &mut bytes);
            V::load(bytes.as_ptr())
        }
    }
}

/// Constants of the features from `first`.
///
/// # Safety
/// As [`Vector`].
#[inline(always)]
unsafe fn constants<V: Vector>(brackets: &Brackets, first: usize) -> V::Constants {
    let range = first..first + TILE;
    let (below, above) = (&brackets.below[range.clone()], &brackets.above[range.clone()]);
    // SAFETY: pointers to sixteen values each; the rest is the caller's.
    unsafe { V::constants(below.as_ptr(), above.as_ptr(), brackets.floor[range].as_ptr()) }
}

/// Replaces codes in doubt by those that division gives; false if a value is not finite.
///
/// # Safety
/// Each pointer must be to sixteen values.
#[cold]
unsafe fn divide(
    rows: &[*const f32],
    input: &Input,
    first: usize,
    doubts: &[u32; 16 * MAX_ROWS],
    codes: &mut [u8; 16 * MAX_ROWS],
) -> bool {
    let mut all_finite = true;
    for (at, &doubt) in doubts.iter().enumerate().take(16 * rows.len()) {
        if doubt != 0 {
            // SAFETY: by the caller's promise.
            let value = unsafe { *rows[at / 16].add(at % 16) };
            if value.is_finite() {
                codes[at] = input.code(first + at % 16, value.into()).to_le_bytes()[0];
            } else {
                all_finite = false;
            }
        }
    }
    all_finite
}

/// [`super::super::kernel::Kernel::load_codes`].
///
/// # Safety
/// As [`Vector`].
#[inline(always)]
pub(super) unsafe fn load_codes<V: Vector>(
    rows: Rows<'_, u16>,
    max: u8,
    columns: &mut [Column],
) -> bool {
    let mut padded = [[0; TILE]; BLOCK];
    let matrix = Matrix::new(rows, &mut padded);
    let mut loader = Codes { max: max.into(), all_fit: true };
    // SAFETY: the matrix gives pointers to sixteen values; the rest is the caller's.
    unsafe { matrix.load::<V>(columns, &mut loader) };
    loader.all_fit
}

/// Loads codes.
struct Codes {
    max: u16,
    all_fit: bool,
}

impl<V: Vector> Load<V, u16> for Codes {
    #[inline(always)]
    unsafe fn load(&mut self, rows: [*const u16; MAX_ROWS], _first: usize) -> V {
        // SAFETY: the caller's.
        let (codes, beyond) = unsafe { V::narrow(rows, self.max) };
        self.all_fit &= !beyond;
        codes
    }
}
