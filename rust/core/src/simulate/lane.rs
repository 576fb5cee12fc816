//! The integers that accumulators are computed in.
//!
//! Sums wrap, and are exact all the same: a sum modulo `2^BITS` whose true value is proven to lie in
//! `[0, 2^BITS)` is that value, whatever its partial sums did on the way. An accumulator counted from
//! its proven minimum is never negative, so the narrowest lane that holds its width will do.

use crate::graph::IntegerGraph;
use crate::graph::bounds::Interval;
use crate::graph::lookup::Lookup;

/// The lanes of each Linear of a graph, in order.
pub(super) struct Plan(Vec<LaneBits>);

/// A choice of lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LaneBits {
    /// [`u16`]
    Bits16,
    /// [`u32`]
    Bits32,
    /// [`u64`]
    Bits64,
}

impl Plan {
    pub(super) fn new(graph: &IntegerGraph) -> Self {
        let lookups = graph.hidden().iter().map(|layer| Some(&layer.lookup)).chain([None]);
        let intervals = graph.intervals().iter();
        Self(intervals.zip(lookups).map(|(intervals, lookup)| lanes(intervals, lookup)).collect())
    }

    /// The lanes of the Linear with this index.
    pub(super) fn lanes(&self, linear: usize) -> LaneBits {
        self.0[linear]
    }
}

/// The narrowest lane that holds every width, what a lookup adds to it before shifting, and a shift
/// by that many bits.
fn lanes(intervals: &[Interval], lookup: Option<&Lookup>) -> LaneBits {
    let widest = intervals.iter().map(|interval| interval.width()).max().unwrap_or(0);
    let (half, lsbs) = lookup.map_or((0, 0), |lookup| (lookup.half(), lookup.lsbs()));
    let bits = (u64::BITS - (widest + half).leading_zeros()).max(u32::from(lsbs) + 1);
    match bits {
        0..=16 => LaneBits::Bits16,
        17..=32 => LaneBits::Bits32,
        _ => LaneBits::Bits64,
    }
}

/// An unsigned integer with wrapping arithmetic.
pub(super) trait Lane: Copy {
    /// `value` modulo `2^BITS`.
    fn wrap(value: i64) -> Self;

    /// `self + weight * code`, modulo `2^BITS`.
    fn add_product(self, weight: Self, code: u16) -> Self;

    /// `(self + half) >> lsbs`, which the proof holds to 16 bits.
    fn index(self, half: Self, lsbs: u8) -> u16;

    /// The lane's value as a distance from the accumulator's minimum.
    fn distance(self) -> i64;
}

macro_rules! lane {
    ($type:ty) => {
        #[expect(
            clippy::allow_attributes,
            reason = "which casts lose something depends on the type"
        )]
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_possible_wrap,
            clippy::cast_sign_loss,
            clippy::cast_lossless,
            trivial_numeric_casts,
            reason = "modulo 2^BITS, or proven to fit"
        )]
        impl Lane for $type {
            fn wrap(value: i64) -> Self {
                value as Self
            }

            fn add_product(self, weight: Self, code: u16) -> Self {
                self.wrapping_add(weight.wrapping_mul(code as Self))
            }

            fn index(self, half: Self, lsbs: u8) -> u16 {
                (self.wrapping_add(half) >> lsbs) as u16
            }

            fn distance(self) -> i64 {
                self as i64
            }
        }
    };
}

lane!(u16);
lane!(u32);
lane!(u64);
