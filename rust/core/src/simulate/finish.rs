//! What becomes of the output accumulators: they are kept, or made real values.

use super::program::OutputTile;
use crate::output::Output;

/// Makes results of accumulators.
pub(super) trait Finish: Copy + Sync {
    /// A result.
    type Value: Copy + Default + Send;

    /// The result for one accumulator of one output.
    fn one(self, output: usize, accumulator: i64) -> Self::Value;

    /// The results for sixteen outputs, given as distances from their minimum. `values` takes them,
    /// and nothing more than that is asked of those beyond the last output.
    fn sixteen(self, tile: &OutputTile, distances: &[u16; 16]) -> [Self::Value; 16];
}

/// Accumulators as they are.
#[derive(Clone, Copy)]
pub(super) struct Accumulators;

impl Finish for Accumulators {
    type Value = i64;

    fn one(self, _output: usize, accumulator: i64) -> i64 {
        accumulator
    }

    #[inline(always)]
    fn sixteen(self, tile: &OutputTile, distances: &[u16; 16]) -> [i64; 16] {
        let mut values = tile.low;
        for (value, &distance) in values.iter_mut().zip(distances) {
            *value += i64::from(distance);
        }
        values
    }
}

/// Real values.
#[derive(Clone, Copy)]
pub(super) struct Values<'a>(pub(super) &'a Output);

impl Finish for Values<'_> {
    type Value = f64;

    fn one(self, output: usize, accumulator: i64) -> f64 {
        self.0.dequantize(output, accumulator)
    }

    /// Below `2^52` the sum in `f64` is the accumulator.
    #[inline(always)]
    fn sixteen(self, tile: &OutputTile, distances: &[u16; 16]) -> [f64; 16] {
        let mut values = [0.0; 16];
        for at in 0..16 {
            let accumulator = tile.low_steps[at] + f64::from(i32::from(distances[at]));
            values[at] = accumulator * tile.scale[at] + tile.offset[at];
        }
        values
    }
}
