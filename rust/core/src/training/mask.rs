//! Which weights fit an accumulator.
//!
//! A weight `w` on an input with codes in `[low, high]` widens its neuron's accumulator by exactly
//! `|w| * (high - low)`, whatever its sign and whatever the other weights do: the offset is clear and
//! moves the interval to start at 0. So a neuron fits `n` bits if and only if those costs sum up to
//! at most `2^n - 1`, and the mask is a choice of weights within that budget. Where all fit, which
//! is the common case once training has settled, it costs one pass over the weights; else expected
//! linear time, by partition instead of by sorting.

use std::cmp::Reverse;

use crate::error::{Error, InputError, ParameterError};
use crate::graph::bounds::alike;
use crate::parallel::{for_each_chunk, threads_for};

/// The most bits that a mask can be asked to keep to.
const MAX_ACCUM_BITS: i64 = 62;

/// Importances below this are counted.
const MAX_COUNTED: u64 = 256;

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
    let range = alike(&ranges);
    request.check_importance()?;
    if width == 0 {
        return Ok(());
    }
    let threads = threads_for(None, request.weights.len());
    let rows_per_chunk = (mask.len() / width).div_ceil(4 * threads).max(1);
    for_each_chunk(
        mask,
        rows_per_chunk * width,
        threads,
        Scratch::default,
        |chunk, mask, scratch| {
            let start = chunk * rows_per_chunk * width;
            for (row, mask) in mask.chunks_exact_mut(width).enumerate() {
                let row = start + row * width..start + (row + 1) * width;
                let neuron = Neuron {
                    weights: &request.weights[row.clone()],
                    ranges: &ranges,
                    importance: request.importance.map(|importance| &importance[row]),
                };
                if let Some(range) = range
                    && let Some(magnitudes) = neuron.small_magnitudes()
                {
                    // Where all inputs cost the same, only magnitudes count.
                    let budget = budget.checked_div(range).unwrap_or(u64::MAX);
                    if magnitudes.total <= budget {
                        mask.fill(true);
                        continue;
                    } else if request.importance.is_none() {
                        neuron.keep_largest(magnitudes.largest, budget, &mut scratch.costs, mask);
                        continue;
                    }
                } else if total((0..width).map(|column| neuron.cost(column))) <= budget {
                    mask.fill(true);
                    continue;
                }
                neuron.keep_what_fits(budget, scratch, mask);
            }
            Ok(())
        },
    )
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

/// One row of weights, with what decides on them.
struct Neuron<'a> {
    weights: &'a [i64],
    ranges: &'a [u64],
    importance: Option<&'a [f32]>,
}

/// Memory that rows share.
#[derive(Default)]
struct Scratch {
    keys: Vec<u64>,
    costs: Vec<u64>,
    ties: Vec<(Reverse<u64>, u64, usize)>,
}

/// What weights of small magnitudes sum up to.
struct Magnitudes {
    largest: u64,
    total: u64,
}

