//! From rows to columns of codes.

use std::arch::x86_64::{_MM_HINT_T0, _MM_HINT_T1, _mm_prefetch};
use std::mem::MaybeUninit;

use super::super::quantizer::Brackets;
use super::vector::{MAX_ROWS, Vector, transpose};
use crate::graph::input::Input;
use crate::simulate::block::{Column, Rows, TILE};
use crate::simulate::prefetch::Ahead;

/// How the codes of a register are had. A closure would not be inlined, so not be fast.
trait Load<V, T> {
    /// Turns to the columns from `first` on.
    ///
    /// # Safety
    /// As [`Vector`].
    unsafe fn turn_to(&mut self, first: usize);

    /// The codes of [`TILE`] values at each of the pointers to rows.
    ///
    /// # Safety
    /// As [`Vector`].
    unsafe fn load(&mut self, rows: [*const T; MAX_ROWS]) -> V;

    /// Corrects the codes that [`Load::load`] gave for these rows, if one was in doubt.
    ///
    /// # Safety
    /// As [`Vector`].
    unsafe fn settle(&mut self, rows: &Places<T>, codes: &mut [V; TILE]);
}

/// Rows of at least [`TILE`] values.
struct Matrix<T> {
    values: *const T,
    rows: usize,
    width: usize,
}

/// Where the values of as many rows are that a register has bytes.
struct Places<T> {
    first: *const T,
    width: usize,
    /// The last row that there is; it stands in for those beyond it.
    last: usize,
    /// From each row's values to those that are taken next.
    next: usize,
    /// Where lines are that will be read later: half as many as these values fill.
    ahead: *const u8,
}

impl<T> Places<T> {
    /// Pointers to the rows of one register: that with number `at` and each sixteenth after it.
    ///
    /// # Safety
    /// The rows up to the last must have values where they are sought.
    #[inline(always)]
    unsafe fn rows<V: Vector, const FULL: bool>(&self, at: usize) -> [*const T; MAX_ROWS] {
        let mut rows = [self.first; MAX_ROWS];
        for (part, pointer) in rows.iter_mut().enumerate().take(V::ROWS) {
            let row = at + 16 * part;
            let row = if FULL { row } else { row.min(self.last) };
            // SAFETY: within the row, by the caller's promise.
            *pointer = unsafe { self.first.add(row * self.width) };
        }
        rows
    }
}

impl<T> Matrix<T> {
    /// Fills `columns`.
    ///
    /// # Safety
    /// As [`Vector`].
    #[inline(always)]
    unsafe fn load<V: Vector>(
        &self,
        columns: &mut [Column],
        ahead: Ahead,
        loader: &mut impl Load<V, T>,
    ) {
        let (mut row, mut tiles) = (0, 0);
        while row < self.rows {
            let last = self.rows - row - 1;
            let mut column = 0;
            while column < self.width {
                // The last columns are taken together with some before them, again.
                let first = column.min(self.width - TILE);
                let columns = &mut columns[first..first + TILE];
                // SAFETY: sixteen columns from `first` are within the width; rows of a register are
                // within a block, as `row` is a multiple of what divides it; the rest is the caller's.
                unsafe {
                    let place = self.values.add(row * self.width + first);
                    let beside = column + TILE;
                    let next =
                        if beside < self.width { beside } else { V::BYTES * self.width } - first;
                    // Without any, these values themselves: they are here, which costs least.
                    let ahead = ahead.first().map_or(place.cast(), |first| {
                        first.wrapping_add(tiles * lines_ahead::<V, T>(TILE) * Ahead::LINE)
                    });
                    let places = Places { first: place, width: self.width, last, next, ahead };
                    loader.turn_to(first);
                    let codes = if last + 1 >= V::BYTES {
                        tile::<V, T, true>(&places, loader)
                    } else {
                        tile::<V, T, false>(&places, loader)
                    };
                    for (column, codes) in columns.iter_mut().zip(&codes) {
                        codes.store(column.0.as_mut_ptr().add(row));
                    }
                }
                column += TILE;
                tiles += 1;
            }
            row += V::BYTES;
        }
    }
}

