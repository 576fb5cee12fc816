//! Which weights fit an accumulator.
//!
//! A weight `w` on an input with codes in `[low, high]` widens its neuron's accumulator by exactly
//! `|w| * (high - low)`, whatever its sign and whatever the other weights do: the offset is clear and
//! moves the interval to start at 0. So a neuron fits `n` bits if and only if those costs sum up to
//! at most `2^n - 1`, and the mask is a choice of weights within that budget. Where all fit, which
//! is the common case once training has settled, it costs one pass over the weights; else expected
//! linear time, by partition instead of by sorting.

use std::cmp::{Ordering, Reverse};

use crate::error::{Error, InputError, ParameterError};
use crate::parallel::{for_each_chunk, threads_for};

/// The most bits that a mask can be asked to keep to.
const MAX_ACCUM_BITS: i64 = 62;

/// What a mask is computed from.
#[derive(Debug, Clone, Copy)]
pub struct MaskRequest<'a> {
    /// Integer weights, row by row: one row per neuron, one column per input.
    pub weights: &'a [i64],
    /// Least code of each input.
    pub low: &'a [i64],
    /// Largest code of each input.
    pub high: &'a [i64],
    /// Bits that each neuron's `acc - min(acc)` must fit, in `[1, 62]`.
    pub n_accum_bits: i64,
    /// What to keep first, a finite number per weight; by default the magnitudes.
    pub importance: Option<&'a [f32]>,
    /// Part of each neuron's `2^n_accum_bits - 1` that the weights must leave free.
    pub reserve: i64,
}

/// Stores in `mask` which weights to keep.
///
/// Each neuron keeps the longest run that fits of its weights by descending importance, among
/// equals the cheaper first, then the lower column. All weights after the first that doesn't fit
/// are dropped, also those that would, so that no dropped weight is more important than a kept one.
///
/// # Errors
/// If sizes don't agree, a code interval is empty, an importance is not finite, `n_accum_bits` is not
/// in `[1, 62]`, or `reserve` not in `[0, 2^n_accum_bits - 1]`.
pub fn accumulator_mask(request: &MaskRequest<'_>, mask: &mut [bool]) -> Result<(), Error> {
    let budget = request.budget()?;
    request.check_sizes(mask.len())?;
    let width = request.low.len();
    let ranges = request.ranges()?;
    request.check_importance()?;
    if width == 0 {
        return Ok(());
    }
    let threads = threads_for(None, request.weights.len());
    let rows_per_chunk = (mask.len() / width).div_ceil(4 * threads).max(1);
    for_each_chunk(mask, rows_per_chunk * width, threads, Vec::new, |chunk, mask, candidates| {
        let start = chunk * rows_per_chunk * width;
        for (row, mask) in mask.chunks_exact_mut(width).enumerate() {
            let row = start + row * width..start + (row + 1) * width;
            let weights = &request.weights[row.clone()];
            if total(weights.iter().zip(&ranges).map(|(&weight, &range)| cost(weight, range)))
                <= budget
            {
                mask.fill(true);
                continue;
            }
            let importance = request.importance.map(|importance| &importance[row]);
            rank(candidates, weights, &ranges, importance);
            mask.fill(false);
            keep_prefix(candidates, budget, mask);
        }
        Ok(())
    })
}

