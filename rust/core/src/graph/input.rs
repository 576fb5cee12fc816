//! The client's quantizer: real features to codes.

use super::bounds::alike;
use super::interval::CodeInterval;
use crate::error::{GraphDefect, GraphError, InputError, Part};
use crate::units::BitWidth;

/// Beyond this zero point an `f64` no longer resolves half steps of `x / scale`, so rounding half
/// to even would lose its meaning.
pub const MAX_ZERO_POINT: i64 = 1 << 50;

/// Adding this to an `f64` in `(-2^51, 2^51)` rounds it half to even and leaves the integer, modulo
/// 2^16, in the sum's low 16 bits: a rounding that vectorizes on every x86-64.
const ROUNDING: f64 = 6_755_399_441_055_744.0; // 1.5 * 2^52

/// A real number that a feature may be given as.
pub trait Real: Copy + Into<f64> + Send + Sync {
    /// `values` themselves if they are of single precision.
    #[doc(hidden)]
    #[must_use]
    fn as_singles(_values: &[Self]) -> Option<&[f32]> {
        None
    }
}

impl Real for f32 {
    fn as_singles(values: &[Self]) -> Option<&[f32]> {
        Some(values)
    }
}

impl Real for f64 {}

/// Per-feature affine quantizer: `code = clamp(round_half_even(x / scale) + zero_point, low, high)`,
/// where the interval is `[0, 2^n_bits - 1]` unless a narrower one is given.
#[derive(Debug, Clone, PartialEq)]
pub struct Input {
    scale: Vec<f64>,
    zero_point: Vec<i64>,
    n_bits: BitWidth,
    codes: Vec<CodeInterval>,
    has_all_codes: bool,
    /// `low - zero_point`, the step of the least code.
    lowest_step: Vec<f64>,
    /// `high - zero_point`, the step of the largest code.
    highest_step: Vec<f64>,
}

impl Input {
    /// A quantizer of `scale.len()` features to `n_bits`-bit codes.
    ///
    /// # Errors
    /// If there are no features, lengths differ, a scale is not finite and positive, a zero point is
    /// beyond [`MAX_ZERO_POINT`], or `n_bits` is not in `[1, 16]`.
    pub fn new(scale: Vec<f64>, zero_point: Vec<i64>, n_bits: i64) -> Result<Self, GraphError> {
        let fail = |defect: GraphDefect| Err(defect.of(Part::Input));
        let bits = match u8::try_from(n_bits) {
            Ok(bits @ 1..=16) => BitWidth::new(bits),
            _ => {
                return fail(GraphDefect::IntegerRange {
                    name: "n_bits",
                    value: n_bits,
                    low: 1,
                    high: 16,
                });
            }
        };
        if scale.is_empty() {
            return fail(GraphDefect::Empty { name: "scale" });
        }
        if scale.len() != zero_point.len() {
            let (expected, got) = (scale.len(), zero_point.len());
            return fail(GraphDefect::Length { name: "zero_point", expected, got });
        }
        for (index, &value) in scale.iter().enumerate() {
            if !(value.is_finite() && value > 0.0) {
                let allowed = "finite and positive";
                return fail(GraphDefect::Real { name: "scale", index, value, allowed });
            }
        }
        for (index, &value) in zero_point.iter().enumerate() {
            let (low, high) = (-MAX_ZERO_POINT, MAX_ZERO_POINT);
            if !(low..=high).contains(&value) {
                return fail(GraphDefect::EntryRange {
                    name: "zero_point",
                    index,
                    value,
                    low,
                    high,
                });
            }
        }
        let codes = vec![CodeInterval { low: 0, high: max_code(bits) }; scale.len()];
        let input = Self {
            scale,
            zero_point,
            n_bits: bits,
            codes,
            has_all_codes: true,
            lowest_step: Vec::new(),
            highest_step: Vec::new(),
        };
        Ok(input.with_steps())
    }

    /// This quantizer with an interval of codes of its own for each feature: that of `low` and `high`.
    ///
    /// # Errors
    /// If a length is not that of the features, or an interval is empty or not within
    /// `[0, 2^n_bits - 1]`.
    pub fn with_codes(mut self, low: &[i64], high: &[i64]) -> Result<Self, GraphError> {
        let n = self.n_features();
        for (name, given) in [("low", low), ("high", high)] {
            if given.len() != n {
                let got = given.len();
                return Err(GraphDefect::Length { name, expected: n, got }.of(Part::Input));
            }
        }
        let max = self.max_code();
        for (index, (interval, (&low, &high))) in
            self.codes.iter_mut().zip(low.iter().zip(high)).enumerate()
        {
            let between = |name, value, low: u16, high: u16| match u16::try_from(value) {
                Ok(code) if (low..=high).contains(&code) => Ok(code),
                _ => {
                    let (low, high) = (low.into(), high.into());
                    let defect = GraphDefect::EntryRange { name, index, value, low, high };
                    Err(defect.of(Part::Input))
                }
            };
            interval.low = between("low", low, 0, max)?;
            interval.high = between("high", high, interval.low, max)?;
        }
        Ok(self.with_steps())
    }

