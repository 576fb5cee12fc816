//! What the packed kernels have in common: the layout of a block and the steps of its evaluation.

use std::ops::Range;

use super::program::{Layer, Runs};
use super::quantizer::{Arithmetic, Brackets};
use crate::graph::input::Input;
use crate::graph::lookup::Lookup;
use crate::simulate::finish::Finish;

/// Rows of a block: enough to amortize reading the weights, few enough that the codes of a layer
/// stay in the nearest cache.
pub(in crate::simulate) const BLOCK: usize = 256;

/// Columns that are loaded or turned into rows at a time.
pub(in crate::simulate) const TILE: usize = 16;

/// One byte for each row of a block: the codes of one feature or neuron.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(in crate::simulate) struct Column(pub(in crate::simulate) [u8; BLOCK]);

impl Column {
    pub(in crate::simulate) const ZERO: Self = Self([0; BLOCK]);

    /// The lanes of two rows each.
    pub(in crate::simulate) fn lanes(&self) -> &[[u8; 2]] {
        self.0.as_chunks().0
    }
}

/// What noise adds to the sums of a neuron, and what it then takes away; the result stays between the
/// sum's minimum and its maximum.
#[derive(Clone, Copy)]
pub(in crate::simulate) struct Shift {
    pub(in crate::simulate) up: Column,
    pub(in crate::simulate) down: Column,
}

impl Shift {
    pub(in crate::simulate) const NONE: Self = Self { up: Column::ZERO, down: Column::ZERO };
}

/// Sixteen columns, row by row.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(in crate::simulate) struct Tile(pub(in crate::simulate) [[u8; 16]; BLOCK]);

impl Tile {
    pub(in crate::simulate) const ZERO: Self = Self([[0; 16]; BLOCK]);
}

/// Sums of neurons, counted from their minimum: low and high bytes, padded to whole tiles.
pub(in crate::simulate) struct Planes {
    pub(in crate::simulate) low: Vec<Column>,
    pub(in crate::simulate) high: Vec<Column>,
}

impl Planes {
    pub(in crate::simulate) fn new(n: usize) -> Self {
        let columns = vec![Column::ZERO; n.next_multiple_of(16)];
        Self { low: columns.clone(), high: columns }
    }

    /// The sum of one neuron in one row.
    pub(in crate::simulate) fn sum(&self, neuron: usize, row: usize) -> u16 {
        u16::from_le_bytes([self.low[neuron].0[row], self.high[neuron].0[row]])
    }
}

/// A block's rows of one type: `values[row * width + column]`.
#[derive(Clone, Copy)]
pub(in crate::simulate) struct Rows<'a, T> {
    pub(in crate::simulate) values: &'a [T],
    pub(in crate::simulate) width: usize,
}

impl<'a, T: Copy + Default> Rows<'a, T> {
    pub(in crate::simulate) fn len(&self) -> usize {
        self.values.len() / self.width
    }

    /// The rows of a block, widened with zeros to at least [`TILE`] columns in `padded`.
    #[inline(always)]
    pub(in crate::simulate) fn padded(self, padded: &'a mut Option<[[T; TILE]; BLOCK]>) -> Self {
        if self.width >= TILE {
            return self;
        }
        let padded = padded.insert([[T::default(); TILE]; BLOCK]);
        for (padded, row) in padded.iter_mut().zip(self.values.chunks_exact(self.width)) {
            padded[..self.width].copy_from_slice(row);
        }
        let rows = self.len().min(BLOCK);
        Rows { values: padded[..rows].as_flattened(), width: TILE }
    }
}

/// Sums of at most sixteen neurons, row by row: low bytes and, unless all are zero, high ones.
#[derive(Clone, Copy)]
pub(in crate::simulate) struct Sums<'a> {
    pub(in crate::simulate) low: &'a Tile,
    pub(in crate::simulate) high: Option<&'a Tile>,
}

/// Memory that will be read soon: it is idle while results are computed.
#[derive(Clone, Copy)]
pub(in crate::simulate) struct Ahead {
    first: *const u8,
    bytes: usize,
}

impl Ahead {
    /// Bytes that processors fetch together.
    pub(in crate::simulate) const LINE: usize = 64;

    /// Larger blocks and their codes don't leave room for another block in the second cache.
    const MAX_BLOCK: usize = 1 << 18;