impl MaskRequest<'_> {
    fn budget(&self) -> Result<u64, ParameterError> {
        let out_of_range = |name, value: i64, low, high: i64| {
            let (value, high) = (value.into(), high.into());
            ParameterError::OutOfRange { name, value, low, high }
        };
        if !(1..=MAX_ACCUM_BITS).contains(&self.n_accum_bits) {
            return Err(out_of_range("n_accum_bits", self.n_accum_bits, 1, MAX_ACCUM_BITS));
        }
        let most = (1_i64 << self.n_accum_bits) - 1;
        match u64::try_from(most - self.reserve.clamp(-1, most)) {
            Ok(budget) if (0..=most).contains(&self.reserve) => Ok(budget),
            _ => Err(out_of_range("reserve", self.reserve, 0, most)),
        }
    }

    fn check_sizes(&self, mask: usize) -> Result<(), InputError> {
        let (len, width) = (self.weights.len(), self.low.len());
        let importance = self.importance.map_or(len, <[f32]>::len);
        let whole_rows = width > 0 && len.is_multiple_of(width) || len == 0;
        let sizes = [
            ("high", self.high.len() == width, self.high.len(), format!("({width},)")),
            ("weights", whole_rows, len, format!("(n_out, {width})")),
            ("importance", importance == len, importance, format!("{len} values")),
            ("mask", mask == len, mask, format!("{len} values")),
        ];
        for (name, fits, got, expected) in sizes {
            if !fits {
                return Err(InputError::Shape { name, expected, got: format!("{got} values") });
            }
        }
        Ok(())
    }

    fn ranges(&self) -> Result<Vec<u64>, InputError> {
        let range = |(column, (&low, &high)): (usize, (&i64, &i64))| {
            if low > high {
                return Err(InputError::EmptyInterval { column, low, high });
            }
            Ok(high.abs_diff(low))
        };
        self.low.iter().zip(self.high).enumerate().map(range).collect()
    }

    fn check_importance(&self) -> Result<(), InputError> {
        let importance = self.importance.unwrap_or(&[]);
        match importance.iter().position(|value| !value.is_finite()) {
            None => Ok(()),
            Some(at) => {
                let (row, column) = (at / self.low.len(), at % self.low.len());
                let value = importance[at].into();
                Err(InputError::NotFinite { name: "importance", row, column, value })
            }
        }
    }
}

/// A weight as the order of a row sees it.
struct Candidate {
    importance: u64,
    cost: u64,
    column: usize,
}

impl Candidate {
    fn order(&self, other: &Self) -> Ordering {
        let key =
            |candidate: &Self| (Reverse(candidate.importance), candidate.cost, candidate.column);
        key(self).cmp(&key(other))
    }
}

fn rank(
    candidates: &mut Vec<Candidate>,
    weights: &[i64],
    ranges: &[u64],
    importance: Option<&[f32]>,
) {
    candidates.clear();
    let ranked = weights.iter().zip(ranges).enumerate().map(|(column, (&weight, &range))| {
        let importance = match importance {
            Some(importance) => ordered_bits(importance[column]).into(),
            None => weight.unsigned_abs(),
        };
        Candidate { importance, cost: cost(weight, range), column }
    });
    candidates.extend(ranked);
}

/// Marks the longest run that fits of `candidates` in their order.
///
/// Costs are not negative, so whether a prefix fits is monotone in its length, and the longest can
/// be found by bisection: partition at the middle, then go on in the half where it ends.
fn keep_prefix(mut candidates: &mut [Candidate], mut budget: u64, mask: &mut [bool]) {
    while !candidates.is_empty() {
        let middle = candidates.len() / 2;
        candidates.select_nth_unstable_by(middle, Candidate::order);
        let (first, second) = candidates.split_at_mut(middle + 1);
        match budget.checked_sub(total(first.iter().map(|candidate| candidate.cost))) {
            Some(left) => {
                for candidate in first {
                    mask[candidate.column] = true;
                }
                budget = left;
                candidates = second;
            }
            None => candidates = &mut first[..middle],
        }
    }
}

/// Saturates at `u64::MAX`, which is above every budget, as is what saturates.
fn cost(weight: i64, range: u64) -> u64 {
    weight.unsigned_abs().saturating_mul(range)
}

fn total(costs: impl Iterator<Item = u64>) -> u64 {
    costs.fold(0, u64::saturating_add)
}

/// Integers in the order of finite floats, both zeros being one.
fn ordered_bits(value: f32) -> u32 {
    let bits = (value + 0.0).to_bits();
    if bits >> 31 == 0 { bits | 1 << 31 } else { !bits }
}