/// Lines that are fetched ahead by the time that so many registers of a tile are loaded: half as many
/// as these registers' values fill.
const fn lines_ahead<V: Vector, T>(registers: usize) -> usize {
    registers * V::ROWS * TILE * size_of::<T>() / (2 * Ahead::LINE)
}

/// Codes of sixteen columns.
///
/// # Safety
/// As [`Places::rows`], and as [`Vector`]; if `FULL`, there must be as many rows as `V` has bytes.
#[inline(always)]
unsafe fn tile<V: Vector, T, const FULL: bool>(
    places: &Places<T>,
    loader: &mut impl Load<V, T>,
) -> [V; TILE] {
    // SAFETY: the caller's; a prefetch is a hint, which any address may be given to.
    unsafe {
        // Zeros would be stored first, and never read.
        let mut codes = [const { MaybeUninit::<V>::uninit() }; TILE];
        for (at, loaded) in codes.iter_mut().enumerate() {
            let rows = places.rows::<V, FULL>(at);
            for row in &rows[..V::ROWS] {
                _mm_prefetch::<_MM_HINT_T0>(row.wrapping_add(places.next + TILE - 1).cast());
            }
            for line in lines_ahead::<V, T>(at)..lines_ahead::<V, T>(at + 1) {
                _mm_prefetch::<_MM_HINT_T1>(places.ahead.wrapping_add(line * Ahead::LINE).cast());
            }
            loaded.write(loader.load(rows));
        }
        // All are written now. A copy would be one in memory.
        let codes = &mut *codes.as_mut_ptr().cast::<[V; TILE]>();
        loader.settle(places, codes);
        transpose(*codes)
    }
}

impl<T: Copy + Default> Matrix<T> {
    #[inline(always)]
    fn new(rows: Rows<'_, T>) -> Self {
        Self { values: rows.values.as_ptr(), rows: rows.len(), width: rows.width }
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
    ahead: Ahead,
    columns: &mut [Column],
) -> bool {
    // SAFETY: the caller's.
    unsafe {
        if brackets.is_exact {
            load_reals_as::<V, true>(rows, input, brackets, ahead, columns)
        } else {
            load_reals_as::<V, false>(rows, input, brackets, ahead, columns)
        }
    }
}

/// The same with one factor a feature if `EXACT`, else with two.
///
/// # Safety
/// As [`Vector`].
#[inline(always)]
unsafe fn load_reals_as<V: Vector, const EXACT: bool>(
    rows: Rows<'_, f32>,
    input: &Input,
    brackets: &Brackets,
    ahead: Ahead,
    columns: &mut [Column],
) -> bool {
    let mut padded = None;
    let matrix = Matrix::new(rows.padded(&mut padded));
    // SAFETY: the constants have at least sixteen entries; the matrix gives pointers to sixteen
    // values; the rest is the caller's.
    unsafe {
        let mut loader = Reals::<V, EXACT> {
            input,
            brackets,
            max: V::bytes(brackets.max_code),
            first: 0,
            constants: constants::<V>(brackets, 0),
            doubt: V::bytes(0),
            all_finite: true,
        };
        matrix.load(columns, ahead, &mut loader);
        loader.all_finite
    }
}

/// Loads real values.
struct Reals<'a, V: Vector, const EXACT: bool> {
    input: &'a Input,
    brackets: &'a Brackets,
    max: V,
    /// The feature that `constants` begin with.
    first: usize,
    constants: V::Constants,
    /// Not zero if a value of the tile is in doubt.
    doubt: V,
    all_finite: bool,
}

