//! The quantizer in single precision, proven equal to the one by division.
//!
//! `round(x * factor)` in `f32` goes wrong for a few `x` beside each tie. But it never decreases with
//! `x`, and neither do the codes; so both are steps, and comparing them where the codes step compares
//! them everywhere. For each feature two factors are chosen, and checked at both sides of every step,
//! such that one rounds to the right code or beyond and the other to the right code or short of it.
//! Where the two agree they are right. Where they don't, or a value is not finite, the caller divides
//! in double precision. Where the reciprocal of the scale is a number of single precision, as training
//! chooses it, and product and sum are rounded once, both factors are it, so no value is in doubt: the
//! product is then off a tie by more than a quotient in double precision is rounded. A tie may
//! be a value that data hold in many rows (the 8 between pixels of 0 and 16, say), so factors are
//! preferred that agree about counts and numbers of few decimals.

use crate::graph::input::Input;
use crate::simulate::block::TILE;

/// Adding this to an `f32` in `(-2^22, 2^22)` rounds it half to even, to an integer that its bits
/// count.
pub(super) const ROUNDING: f32 = 12_582_912.0; // 1.5 * 2^23

/// Kernels that saturate count rounded values from so many steps below code 0: in 16 bits those that
/// are no further from it on either side are then told from others by [`BEYOND`].
pub(super) const MIDDLE: i16 = 1 << 13;

/// Bits of 16 that are zero in a distance from there in `[0, 2^14)`, and not all zero in one that is
/// negative or more, saturated or not.
pub(super) const BEYOND: u16 = 0xc000;

/// Steps beyond this many could not be told apart after adding [`ROUNDING`].
const MAX_STEP: f64 = 2_097_152.0; // 2^21

/// How many units in the last place a factor may be away from the reciprocal of the scale.
const MAX_ULPS: usize = 4;

/// How far, in units in the last place, the computed place of a tie may be from the first `f32` of
/// the next code.
const MAX_DISTANCE: u32 = 8;

/// What a number of few decimals may count at most, in units of its last decimal.
const MAX_DIGITS: f64 = 1e6;

/// The constants of sixteen features.
#[derive(Clone, Copy)]
pub(super) struct FeatureConstants<'a> {
    pub(super) below: &'a [f32; TILE],
    pub(super) above: &'a [f32; TILE],
    pub(super) floor: &'a [f32; TILE],
    pub(super) ceiling: &'a [f32; TILE],
}

impl<'a> FeatureConstants<'a> {
    /// Those of [`Brackets::repeated`].
    #[inline(always)]
    pub(super) fn repeated([below, above, floor, ceiling]: &'a [[f32; TILE]; 4]) -> Self {
        Self { below, above, floor, ceiling }
    }
}

/// How a processor adds to a product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arithmetic {
    /// In one instruction, which rounds once.
    Fused,
    /// In another instruction, so that the product is rounded too.
    RoundedTwice,
}

impl Arithmetic {
    /// `x * factor`, rounded to an integer by adding [`ROUNDING`].
    #[inline(always)]
    pub(super) fn round(self, x: f32, factor: f32) -> f32 {
        match self {
            Self::Fused => x.mul_add(factor, ROUNDING),
            Self::RoundedTwice => x * factor + ROUNDING,
        }
    }
}

/// Per-feature constants of the quantizer, padded to [`TILE`] features.
#[derive(Debug)]
pub(super) struct Brackets {
    /// One factor.
    pub(super) below: Vec<f32>,
    /// The other.
    pub(super) above: Vec<f32>,
    /// [`ROUNDING`] plus the step of code 0; a code is the distance of bits from this.
    pub(super) floor: Vec<f32>,
    /// The same for the largest code.
    pub(super) ceiling: Vec<f32>,
    /// The largest code.
    pub(super) max_code: u8,
    /// Whether each feature's factors are the same, so always right.
    pub(super) is_exact: bool,
}

impl Brackets {
    /// The constants for `input`; none if its codes need more than 8 bits or are not all of that many,
    /// or a feature can't be bracketed.
    pub(super) fn new(input: &Input, arithmetic: Arithmetic) -> Option<Self> {
        if !input.has_all_codes() {
            return None;
        }
        let max_code = u8::try_from(input.max_code()).ok()?;
        let n = input.n_features().max(TILE);
        let mut brackets = Self {
            below: vec![0.0; n],
            above: vec![0.0; n],
            floor: vec![ROUNDING; n],
            ceiling: vec![ROUNDING; n],
            max_code,
            is_exact: true,
        };
        for feature in 0..input.n_features() {
            let steps = Steps::new(input, feature)?;
            let (below, above) = steps.factors(arithmetic)?;
            brackets.is_exact &= below.to_bits() == above.to_bits();
            brackets.below[feature] = below;
            brackets.above[feature] = above;
            brackets.floor[feature] = ROUNDING + steps.lowest;
            brackets.ceiling[feature] = ROUNDING + steps.lowest + f32::from(max_code);
        }
        Some(brackets)
    }

