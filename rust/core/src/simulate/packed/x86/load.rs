//! From rows to columns of codes.

#![allow(unsafe_code, reason = "what is checked for a tile need not be for each of its rows")]

use std::mem::MaybeUninit;

use super::vector::{MAX_ROWS, Vector, transpose};
use crate::graph::input::Input;
use crate::simulate::block::{Column, Rows, TILE};
use crate::simulate::packed::quantizer::Brackets;
use crate::simulate::prefetch::{Ahead, fetch, fetch_near};

/// How the codes of a register are had. A closure would not be inlined, so not be fast.
trait Load<V, T> {
    /// Turns to the columns from `first` on.
    fn turn_to(&mut self, first: usize);

    /// The codes of these rows, one to a sub-register.
    fn load(&mut self, rows: [&[T; TILE]; MAX_ROWS]) -> V;

    /// Corrects the codes that [`Load::load`] gave for these rows, if one was in doubt.
    fn settle(&mut self, places: &Places<'_, T>, codes: &mut [V; TILE]);
}

/// Where the values of as many rows are that a register has bytes.
struct Places<'a, T> {
    /// From the first row's first value on.
    values: &'a [T],
    width: usize,
    /// The last row that there is; it stands in for those beyond it.
    last: usize,
    /// From each row's values to those that are taken next.
    next: usize,
    /// Where lines are that will be read later: half as many as these values fill.
    ahead: *const u8,
}

impl<'a, T> Places<'a, T> {
    /// The places of the rows up to the last, from the first one's first value on.
    #[inline(always)]
    fn new(values: &'a [T], width: usize, last: usize, next: usize, ahead: *const u8) -> Self {
        // Known once, it need not be tested for every row.
        assert!(values.len() >= last * width + TILE, "each row has sixteen columns from the first");
        Self { values, width, last, next, ahead }
    }

    /// The rows of one register: that with number `at` and each sixteenth after it. If `FULL`, there
    /// must be as many rows as `V` has bytes.
    #[inline(always)]
    fn rows<V: Vector, const FULL: bool>(&self, at: usize) -> [&'a [T; TILE]; MAX_ROWS] {
        assert!(at < 16 && (!FULL || self.last + 1 >= V::BYTES), "such a row");
        let first = self.values.first_chunk().expect("sixteen columns");
        let mut rows = [first; MAX_ROWS];
        for (part, values) in rows.iter_mut().enumerate().take(V::ROWS) {
            let row = at + 16 * part;
            let row = if FULL { row } else { row.min(self.last) };
            // SAFETY: a row up to the last, which have these values, as `new` has checked.
            *values = unsafe { &*self.values.as_ptr().add(row * self.width).cast() };
        }
        rows
    }
}

/// Fills `columns` with the codes of `rows`, which have at least sixteen columns.
#[inline(always)]
fn fill<V: Vector, T: Copy + Default>(
    rows: Rows<'_, T>,
    columns: &mut [Column],
    ahead: Ahead,
    loader: &mut impl Load<V, T>,
) {
    let (width, n_rows) = (rows.width, rows.len());
    let (mut row, mut tiles) = (0, 0);
    while row < n_rows {
        let last = n_rows - row - 1;
        let mut column = 0;
        while column < width {
            // The last columns are taken together with some before them, again.
            let first = column.min(width - TILE);
            let values = &rows.values[row * width + first..];
            let beside = column + TILE;
            let next = if beside < width { beside } else { V::BYTES * width } - first;
            // Without any, these values themselves: they are here, which costs least.
            let ahead = ahead.first().map_or(values.as_ptr().cast(), |first| {
                first.wrapping_add(tiles * lines_ahead::<V, T>(TILE) * Ahead::LINE)
            });
            let places = Places::new(values, width, last, next, ahead);
            loader.turn_to(first);
            let codes = if last + 1 >= V::BYTES {
                tile::<V, T, true>(&places, loader)
            } else {
                tile::<V, T, false>(&places, loader)
            };
            for (column, codes) in columns[first..first + TILE].iter_mut().zip(&codes) {
                codes.store(&mut column.0[row..]);
            }
            column += TILE;
            tiles += 1;
        }
        row += V::BYTES;
    }
}

/// Lines that are fetched ahead by the time that so many registers of a tile are loaded: half as many
/// as these registers' values fill.
const fn lines_ahead<V: Vector, T>(registers: usize) -> usize {
    registers * V::ROWS * TILE * size_of::<T>() / (2 * Ahead::LINE)
}

/// Codes of sixteen columns. If `FULL`, there must be as many rows as `V` has bytes.
#[inline(always)]
fn tile<V: Vector, T, const FULL: bool>(
    places: &Places<'_, T>,
    loader: &mut impl Load<V, T>,
) -> [V; TILE] {
    // Zeros would be stored first, and never read.
    let mut codes = [const { MaybeUninit::<V>::uninit() }; TILE];
    for (at, loaded) in codes.iter_mut().enumerate() {
        let rows = places.rows::<V, FULL>(at);
        for row in &rows[..V::ROWS] {
            fetch_near(row.as_ptr().wrapping_add(places.next + TILE - 1).cast());
        }
        for line in lines_ahead::<V, T>(at)..lines_ahead::<V, T>(at + 1) {
            fetch(places.ahead.wrapping_add(line * Ahead::LINE));
        }
        loaded.write(loader.load(rows));
    }
    // SAFETY: all are written now. A copy would be one in memory.
    let codes = unsafe { &mut *codes.as_mut_ptr().cast::<[V; TILE]>() };
    loader.settle(places, codes);
    transpose(*codes)
}