    /// Nothing.
    pub(in crate::simulate) const NONE: Self = Self { first: std::ptr::null(), bytes: 0 };

    /// What to fetch of a batch while the block of the values in `block` is loaded, and what while its
    /// first sums are computed.
    ///
    /// The next block is fetched, evenly, unless the second cache has no room for so much: then half of
    /// it and, before that, the second half of this block.
    pub(in crate::simulate) fn of_block<T>(batch: &[T], block: Range<usize>) -> [Self; 2] {
        let next = block.end..(2 * block.end - block.start).min(batch.len());
        let [first, second] = Self::halves(&batch[next]);
        if block.len() * size_of::<T>() <= Self::MAX_BLOCK {
            [first, second]
        } else {
            let [_, rest] = Self::halves(&batch[block]);
            [rest, first]
        }
    }

    fn halves<T>(values: &[T]) -> [Self; 2] {
        let (first, second) = values.split_at(values.len() / 2);
        [first, second].map(|half| Self { first: half.as_ptr().cast(), bytes: size_of_val(half) })
    }

    /// Where it begins, if there is something.
    pub(in crate::simulate) fn first(self) -> Option<*const u8> {
        (self.bytes > 0).then_some(self.first)
    }

    /// Where the lines of one of `parts` equal parts are.
    #[inline(always)]
    pub(in crate::simulate) fn lines(
        self,
        part: usize,
        parts: usize,
    ) -> impl Iterator<Item = *const u8> {
        let lines = self.bytes.div_ceil(Self::LINE);
        let each = lines.div_ceil(parts);
        let range = (part * each).min(lines)..((part + 1) * each).min(lines);
        range.map(move |line| self.first.wrapping_add(line * Self::LINE))
    }
}

/// A layer with all that a kernel needs of it.
#[derive(Clone, Copy)]
pub(in crate::simulate) struct HiddenLayer<'a> {
    pub(in crate::simulate) layer: &'a Layer,
    pub(in crate::simulate) lookup: &'a Lookup,
    /// Rows that count; a kernel may compute more.
    pub(in crate::simulate) rows: usize,
    /// Whether sums must be stored too.
    pub(in crate::simulate) keep_sums: bool,
    /// What noise does to the sums before they are read.
    pub(in crate::simulate) shifts: Option<&'a [Shift]>,
    /// What may be fetched meanwhile.
    pub(in crate::simulate) ahead: Ahead,
}

/// The steps of a block's evaluation on one instruction set.
///
/// Rows beyond those given may hold any codes that the quantizer can give, or whatever an earlier
/// block left, which is the same.
pub(in crate::simulate) trait Kernel: Copy {
    /// How it quantizes.
    const ARITHMETIC: Arithmetic;

    /// Quantizes `rows`, at most [`BLOCK`]; false if a value is not finite, whose code is then wrong
    /// but in range. What is `ahead` may be fetched meanwhile.
    fn load_reals(
        self,
        rows: Rows<'_, f32>,
        input: &Input,
        brackets: &Brackets,
        ahead: Ahead,
        columns: &mut [Column],
    ) -> bool;

    /// Takes `rows`, at most [`BLOCK`], as codes; false if one is above `max`, whose code is then
    /// wrong but in range. What is `ahead` may be fetched meanwhile.
    fn load_codes(self, rows: Rows<'_, u16>, max: u8, ahead: Ahead, columns: &mut [Column])
    -> bool;

    /// Evaluates a Linear and its Lookup, from `codes` to `next`.
    fn hidden(
        self,
        layer: HiddenLayer<'_>,
        codes: &[Column],
        next: &mut [Column],
        sums: &mut Planes,
    );

    /// Evaluates the last Linear. What is `ahead` may be fetched meanwhile.
    fn head(self, layer: &Layer, rows: usize, codes: &[Column], ahead: Ahead, sums: &mut Planes);

    /// Turns columns into rows; `columns` fill whole tiles.
    fn transpose(self, columns: &[Column], tiles: &mut [Tile]);

    /// Makes results of the sums of the first rows, as many as it has a faster way for than one by
    /// one, and returns how many those are.
    #[inline(always)]
    fn emit<F: Finish>(self, _runs: &Runs, _sums: Sums<'_>, _out: &mut [F::Value]) -> usize {
        0
    }
}
