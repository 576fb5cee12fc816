//! Counts with a meaning of their own.

use std::fmt;

/// A number of bits, of a code, an accumulator or a lookup index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BitWidth(u8);

impl BitWidth {
    /// The widest lookup index and the widest code.
    pub const LOOKUP: Self = Self(16);

    /// The bits that hold every integer in `[0, value]`: 0 for 0, 8 for 255.
    #[must_use]
    pub const fn of(value: u64) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "at most 64")]
        Self((u64::BITS - value.leading_zeros()) as u8)
    }

    /// `bits` bits; more than 64 count as 64.
    #[must_use]
    pub const fn new(bits: u8) -> Self {
        Self(if bits > 64 { 64 } else { bits })
    }

    /// The number of bits.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }

    /// The largest integer of this width, `2^bits - 1`.
    #[must_use]
    pub const fn max_value(self) -> u64 {
        match u64::MAX.checked_shr(64 - self.0 as u32) {
            Some(value) => value,
            None => 0,
        }
    }
}

impl fmt::Display for BitWidth {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::BitWidth;

    #[test]
    fn a_width_holds_exactly_the_values_up_to_its_maximum() {
        for bits in 0..=64 {
            let width = BitWidth::new(bits);
            assert_eq!(BitWidth::of(width.max_value()), width);
            if let Some(next) = width.max_value().checked_add(1) {
                assert_eq!(BitWidth::of(next).get(), bits + 1);
            }
        }
    }
}