/// [`super::super::kernel::Kernel::load_reals`].
#[inline(always)]
pub(super) fn load_reals<V: Vector>(
    proof: V::Proof,
    rows: Rows<'_, f32>,
    input: &Input,
    brackets: &Brackets,
    ahead: Ahead,
    columns: &mut [Column],
) -> bool {
    if brackets.is_exact {
        load_reals_as::<V, true>(proof, rows, input, brackets, ahead, columns)
    } else {
        load_reals_as::<V, false>(proof, rows, input, brackets, ahead, columns)
    }
}

/// The same with one factor a feature if `EXACT`, else with two.
#[inline(always)]
fn load_reals_as<V: Vector, const EXACT: bool>(
    proof: V::Proof,
    rows: Rows<'_, f32>,
    input: &Input,
    brackets: &Brackets,
    ahead: Ahead,
    columns: &mut [Column],
) -> bool {
    let mut padded = None;
    let mut loader = RealLoader::<V, EXACT> {
        proof,
        input,
        brackets,
        max: V::bytes(proof, brackets.max_code),
        first: 0,
        constants: V::constants(proof, brackets.tile(0)),
        doubt: V::bytes(proof, 0),
        all_finite: true,
    };
    fill(rows.padded(&mut padded), columns, ahead, &mut loader);
    loader.all_finite
}

/// Loads real values.
struct RealLoader<'a, V: Vector, const EXACT: bool> {
    proof: V::Proof,
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

impl<V: Vector, const EXACT: bool> Load<V, f32> for RealLoader<'_, V, EXACT> {
    #[inline(always)]
    fn turn_to(&mut self, first: usize) {
        self.first = first;
        self.constants = V::constants(self.proof, self.brackets.tile(first));
    }

    #[inline(always)]
    fn load(&mut self, rows: [&[f32; TILE]; MAX_ROWS]) -> V {
        let (codes, doubt) = V::quantize::<EXACT>(self.proof, rows, self.constants);
        self.doubt = self.doubt.or(doubt);
        codes.min_bytes(self.max)
    }

    #[inline(always)]
    fn settle(&mut self, places: &Places<'_, f32>, codes: &mut [V; TILE]) {
        if self.doubt.is_zero() {
            return;
        }
        self.doubt = V::bytes(self.proof, 0);
        for (at, codes) in codes.iter_mut().enumerate() {
            let rows = places.rows::<V, false>(at);
            let (_, doubt) = V::quantize::<EXACT>(self.proof, rows, self.constants);
            if !doubt.is_zero() {
                let mut bytes = [0; 16 * MAX_ROWS];
                codes.store(&mut bytes);
                for (row, codes) in rows.iter().zip(bytes.as_chunks_mut::<TILE>().0).take(V::ROWS) {
                    let rows = [*row; MAX_ROWS];
                    let (_, doubt) = V::quantize::<EXACT>(self.proof, rows, self.constants);
                    if !doubt.is_zero() {
                        // Columns beyond the features are padding.
                        let features = self.first..self.input.n_features();
                        self.all_finite &= divide(*row, features, self.input, codes);
                    }
                }
                *codes = V::load(self.proof, &bytes);
            }
        }
    }
}

/// Replaces codes by those that division gives, each of its feature; false if a value is not finite.
pub(super) fn divide(
    values: &[f32],
    features: impl Iterator<Item = usize>,
    input: &Input,
    codes: &mut [u8],
) -> bool {
    let mut all_finite = true;
    for (feature, (code, &value)) in features.zip(codes.iter_mut().zip(values)) {
        if value.is_finite() {
            *code = input.code(feature, value.into()).to_le_bytes()[0];
        } else {
            all_finite = false;
        }
    }
    all_finite
}

/// [`super::super::kernel::Kernel::load_codes`].
#[inline(always)]
pub(super) fn load_codes<V: Vector>(
    proof: V::Proof,
    rows: Rows<'_, u16>,
    max: u8,
    ahead: Ahead,
    columns: &mut [Column],
) -> bool {
    let mut padded = None;
    let mut loader = CodeLoader::<V> { proof, max: max.into(), all_fit: true };
    fill(rows.padded(&mut padded), columns, ahead, &mut loader);
    loader.all_fit
}

/// Loads codes.
struct CodeLoader<V: Vector> {
    proof: V::Proof,
    max: u16,
    all_fit: bool,
}

impl<V: Vector> Load<V, u16> for CodeLoader<V> {
    #[inline(always)]
    fn turn_to(&mut self, _first: usize) {}

    #[inline(always)]
    fn load(&mut self, rows: [&[u16; TILE]; MAX_ROWS]) -> V {
        let (codes, beyond) = V::narrow(self.proof, rows, self.max);
        self.all_fit &= !beyond;
        codes
    }

    #[inline(always)]
    fn settle(&mut self, _places: &Places<'_, u16>, _codes: &mut [V; TILE]) {}
}