    /// Whether both factors round a value alike.
    pub(super) fn is_certain(&self, feature: usize, x: f32, arithmetic: Arithmetic) -> bool {
        let (below, above) = (self.below[feature], self.above[feature]);
        arithmetic.round(x, below).to_bits() == arithmetic.round(x, above).to_bits()
    }

    /// The constants of one feature, sixteen times each: below, above, floor and ceiling.
    #[inline(always)]
    pub(super) fn repeated(&self, feature: usize) -> [[f32; TILE]; 4] {
        [&self.below, &self.above, &self.floor, &self.ceiling]
            .map(|constants| [constants[feature]; TILE])
    }

    /// The constants of the features from `first`, which must be padded to as many.
    #[inline(always)]
    pub(super) fn tile(&self, first: usize) -> FeatureConstants<'_> {
        let tiles = [&self.below, &self.above, &self.floor, &self.ceiling];
        let [below, above, floor, ceiling] = tiles.map(|constants| {
            let range = &constants[first..first + TILE];
            range.first_chunk().expect("as long as the range")
        });
        FeatureConstants { below, above, floor, ceiling }
    }
}

/// The codes of one feature as a step function of `x`.
struct Steps {
    reciprocal: f32,
    /// The step of code 0.
    lowest: f32,
    /// For each code from 1 the first `f32` that has it.
    firsts: Vec<f32>,
}

impl Steps {
    fn new(input: &Input, feature: usize) -> Option<Self> {
        let (lowest, highest) = input.steps(feature);
        let scale = input.scale()[feature];
        if lowest.abs() > MAX_STEP || highest.abs() > MAX_STEP {
            return None;
        }
        #[expect(clippy::cast_possible_truncation, reason = "the nearest will do")]
        let reciprocal = (1.0 / scale) as f32;
        if !reciprocal.is_normal() {
            return None;
        }
        let first = |code: u16| {
            #[expect(clippy::cast_possible_truncation, reason = "the nearest will do")]
            let mut x = ((lowest + f64::from(code) - 0.5) * scale) as f32;
            let reached = |x: f32| input.code(feature, x.into()) >= code;
            for _ in 0..MAX_DISTANCE {
                if !x.is_normal() {
                    return None;
                } else if !reached(x) {
                    x = x.next_up();
                } else if reached(x.next_down()) {
                    x = x.next_down();
                } else {
                    return Some(x);
                }
            }
            None
        };
        let firsts = (1..=input.max_code()).map(first).collect::<Option<_>>()?;
        #[expect(clippy::cast_possible_truncation, reason = "an integer below 2^21")]
        Some(Self { reciprocal, lowest: lowest as f32, firsts })
    }

    /// The pair of factors that brackets every code with least doubt: first about values that data are
    /// likely to hold, then about all.
    fn factors(&self, arithmetic: Arithmetic) -> Option<(f32, f32)> {
        let up = std::iter::successors(Some(self.reciprocal), |factor| Some(factor.next_up()));
        let down = std::iter::successors(Some(self.reciprocal), |factor| Some(factor.next_down()));
        let beside = up.zip(down).skip(1).take(MAX_ULPS).map(|(up, down)| vec![up, down]);
        let mut tried: Vec<Rounding> = Vec::new();
        let mut best: Option<(usize, f32, f32)> = None;
        for factors in std::iter::once(vec![self.reciprocal]).chain(beside) {
            for factor in factors {
                tried.push(self.rounding(factor, arithmetic));
                let Some((last, _)) = tried.split_last() else { continue };
                // The factor itself first: if it is right everywhere, it is enough.
                for other in tried.iter().rev().filter(|other| other.brackets(last)) {
                    let doubts = self.doubts(other, last);
                    if best.is_none_or(|(least, ..)| doubts < least) {
                        best = Some((doubts, other.factor, last.factor));
                    }
                }
            }
            if let Some((0, ..)) = best {
                break;
            }
        }
        best.map(|(_, one, other)| (one, other))
    }

    /// How a factor rounds beside each step.
    fn rounding(&self, factor: f32, arithmetic: Arithmetic) -> Rounding {
        let codes = (1_u16..).map(|code| ROUNDING + self.lowest + f32::from(code));
        let right = |(&first, code): (&f32, f32)| Sides {
            first: arithmetic.round(first, factor) >= code,
            before: arithmetic.round(first.next_down(), factor) < code,
        };
        Rounding { factor, right: self.firsts.iter().zip(codes).map(right).collect() }
    }

