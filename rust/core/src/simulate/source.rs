//! Where the codes of rows come from.

use super::block::BLOCK;
use super::numbers::Numbers;
use super::prefetch::Ahead;
use crate::error::InputError;
use crate::graph::IntegerGraph;
use crate::graph::input::Real;

/// Rows that codes are taken or made from.
pub(super) trait Source: Copy + Sync {
    /// Puts the codes of one row into `codes`; in range whenever that succeeds.
    fn load(self, row: usize, codes: &mut [u16]) -> Result<(), InputError>;

    /// All rows, if they are codes.
    fn codes(&self) -> Option<&[u16]>;

    /// All rows, if they are reals of single precision.
    fn singles(&self) -> Option<&[f32]>;

    /// The columns, if that is how rows are given.
    fn columns(&self) -> Option<&[Numbers<'_>]> {
        None
    }

    /// All rows, if they are numbers of any type that are taken in single precision.
    fn numbers(&self) -> Option<Numbers<'_>> {
        None
    }

    /// What to fetch while the block of `rows` rows from `start` is evaluated: see [`Ahead::of_block`].
    fn ahead(&self, start: usize, rows: usize) -> [Ahead; 2];
}

fn ahead<T>(graph: &IntegerGraph, batch: &[T], start: usize, rows: usize) -> [Ahead; 2] {
    let width = graph.n_features();
    Ahead::of_block(batch, start * width..(start + rows) * width)
}

/// Rows of codes.
#[derive(Clone, Copy)]
pub(super) struct Codes<'a> {
    pub(super) graph: &'a IntegerGraph,
    pub(super) codes: &'a [u16],
}

impl Source for Codes<'_> {
    /// Codes are checked in the copy that is evaluated, so that a caller who writes to them meanwhile
    /// can get a wrong result but not an index outside a table.
    fn load(self, row: usize, copy: &mut [u16]) -> Result<(), InputError> {
        copy.copy_from_slice(&self.codes[row * copy.len()..][..copy.len()]);
        self.graph.input().check_row(row, copy)
    }

    fn codes(&self) -> Option<&[u16]> {
        Some(self.codes)
    }

    fn singles(&self) -> Option<&[f32]> {
        None
    }

    fn ahead(&self, start: usize, rows: usize) -> [Ahead; 2] {
        ahead(self.graph, self.codes, start, rows)
    }
}

/// Rows of real features.
#[derive(Clone, Copy)]
pub(super) struct Reals<'a, T> {
    pub(super) graph: &'a IntegerGraph,
    pub(super) x: &'a [T],
}

impl<T: Real> Source for Reals<'_, T> {
    fn load(self, row: usize, codes: &mut [u16]) -> Result<(), InputError> {
        let values = &self.x[row * codes.len()..][..codes.len()];
        self.graph.input().quantize_row(row, values, codes)
    }

    fn codes(&self) -> Option<&[u16]> {
        None
    }

    fn singles(&self) -> Option<&[f32]> {
        T::as_singles(self.x)
    }

    fn ahead(&self, start: usize, rows: usize) -> [Ahead; 2] {
        ahead(self.graph, self.x, start, rows)
    }
}

/// Rows of numbers, which are taken in single precision.
#[derive(Clone, Copy)]
pub(super) struct Singles<'a> {
    pub(super) graph: &'a IntegerGraph,
    pub(super) numbers: Numbers<'a>,
}

impl Singles<'_> {
    /// Puts the codes of one row into `codes`; `singles` is space for its numbers.
    pub(super) fn quantize(
        self,
        row: usize,
        singles: &mut [f32],
        codes: &mut [u16],
    ) -> Result<(), InputError> {
        let width = codes.len();
        self.numbers.copy_to(row * width..(row + 1) * width, singles);
        match self.graph.input().quantize_row(row, singles, codes) {
            Ok(()) => Ok(()),
            Err(_) => self.load(row, codes),
        }
    }
}

impl Source for Singles<'_> {
    fn load(self, row: usize, codes: &mut [u16]) -> Result<(), InputError> {
        let first = row * codes.len();
        for (feature, code) in codes.iter_mut().enumerate() {
            let single = self.numbers.single(first + feature, row, feature)?;
            *code = self.graph.input().code(feature, single.into());
        }
        Ok(())
    }

    fn codes(&self) -> Option<&[u16]> {
        None
    }

    fn singles(&self) -> Option<&[f32]> {
        match self.numbers {
            Numbers::F32(singles) => Some(singles),
            _ => None,
        }
    }

    fn numbers(&self) -> Option<Numbers<'_>> {
        Some(self.numbers)
    }

    fn ahead(&self, start: usize, rows: usize) -> [Ahead; 2] {
        match self.numbers {
            Numbers::F32(singles) => ahead(self.graph, singles, start, rows),
            _ => [Ahead::NONE; 2],
        }
    }
}

/// Rows of numbers that are given column by column, and taken in single precision.
#[derive(Clone, Copy)]
pub(super) struct Columns<'a> {
    pub(super) columns: &'a [Numbers<'a>],
    pub(super) graph: &'a IntegerGraph,
}

impl Columns<'_> {
    /// Puts the codes of the rows from `start` into `codes`, at most a block of them, row by row.
    pub(super) fn quantize(self, start: usize, codes: &mut [u16]) -> Result<(), InputError> {
        let (input, width) = (self.graph.input(), self.columns.len());
        let rows = codes.len() / width;
        let (mut all_finite, mut buffer) = (true, [0.0; BLOCK]);
        for (feature, column) in self.columns.iter().enumerate() {
            let values = column.block(start..start + rows, &mut buffer);
            for (row, &value) in codes.chunks_exact_mut(width).zip(values) {
                all_finite &= value.is_finite();
                row[feature] = input.code(feature, value.into());
            }
        }
        if all_finite {
            return Ok(());
        }
        let mut rows = (start..).zip(codes.chunks_exact_mut(width));
        rows.try_for_each(|(row, codes)| self.load(row, codes))
    }
}

impl Source for Columns<'_> {
    fn load(self, row: usize, codes: &mut [u16]) -> Result<(), InputError> {
        for (feature, (column, code)) in self.columns.iter().zip(codes).enumerate() {
            let single = column.single(row, row, feature)?;
            *code = self.graph.input().code(feature, single.into());
        }
        Ok(())
    }

    fn codes(&self) -> Option<&[u16]> {
        None
    }

    fn singles(&self) -> Option<&[f32]> {
        None
    }

    fn columns(&self) -> Option<&[Numbers<'_>]> {
        Some(self.columns)
    }

    /// Nothing: processors see for themselves what is read in order.
    fn ahead(&self, _start: usize, _rows: usize) -> [Ahead; 2] {
        [Ahead::NONE; 2]
    }
}
