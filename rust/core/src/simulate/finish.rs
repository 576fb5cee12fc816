//! What becomes of the output accumulators: they are kept, or made real values.

use super::outputs::OutputGroup;
use crate::graph::output::Output;

/// Makes results of accumulators.
pub(super) trait Finish: Copy + Sync {
    /// A result.
    type Value: Copy + Default + Send;

    /// Whether results are real values, of [`OutputGroup`]'s scales, in `f64`; else accumulators in `i64`.
    const REAL: bool;

    /// The result for one accumulator of one output.
    fn one(self, output: usize, accumulator: i64) -> Self::Value;

    /// The results for eight outputs, given as distances from their minimum.
    fn eight(self, group: &OutputGroup, distances: [i32; 8]) -> [Self::Value; 8];
}

/// Accumulators as they are.
#[derive(Clone, Copy)]
pub(super) struct Accumulators;

impl Finish for Accumulators {
    type Value = i64;
    const REAL: bool = false;

    fn one(self, _output: usize, accumulator: i64) -> i64 {
        accumulator
    }

    #[inline(always)]
    fn eight(self, group: &OutputGroup, distances: [i32; 8]) -> [i64; 8] {
        let mut values = group.low;
        for (value, distance) in values.iter_mut().zip(distances) {
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
    const REAL: bool = true;

    fn one(self, output: usize, accumulator: i64) -> f64 {
        self.0.dequantize(output, accumulator)
    }

    /// Below `2^52` the sum in `f64` is the accumulator.
    #[inline(always)]
    fn eight(self, group: &OutputGroup, distances: [i32; 8]) -> [f64; 8] {
        let mut values = [0.0; 8];
        for at in 0..8 {
            let accumulator = group.low_steps[at] + f64::from(distances[at]);
            values[at] = accumulator * group.scale[at] + group.offset[at];
        }
        values
    }
}