    /// How many values that data are likely to hold these factors round differently.
    fn doubts(&self, one: &Rounding, other: &Rounding) -> usize {
        let both = one.right.iter().zip(&other.right);
        let doubts = |(&first, (one, other)): (&f32, (&Sides, &Sides))| {
            usize::from(one.first != other.first && is_short(first))
                + usize::from(one.before != other.before && is_short(first.next_down()))
        };
        self.firsts.iter().zip(both).map(doubts).sum()
    }
}

/// How a factor rounds.
struct Rounding {
    factor: f32,
    /// At each step.
    right: Vec<Sides>,
}

/// Whether a rounding is right about the first value of a code, and about the value before it.
struct Sides {
    first: bool,
    before: bool,
}

impl Rounding {
    /// Whether at every step, and so everywhere, the right code lies between this rounding and
    /// another, or is one of them.
    fn brackets(&self, other: &Self) -> bool {
        let mut both = self.right.iter().zip(&other.right);
        both.all(|(one, other)| (one.first || other.first) && (one.before || other.before))
    }
}

/// Whether `x` is the nearest to a number of few decimals, as counts and measurements are.
fn is_short(x: f32) -> bool {
    let x = f64::from(x);
    [1.0, 10.0, 100.0, 1000.0].into_iter().any(|power: f64| {
        let digits = (x * power).round();
        #[expect(clippy::cast_possible_truncation, reason = "the nearest is meant")]
        let same = f64::from((digits / power) as f32).to_bits() == x.to_bits();
        same && digits.abs() < MAX_DIGITS
    })
}

#[cfg(test)]
mod tests {
    use super::{Arithmetic, Brackets};
    use crate::graph::input::Input;

    const BOTH: [Arithmetic; 2] = [Arithmetic::Fused, Arithmetic::RoundedTwice];

    fn brackets(scale: f64, n_bits: i64, arithmetic: Arithmetic) -> Option<Brackets> {
        Brackets::new(&Input::new(vec![scale], vec![3], n_bits).ok()?, arithmetic)
    }

    #[test]
    fn usual_scales_can_be_bracketed() {
        for (n_bits, arithmetic) in (1..=8).flat_map(|n_bits| BOTH.map(|each| (n_bits, each))) {
            for at in 1..500 {
                let scale = f64::from(at) * 0.031_7;
                for scale in [scale, 1.0 / scale] {
                    let brackets = brackets(scale, n_bits, arithmetic);
                    assert!(brackets.is_some(), "{scale}, {n_bits} bits, {arithmetic:?}");
                }
            }
        }
    }

    #[test]
    fn one_factor_is_enough_where_it_is_the_reciprocal() {
        for (n_bits, at) in (1..=8).flat_map(|n_bits| (1..500_u16).map(move |at| (n_bits, at))) {
            for factor in [f32::from(at) * 0.031_7, 1.0 / (f32::from(at) * 7.77)] {
                let brackets = brackets(1.0 / f64::from(factor), n_bits, Arithmetic::Fused);
                assert!(
                    brackets.is_some_and(|brackets| brackets.is_exact),
                    "{factor}, {n_bits} bits"
                );
            }
        }
    }

    #[test]
    fn a_power_of_two_leaves_no_doubt() {
        for (scale, arithmetic) in [0.25, 1.0, 16.0].into_iter().zip(BOTH.into_iter().cycle()) {
            let brackets = brackets(scale, 3, arithmetic).expect("brackets");
            assert_eq!(brackets.below[0].to_bits(), brackets.above[0].to_bits());
        }
    }

    /// Of the pixels from 0 to 16, in 3 bits, 8 is a tie.
    #[test]
    fn a_pixel_that_is_a_tie_leaves_no_doubt() {
        for largest in [2.0, 4.0, 8.0, 14.0, 15.0, 16.0, 100.0_f32] {
            let brackets = brackets(f64::from(largest) / 7.0, 3, Arithmetic::Fused);
            let brackets = brackets.expect("brackets");
            let [one, other] = [brackets.below[0], brackets.above[0]]
                .map(|factor| Arithmetic::Fused.round(largest / 2.0, factor));
            assert_eq!(one.to_bits(), other.to_bits(), "{largest}");
        }
    }

    #[test]
    fn scales_beyond_single_precision_are_left_to_division() {
        for arithmetic in BOTH {
            assert!(brackets(1e-44, 3, arithmetic).is_none());
            assert!(brackets(1e300, 3, arithmetic).is_none());
            assert!(brackets(1.0, 9, arithmetic).is_none());
        }
    }
}
