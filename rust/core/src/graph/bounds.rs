//! Interval arithmetic: what an accumulator can be, for every input that the quantizer can emit.
//!
//! For the first layer the interval is exact, since its inputs take every code independently: the
//! minimum is reached with the largest code under negative weights and code 0 elsewhere. Deeper, the
//! inputs are taken as independent though they are not, so intervals are sound but may be wide.

use super::interval::{CodeInterval, Interval};
use super::linear::Linear;
use crate::error::{Limit, ProofError};
use crate::parallel::{for_each_chunk, threads_for};
use crate::units::BitWidth;

/// The largest magnitude of an accumulator is `2^61`: an interval's width plus the half of a
/// rounding then stays below `2^63`, so that 64-bit arithmetic on it is exact.
pub const MAX_MAGNITUDE_BITS: u32 = 61;

/// Bits of the widest code.
const CODE_BITS: u8 = 16;

/// Intervals of the accumulators of `linear`, the layer at position `layer`, over its input codes.
pub(crate) fn accumulator_intervals(
    layer: usize,
    linear: &Linear,
    codes: &[CodeInterval],
) -> Result<Vec<Interval>, ProofError> {
    let inputs = Inputs::new(codes);
    let mut intervals = vec![Interval { low: 0, high: 0 }; linear.n_outputs()];
    let threads = threads_for(None, linear.n_nonzeros());
    let chunk = intervals.len().div_ceil(4 * threads);
    for_each_chunk(
        &mut intervals,
        chunk,
        threads,
        || (),
        |index, intervals, ()| {
            for (neuron, interval) in (index * chunk..).zip(intervals) {
                *interval = neuron_interval(layer, linear, neuron, inputs)?;
            }
            Ok(())
        },
    )?;
    Ok(intervals)
}

fn neuron_interval(
    layer: usize,
    linear: &Linear,
    neuron: usize,
    inputs: Inputs<'_>,
) -> Result<Interval, ProofError> {
    let offset = i128::from(linear.offset()[neuron]);
    let (columns, weights) = linear.row(neuron);
    let (low, high) = inputs.sums(columns, weights);
    let (low, high) = (offset + low, offset + high);
    let magnitude = low.unsigned_abs().max(high.unsigned_abs());
    match (i64::try_from(low), i64::try_from(high)) {
        (Ok(low), Ok(high)) if magnitude <= 1 << MAX_MAGNITUDE_BITS => Ok(Interval { low, high }),
        _ => Err(ProofError {
            layer,
            neuron,
            low,
            high,
            limit: Limit::Magnitude,
            // 2^61 itself is allowed, so it is the bits of one less that count.
            bits_needed: u128::BITS - (magnitude - 1).leading_zeros(),
            bits_allowed: MAX_MAGNITUDE_BITS,
        }),
    }
}

/// What all of `values` are, if they are the same.
pub(crate) fn alike<T: Copy + PartialEq>(values: &[T]) -> Option<T> {
    let (first, rest) = values.split_first()?;
    rest.iter().all(|value| value == first).then_some(*first)
}

/// The codes of a layer's inputs.
#[derive(Clone, Copy)]
enum Inputs<'a> {
    /// All inputs take the same.
    Alike(CodeInterval),
    /// One interval each.
    Each(&'a [CodeInterval]),
}

impl<'a> Inputs<'a> {
    fn new(codes: &'a [CodeInterval]) -> Self {
        alike(codes).map_or(Self::Each(codes), Self::Alike)
    }

    fn of(self, column: u32) -> CodeInterval {
        match self {
            Self::Alike(codes) => codes,
            Self::Each(codes) => codes[column as usize],
        }
    }

    /// The least and the largest sum of products. In `i128` it can't overflow: at most 2^28 terms,
    /// each below 2^79. Weights are rarely so large, and in `i64` it is several times as fast.
    fn sums(self, columns: &[u32], weights: &[i64]) -> (i128, i128) {
        // One pass tells how large the weights are, and sums them up, which is right if they are small.
        let (bits, total, magnitude) =
            weights.iter().fold((0, 0_i64, 0_i64), |(bits, total, magnitude), &weight| {
                let each = weight.wrapping_abs();
                (bits | each, total.wrapping_add(weight), magnitude.wrapping_add(each))
            });
        let bits = BitWidth::of(bits.cast_unsigned()).get();
        if bits + BitWidth::of(weights.len() as u64).get() > 62 - CODE_BITS {
            return self.wide_sums(columns, weights);
        }
        let (low, high) = match self {
            Self::Alike(CodeInterval { low, high }) => {
                let (low, high) = (i64::from(low), i64::from(high));
                let positive = total.midpoint(magnitude);
                let negative = total - positive;
                (positive * low + negative * high, positive * high + negative * low)
            }
            Self::Each(codes) => {
                // Without branches, since signs are hard to predict.
                let terms = columns.iter().zip(weights);
                terms.fold((0, 0), |(least, largest), (&column, &weight)| {
                    let CodeInterval { low, high } = codes[column as usize];
                    let (at_low, at_high) = (weight * i64::from(low), weight * i64::from(high));
                    (least + at_low.min(at_high), largest + at_low.max(at_high))
                })
            }
        };
        (low.into(), high.into())
    }

    fn wide_sums(self, columns: &[u32], weights: &[i64]) -> (i128, i128) {
        let terms = columns.iter().zip(weights);
        terms.fold((0, 0), |(least, largest), (&column, &weight)| {
            let CodeInterval { low, high } = self.of(column);
            let at_low = i128::from(weight) * i128::from(low);
            let at_high = i128::from(weight) * i128::from(high);
            (least + at_low.min(at_high), largest + at_low.max(at_high))
        })
    }
}
