//! What the packed kernels have in common: the steps of a block's evaluation.

use super::program::Layer;
use super::quantizer::{Arithmetic, Brackets};
use crate::graph::input::Input;
use crate::graph::lookup::Lookup;
use crate::simulate::block::{BLOCK, Column, Planes, Rows, Shift, Sums, Tile};
use crate::simulate::finish::Finish;
use crate::simulate::outputs::Runs;
use crate::simulate::prefetch::Ahead;

/// A layer with all that a kernel needs of it.
#[derive(Clone, Copy)]
pub(super) struct HiddenLayer<'a> {
    pub(super) layer: &'a Layer,
    pub(super) lookup: &'a Lookup,
    /// Rows that count; a kernel may compute more.
    pub(super) rows: usize,
    /// Whether sums must be stored too.
    pub(super) keep_sums: bool,
    /// What noise does to the sums before they are read.
    pub(super) shifts: Option<&'a [Shift]>,
    /// What may be fetched meanwhile.
    pub(super) ahead: Ahead,
}

/// The values of one feature with all that a kernel needs to quantize them.
#[derive(Clone, Copy)]
pub(super) struct FeatureValues<'a> {
    pub(super) values: &'a [f32; BLOCK],
    pub(super) feature: usize,
    pub(super) input: &'a Input,
    pub(super) brackets: &'a Brackets,
    /// What may be fetched meanwhile.
    pub(super) ahead: Ahead,
}

/// The steps of a block's evaluation on one instruction set.
///
/// Rows beyond those given may hold any codes that the quantizer can give, or whatever an earlier
/// block left, which is the same.
pub(super) trait Kernel: Copy {
    /// How it quantizes.
    const ARITHMETIC: Arithmetic;

    /// Quantizes `rows`, at most a block; false if a value is not finite, whose code is then wrong
    /// but in range. What is `ahead` may be fetched meanwhile.
    fn load_reals(
        self,
        rows: Rows<'_, f32>,
        input: &Input,
        brackets: &Brackets,
        ahead: Ahead,
        columns: &mut [Column],
    ) -> bool;

    /// Takes `rows`, at most a block, as codes; false if one is above `max`, whose code is then
    /// wrong but in range. What is `ahead` may be fetched meanwhile.
    fn load_codes(self, rows: Rows<'_, u16>, max: u8, ahead: Ahead, columns: &mut [Column])
    -> bool;

    /// Quantizes the values of one feature; false if one is not finite, whose code is then wrong but in
    /// range.
    fn load_column(self, values: FeatureValues<'_>, column: &mut Column) -> bool;

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