impl<V: Vector, const EXACT: bool> Load<V, f32> for Reals<'_, V, EXACT> {
    #[inline(always)]
    unsafe fn turn_to(&mut self, first: usize) {
        // SAFETY: the caller's; constants are padded to the columns of a matrix.
        unsafe { (self.first, self.constants) = (first, constants::<V>(self.brackets, first)) };
    }

    #[inline(always)]
    unsafe fn load(&mut self, rows: [*const f32; MAX_ROWS]) -> V {
        // SAFETY: the caller's.
        unsafe {
            let (codes, doubt) = V::quantize::<EXACT>(rows, self.constants);
            self.doubt = self.doubt.or(doubt);
            codes.min_bytes(self.max)
        }
    }

    #[inline(always)]
    unsafe fn settle(&mut self, places: &Places<f32>, codes: &mut [V; TILE]) {
        // SAFETY: the caller's.
        unsafe {
            if self.doubt.is_zero() {
                return;
            }
            self.doubt = V::bytes(0);
            for (at, codes) in codes.iter_mut().enumerate() {
                let rows = places.rows::<V, false>(at);
                let (_, doubt) = V::quantize::<EXACT>(rows, self.constants);
                if !doubt.is_zero() {
                    let mut bytes = [0; 16 * MAX_ROWS];
                    codes.store(bytes.as_mut_ptr());
                    for (row, codes) in rows.iter().zip(bytes.as_chunks_mut().0).take(V::ROWS) {
                        let (_, doubt) = V::quantize::<EXACT>([*row; MAX_ROWS], self.constants);
                        if !doubt.is_zero() {
                            self.all_finite &= divide(*row, self.input, self.first, codes);
                        }
                    }
                    *codes = V::load(bytes.as_ptr());
                }
            }
        }
    }
}

/// Constants of the features from `first`.
///
/// # Safety
/// As [`Vector`].
#[inline(always)]
unsafe fn constants<V: Vector>(brackets: &Brackets, first: usize) -> V::Constants {
    let tile = brackets.tile(first);
    // SAFETY: pointers to sixteen values each; the rest is the caller's.
    unsafe { V::constants(tile.below.as_ptr(), tile.above.as_ptr(), tile.floor.as_ptr()) }
}

/// Replaces codes by those that division gives; false if a value is not finite.
///
/// # Safety
/// The pointer must be to sixteen values.
unsafe fn divide(row: *const f32, input: &Input, first: usize, codes: &mut [u8; TILE]) -> bool {
    let mut all_finite = true;
    // Columns beyond the features are padding.
    let features = first..input.n_features();
    for (at, (feature, code)) in features.zip(codes).enumerate() {
        // SAFETY: by the caller's promise.
        let value = unsafe { *row.add(at) };
        if value.is_finite() {
            *code = input.code(feature, value.into()).to_le_bytes()[0];
        } else {
            all_finite = false;
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
    ahead: Ahead,
    columns: &mut [Column],
) -> bool {
    let mut padded = None;
    let matrix = Matrix::new(rows.padded(&mut padded));
    let mut loader = Codes { max: max.into(), all_fit: true };
    // SAFETY: the matrix gives pointers to sixteen values; the rest is the caller's.
    unsafe { matrix.load::<V>(columns, ahead, &mut loader) };
    loader.all_fit
}

/// Loads codes.
struct Codes {
    max: u16,
    all_fit: bool,
}

impl<V: Vector> Load<V, u16> for Codes {
    #[inline(always)]
    unsafe fn turn_to(&mut self, _first: usize) {}

    #[inline(always)]
    unsafe fn load(&mut self, rows: [*const u16; MAX_ROWS]) -> V {
        // SAFETY: the caller's.
        let (codes, beyond) = unsafe { V::narrow(rows, self.max) };
        self.all_fit &= !beyond;
        codes
    }

    #[inline(always)]
    unsafe fn settle(&mut self, _rows: &Places<u16>, _codes: &mut [V; TILE]) {}
}