    fn with_steps(mut self) -> Self {
        let step = |(code, &zero): (u16, &i64)| {
            #[expect(clippy::cast_precision_loss, reason = "exact: below 2^51")]
            let step = (i64::from(code) - zero) as f64;
            step
        };
        let (codes, zeros) = (self.codes.iter(), &self.zero_point);
        self.lowest_step = codes.clone().map(|codes| codes.low).zip(zeros).map(step).collect();
        self.highest_step = codes.map(|codes| codes.high).zip(zeros).map(step).collect();
        let all = CodeInterval { low: 0, high: self.max_code() };
        self.has_all_codes = alike(&self.codes) == Some(all);
        self
    }

    /// Real value of one step of each feature.
    #[must_use]
    pub fn scale(&self) -> &[f64] {
        &self.scale
    }

    /// Code of the real value 0 of each feature, before clamping.
    #[must_use]
    pub fn zero_point(&self) -> &[i64] {
        &self.zero_point
    }

    /// Bits of a code.
    #[must_use]
    pub const fn n_bits(&self) -> BitWidth {
        self.n_bits
    }

    /// The largest code of this many bits, `2^n_bits - 1`.
    #[must_use]
    pub const fn max_code(&self) -> u16 {
        max_code(self.n_bits)
    }

    /// The codes that each feature can have.
    #[must_use]
    pub fn codes(&self) -> &[CodeInterval] {
        &self.codes
    }

    /// Whether every feature can have every code of `n_bits` bits.
    #[must_use]
    pub const fn has_all_codes(&self) -> bool {
        self.has_all_codes
    }

    /// Number of features.
    #[must_use]
    pub const fn n_features(&self) -> usize {
        self.scale.len()
    }

    /// Narrows integers, row by row, to codes.
    ///
    /// # Errors
    /// If one is outside its feature's interval.
    pub fn codes_from(&self, values: &[i64]) -> Result<Vec<u16>, InputError> {
        let narrow = |(at, &value): (usize, &i64)| {
            let (row, column) = (at / self.n_features(), at % self.n_features());
            let CodeInterval { low, high } = self.codes[column];
            match u16::try_from(value) {
                Ok(code) if (low..=high).contains(&code) => Ok(code),
                _ => Err(InputError::CodeOutOfRange { row, column, value, low, high }),
            }
        };
        values.iter().enumerate().map(narrow).collect()
    }

    /// Checks the codes of the row with number `row`.
    pub(crate) fn check_row(&self, row: usize, codes: &[u16]) -> Result<(), InputError> {
        let is_outside = |(code, interval): (&u16, &CodeInterval)| {
            !(interval.low..=interval.high).contains(code)
        };
        match codes.iter().zip(&self.codes).position(is_outside) {
            None => Ok(()),
            Some(column) => {
                let CodeInterval { low, high } = self.codes[column];
                let value = codes[column].into();
                Err(InputError::CodeOutOfRange { row, column, value, low, high })
            }
        }
    }

    /// The code of a finite `value` of one feature.
    pub(crate) fn code(&self, feature: usize, value: f64) -> u16 {
        let (lowest, highest) = self.steps(feature);
        code_of(value / self.scale[feature], self.zero_point[feature], lowest, highest)
    }

    /// The steps, quotients rounded, of a feature's first and last code.
    pub(crate) fn steps(&self, feature: usize) -> (f64, f64) {
        (self.lowest_step[feature], self.highest_step[feature])
    }

    /// Quantizes `values`, the row with number `row`, into `codes`.
    ///
    /// The quotient is clamped before it is rounded. Both ends are integers, so the result is the
    /// same, and a quotient that overflows to infinity ends at the last code.
    pub(crate) fn quantize_row<T: Real>(
        &self,
        row: usize,
        values: &[T],
        codes: &mut [u16],
    ) -> Result<(), InputError> {
        let steps = self.lowest_step.iter().zip(&self.highest_step);
        let affine = self.scale.iter().zip(&self.zero_point).zip(steps);
        let mut all_finite = true;
        for ((code, &value), ((&scale, &zero_point), (&lowest, &highest))) in
            codes.iter_mut().zip(values).zip(affine)
        {
            let value: f64 = value.into();
            all_finite &= value.is_finite();
            *code = code_of(value / scale, zero_point, lowest, highest);
        }
        if all_finite {
            return Ok(());
        }
        Err(first_not_finite(row, values))
    }
}

const fn max_code(n_bits: BitWidth) -> u16 {
    #[expect(clippy::cast_possible_truncation, reason = "n_bits is at most 16")]
    let code = n_bits.max_value() as u16;
    code
}

/// The code of a quotient that is not NaN.
#[inline]
fn code_of(quotient: f64, zero_point: i64, lowest: f64, highest: f64) -> u16 {
    let step = quotient.max(lowest).min(highest);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "modulo 2^16")]
    let code = ((step + ROUNDING).to_bits() as u16).wrapping_add(zero_point as u16);
    code
}

#[cold]
fn first_not_finite<T: Real>(row: usize, values: &[T]) -> InputError {
    let (column, value) = values
        .iter()
        .map(|&value| value.into())
        .enumerate()
        .find(|(_, value): &(usize, f64)| !value.is_finite())
        .unwrap_or((0, f64::NAN));
    InputError::NotFinite { name: "X", row, column, value }
}
