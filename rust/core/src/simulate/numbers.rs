//! Numbers of any type that features have, taken in single precision.

use std::fmt::Display;
use std::ops::Range;

use super::block::BLOCK;
use super::prefetch::Ahead;
use crate::error::InputError;

/// Single precision holds every integer of fewer bits, and larger ones that are so many times a power
/// of two.
const BITS: u32 = 24;

/// Numbers in any type that features have. They are taken in single precision, to which doubles are
/// rounded; a double beyond it is an error, and so is an integer that would be rounded.
#[derive(Debug, Clone, Copy)]
#[expect(missing_docs, reason = "each is named like the type of its numbers")]
pub enum Numbers<'a> {
    F32(&'a [f32]),
    F64(&'a [f64]),
    I8(&'a [i8]),
    I16(&'a [i16]),
    I32(&'a [i32]),
    I64(&'a [i64]),
    U8(&'a [u8]),
    U16(&'a [u16]),
    U32(&'a [u32]),
    U64(&'a [u64]),
}

macro_rules! of_numbers {
    ($self:expr, $numbers:ident => $result:expr) => {
        match $self {
            Self::F32($numbers) => $result,
            Self::F64($numbers) => $result,
            Self::I8($numbers) => $result,
            Self::I16($numbers) => $result,
            Self::I32($numbers) => $result,
            Self::I64($numbers) => $result,
            Self::U8($numbers) => $result,
            Self::U16($numbers) => $result,
            Self::U32($numbers) => $result,
            Self::U64($numbers) => $result,
        }
    };
}

impl Numbers<'_> {
    /// How many there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        of_numbers!(self, numbers => numbers.len())
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// At most a block of them in single precision, with zeros behind; what that can't hold is not
    /// finite there.
    #[inline(always)]
    pub(super) fn block<'b>(
        &'b self,
        range: Range<usize>,
        buffer: &'b mut [f32; BLOCK],
    ) -> &'b [f32; BLOCK] {
        if let Self::F32(singles) = self
            && let Some(block) = singles[range.clone()].first_chunk()
        {
            return block;
        }
        buffer[range.len()..].fill(0.0);
        self.copy_to(range, buffer);
        buffer
    }

    /// Puts them in single precision at the beginning of `singles`; what that can't hold is not finite
    /// there.
    #[inline(always)]
    pub(super) fn copy_to(&self, range: Range<usize>, singles: &mut [f32]) {
        of_numbers!(self, numbers => Number::copy(&numbers[range], singles));
    }

    /// What to fetch while those in `range` are loaded, of a column among `width`.
    #[inline(always)]
    pub(super) fn ahead(&self, range: &Range<usize>, width: usize) -> Ahead {
        of_numbers!(self, numbers => Ahead::of_column(numbers, range, width))
    }

    /// The number `at`, that of a column in a row, in single precision.
    pub(super) fn single(&self, at: usize, row: usize, column: usize) -> Result<f32, InputError> {
        let name = "X";
        of_numbers!(self, numbers => {
            let number = numbers[at];
            if let Some(single) = number.single() {
                return Ok(single);
            }
            Err(if let Some(value) = number.not_finite() {
                InputError::NotFinite { name, row, column, value }
            } else {
                InputError::NotSingle { name, row, column, value: number.to_string() }
            })
        })
    }
}

/// A number of a feature.
trait Number: Copy + Display {
    /// It in single precision, if that holds it.
    fn single(self) -> Option<f32>;

    /// It, if it is NaN or infinite.
    fn not_finite(self) -> Option<f64> {
        None
    }

    /// Whether each is one that [`Number::quick`] is right about.
    #[inline(always)]
    fn are_quick(_numbers: &[Self]) -> bool {
        true
    }

    /// It in single precision, not finite if that can't hold it.
    fn quick(self) -> f32;

    #[inline(always)]
    fn copy(numbers: &[Self], singles: &mut [f32]) {
        // One loop for both would not be vectorized.
        if Self::are_quick(numbers) {
            for (single, &number) in singles.iter_mut().zip(numbers) {
                *single = number.quick();
            }
        } else {
            for (single, &number) in singles.iter_mut().zip(numbers) {
                *single = number.single().unwrap_or(f32::NAN);
            }
        }
    }
}

impl Number for f32 {
    fn single(self) -> Option<f32> {
        self.is_finite().then_some(self)
    }

    fn not_finite(self) -> Option<f64> {
        (!self.is_finite()).then_some(self.into())
    }

    #[inline(always)]
    fn quick(self) -> f32 {
        self
    }
}

impl Number for f64 {
    fn single(self) -> Option<f32> {
        let single = self.quick();
        single.is_finite().then_some(single)
    }

    fn not_finite(self) -> Option<f64> {
        (!self.is_finite()).then_some(self)
    }

    #[inline(always)]
    fn quick(self) -> f32 {
        #[expect(clippy::cast_possible_truncation, reason = "infinite beyond single precision")]
        let single = self as f32;
        single
    }
}

macro_rules! narrow_integers {
    ($($integer:ty)*) => {$(
        impl Number for $integer {
            fn single(self) -> Option<f32> {
                Some(self.into())
            }

            #[inline(always)]
            fn quick(self) -> f32 {
                self.into()
            }
        }
    )*};
}
narrow_integers!(i8 i16 u8 u16);

macro_rules! wide_integers {
    ($($integer:ty: $magnitude:expr;)*) => {$(
        impl Number for $integer {
            fn single(self) -> Option<f32> {
                let magnitude = $magnitude(self);
                let odd = magnitude.checked_shr(magnitude.trailing_zeros()).unwrap_or(0);
                #[expect(clippy::cast_precision_loss, reason = "none: it has few enough bits")]
                let single = self as f32;
                (odd >> BITS == 0).then_some(single)
            }

            #[inline(always)]
            fn are_quick(numbers: &[Self]) -> bool {
                numbers.iter().fold(0, |bits, &number| bits | $magnitude(number)) >> BITS == 0
            }

            /// By way of an integer that vector instructions convert.
            #[inline(always)]
            #[allow(
                clippy::cast_possible_truncation,
                clippy::cast_precision_loss,
                clippy::cast_possible_wrap,
                clippy::unnecessary_cast,
                reason = "none: it has few enough bits"
            )]
            fn quick(self) -> f32 {
                self as i32 as f32
            }
        }
    )*};
}
wide_integers! {
    i32: i32::unsigned_abs;
    i64: i64::unsigned_abs;
    u32: u32::from;
    u64: u64::from;
}
