//! Interval arithmetic: what an accumulator can be, for every input that the quantizer can emit.
//!
//! For the first layer the interval is exact, since its inputs take every code independently: the
//! minimum is reached with the largest code under negative weights and code 0 elsewhere. Deeper, the
//! inputs are taken as independent though they are not, so intervals are sound but may be wide.

use crate::error::{Limit, ProofError};
use crate::ops::Linear;
use crate::units::BitWidth;

/// The largest magnitude of an accumulator is `2^61`: an interval's width plus the half of a
/// rounding then stays below `2^63`, so that 64-bit arithmetic on it is exact.
pub const MAX_MAGNITUDE_BITS: u32 = 61;

/// Bits of the widest code.
const CODE_BITS: u8 = 16;

/// Proven minimum and maximum of an accumulator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interval {
    /// The minimum.
    pub low: i64,
    /// The maximum.
    pub high: i64,
}

impl Interval {
    /// `high - low`.
    #[must_use]
    pub const fn width(self) -> u64 {
        self.high.abs_diff(self.low)
    }
}

/// The codes that an input of a layer can take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CodeInterval {
    /// The least code.
    pub low: u16,
    /// The largest code.
    pub high: u16,
}

/// Intervals of the accumulators of `linear`, the layer at position `layer`, over its input codes.
pub(crate) fn accumulator_intervals(
    layer: usize,
    linear: &Linear,
    codes: &[CodeInterval],
) -> Result<Vec<Interval>, ProofError> {
    (0..linear.n_outputs()).map(|neuron| neuron_interval(layer, linear, neuron, codes)).collect()
}

fn neuron_interval(
    layer: usize,
    linear: &Linear,
    neuron: usize,
    codes: &[CodeInterval],
) -> Result<Interval, ProofError> {
    let offset = i128::from(linear.offset()[neuron]);
    let (columns, weights) = linear.row(neuron);
    let (low, high) = sums(columns, weights, codes);
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

/// The least and the largest sum of products. In `i128` it can't overflow: at most 2^28 terms, each
/// below 2^79. Weights are rarely so large, and in `i64` it is several times as fast.
fn sums(columns: &[u32], weights: &[i64], codes: &[CodeInterval]) -> (i128, i128) {
    let highest = weights.iter().fold(0, |bits, weight| bits | weight.unsigned_abs());
    let bits = BitWidth::of(highest).get() + BitWidth::of(weights.len() as u64).get();
    let terms = columns.iter().zip(weights).map(|(&column, &weight)| {
        let CodeInterval { low, high } = codes[column as usize];
        (weight, low, high)
    });
    if bits <= 62 - CODE_BITS {
        // Without branches, since signs are hard to predict.
        let (low, high) = terms.fold((0, 0), |(least, largest), (weight, low, high)| {
            let (at_low, at_high) = (weight * i64::from(low), weight * i64::from(high));
            (least + at_low.min(at_high), largest + at_low.max(at_high))
        });
        return (low.into(), high.into());
    }
    terms.fold((0, 0), |(least, largest), (weight, low, high)| {
        let at_low = i128::from(weight) * i128::from(low);
        let at_high = i128::from(weight) * i128::from(high);
        (least + at_low.min(at_high), largest + at_low.max(at_high))
    })
}
