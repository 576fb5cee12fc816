//! Where the codes of rows come from.

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