impl Neuron<'_> {
    /// The magnitudes of the weights, if all are below [`MAX_COUNTED`].
    fn small_magnitudes(&self) -> Option<Magnitudes> {
        let (bits, total) = self.weights.iter().fold((0, 0_u64), |(bits, total), weight| {
            let magnitude = weight.unsigned_abs();
            (bits | magnitude, total.wrapping_add(magnitude))
        });
        // The bits of all magnitudes together are those of one that is at least as large as each.
        (bits < MAX_COUNTED).then_some(Magnitudes { largest: bits, total })
    }

    /// Marks the largest weights, among equals those of the first columns, whose magnitudes sum up to
    /// at most `budget`, for a row that doesn't fit as a whole.
    fn keep_largest(
        &self,
        largest: u64,
        mut budget: u64,
        counts: &mut Vec<u64>,
        mask: &mut [bool],
    ) {
        counts.clear();
        counts.resize(usize::try_from(largest).unwrap_or(0) + 1, 0);
        for weight in self.weights {
            counts[usize::try_from(weight.unsigned_abs()).unwrap_or(0)] += 1;
        }
        // The first magnitude whose weights don't all fit; there is one.
        let beyond = (1..=largest).rev().zip(counts.iter().rev()).find(|&(magnitude, count)| {
            let left = budget.checked_sub(magnitude * count);
            budget = left.unwrap_or(budget);
            left.is_none()
        });
        let last = beyond.map_or(0, |(magnitude, _)| magnitude);
        for (kept, weight) in mask.iter_mut().zip(self.weights) {
            *kept = weight.unsigned_abs() > last;
        }
        let mut equals = budget.checked_div(last).unwrap_or(0);
        for (kept, weight) in mask.iter_mut().zip(self.weights) {
            if equals == 0 {
                break;
            }
            if weight.unsigned_abs() == last {
                *kept = true;
                equals -= 1;
            }
        }
    }

    /// Saturates at `u64::MAX`, which is above every budget, as is what saturates.
    fn cost(&self, column: usize) -> u64 {
        self.weights[column].unsigned_abs().saturating_mul(self.ranges[column])
    }

    fn importance(&self, column: usize) -> u64 {
        match self.importance {
            Some(importance) => ordered_bits(importance[column]).into(),
            None => self.weights[column].unsigned_abs(),
        }
    }

    /// Marks the longest prefix that fits, for a row that doesn't fit as a whole.
    ///
    /// Comparing three numbers per weight is slow; so a first search goes by the importance's leading
    /// 32 bits alone, and only the weights that share those bits with the first one that doesn't fit
    /// are then put in their full order.
    fn keep_what_fits(&self, mut budget: u64, scratch: &mut Scratch, mask: &mut [bool]) {
        let highest = (0..mask.len()).map(|column| self.importance(column)).max().unwrap_or(0);
        let shift = 32_u32.saturating_sub(highest.leading_zeros());
        let level = |column| self.importance(column) >> shift;
        let last_level = if highest < MAX_COUNTED {
            self.last_level_by_counting(highest, budget, &mut scratch.costs)
        } else {
            self.last_level_by_partition(level, budget, &mut scratch.keys)
        };
        scratch.ties.clear();
        for (column, kept) in mask.iter_mut().enumerate() {
            let level = level(column);
            *kept = level > last_level;
            if *kept {
                // Fits: all levels above the last one do.
                budget = budget.saturating_sub(self.cost(column));
            } else if level == last_level {
                let importance = Reverse(self.importance(column));
                scratch.ties.push((importance, self.cost(column), column));
            }
        }
        let first_dropped = longest_prefix(&mut scratch.ties, budget, |tie| tie.1);
        for &tie in &scratch.ties {
            mask[tie.2] = first_dropped.is_none_or(|first| tie < first);
        }
    }

    /// The importance of the first weight that doesn't fit, where importances are small: what all
    /// weights of each importance cost together tells.
    fn last_level_by_counting(&self, highest: u64, mut budget: u64, costs: &mut Vec<u64>) -> u64 {
        costs.clear();
        costs.resize(usize::try_from(highest).unwrap_or(usize::MAX - 1) + 1, 0);
        for column in 0..self.weights.len() {
            let level = usize::try_from(self.importance(column)).unwrap_or(0);
            costs[level] = costs[level].saturating_add(self.cost(column));
        }
        for (level, &cost) in (0..=highest).rev().zip(costs.iter().rev()) {
            match budget.checked_sub(cost) {
                Some(left) => budget = left,
                None => return level,
            }
        }
        0
    }

    /// The same for any importances, by keys of one machine word.
    #[expect(clippy::cast_possible_truncation, reason = "the low half is a column")]
    fn last_level_by_partition(
        &self,
        level: impl Fn(usize) -> u64,
        budget: u64,
        keys: &mut Vec<u64>,
    ) -> u64 {
        // Levels are below 2^32, as are columns; the complement puts high levels first.
        let key = |column| (u64::from(u32::MAX) - level(column)) << 32 | column as u64;
        keys.clear();
        keys.extend((0..self.weights.len()).map(key));
        let first_dropped = longest_prefix(keys, budget, |key| self.cost(key as u32 as usize));
        first_dropped.map_or(0, |key| u64::from(u32::MAX) - (key >> 32))
    }
}

/// The first of `items`, in ascending order, whose cost together with all before it is beyond
/// `budget`; none if all fit.
///
/// Costs are not negative, so whether a prefix fits is monotone in its length, and the longest can
/// be found by bisection: partition at the middle, then go on in the part where it ends. The first
/// partition is where the prefix would end if all costs were the same. Expected time is linear.
fn longest_prefix<T: Ord + Copy>(
    mut items: &mut [T],
    mut budget: u64,
    cost: impl Fn(T) -> u64,
) -> Option<T> {
    let mut first_beyond = None;
    let all = total(items.iter().map(|&item| cost(item))).max(1);
    let share = u128::from(budget) * items.len() as u128 / u128::from(all);
    let mut middle = usize::try_from(share).unwrap_or(usize::MAX);
    while !items.is_empty() {
        middle = middle.min(items.len() - 1);
        items.select_nth_unstable(middle);
        let (first, second) = items.split_at_mut(middle + 1);
        if let Some(left) = budget.checked_sub(total(first.iter().map(|&item| cost(item)))) {
            budget = left;
            items = second;
        } else {
            first_beyond = Some(first[middle]);
            items = &mut first[..middle];
        }
        middle = items.len() / 2;
    }
    first_beyond
}

fn total(costs: impl Iterator<Item = u64>) -> u64 {
    costs.fold(0, u64::saturating_add)
}

/// Integers in the order of finite floats, both zeros being one.
fn ordered_bits(value: f32) -> u32 {
    let bits = (value + 0.0).to_bits();
    if bits >> 31 == 0 { bits | 1 << 31 } else { !bits }
}
