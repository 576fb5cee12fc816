//! The quantizer in single precision, proven equal to the one by division.
//!
//! `round(x * factor)` in `f32` goes wrong for a few `x` beside each tie. But it never decreases with
//! `x`, and neither do the codes; so both are steps, and comparing them where the codes step compares
//! them everywhere. For each feature two factors are chosen, and checked at both sides of every step,
//! such that one rounds to the right code or beyond and the other to the right code or short of it.
//! Where the two agree they are right. Where they don't, or a value is not finite, the caller divides
//! in double precision. For a scale that is a power of two both factors are its reciprocal.

use crate::input::Input;

/// Adding this to an `f32` in `(-2^22, 2^22)` rounds it half to even, to an integer that its bits
/// count.
pub(super) const ROUNDING: f32 = 12_582_912.0; // 1.5 * 2^23

/// Steps beyond this many could not be told apart after adding [`ROUNDING`].
const MAX_STEP: f64 = 2_097_152.0; // 2^21

/// How many units in the last place a factor may be away from the reciprocal of the scale.
const MAX_ULPS: u32 = 4;

/// How far, in units in the last place, the computed place of a tie may be from the first `f32` of
/// the next code.
const MAX_DISTANCE: u32 = 8;

/// Per-feature constants of the quantizer, padded to [`Brackets::PADDING`] features.
#[derive(Debug)]
pub(crate) struct Brackets {
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
}

impl Brackets {
    /// At least so many features have constants.
    pub(super) const PADDING: usize = 16;

    /// The constants for `input`; none if its codes need more than 8 bits or a feature can't be
    /// bracketed.
    pub(super) fn new(input: &Input) -> Option<Self> {
        let max_code = u8::try_from(input.max_code()).ok()?;
        let n = input.n_features().max(Self::PADDING);
        let mut brackets = Self {
            below: vec![0.0; n],
            above: vec![0.0; n],
            floor: vec![ROUNDING; n],
            ceiling: vec![ROUNDING; n],
            max_code,
        };
        for feature in 0..input.n_features() {
            let steps = Steps::new(input, feature)?;
            let (below, above) = steps.factors()?;
            brackets.below[feature] = below;
            brackets.above[feature] = above;
            brackets.floor[feature] = ROUNDING + steps.lowest;
            brackets.ceiling[feature] = ROUNDING + steps.lowest + f32::from(max_code);
        }
        Some(brackets)
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

    /// The closest pair of factors that brackets every code.
    fn factors(&self) -> Option<(f32, f32)> {
        let mut pairs: Vec<_> =
            (0..=MAX_ULPS).flat_map(|down| (0..=MAX_ULPS).map(move |up| (down, up))).collect();
        pairs.sort_by_key(|(down, up)| down + up);
        let shift = |(down, up)| {
            let below = (0..down).fold(self.reciprocal, |factor, _| factor.next_down());
            let above = (0..up).fold(self.reciprocal, |factor, _| factor.next_up());
            (below, above)
        };
        pairs.into_iter().map(shift).find(|&(below, above)| {
            let fused = |x: f32, factor: f32| x.mul_add(factor, ROUNDING);
            let rounded_twice = |x: f32, factor: f32| x * factor + ROUNDING;
            self.bracketed(below, above, fused) && self.bracketed(below, above, rounded_twice)
        })
    }

    /// Whether at every step, and so everywhere, the right code lies between the two roundings.
    fn bracketed(&self, below: f32, above: f32, round: impl Fn(f32, f32) -> f32) -> bool {
        let codes = (1_u16..).map(|code| ROUNDING + self.lowest + f32::from(code));
        self.firsts.iter().zip(codes).all(|(&first, code)| {
            let (before, first) = (first.next_down(), first);
            round(first, below).max(round(first, above)) >= code
                && round(before, below).min(round(before, above)) < code
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Brackets;
    use crate::input::Input;

    fn brackets(scale: f64, n_bits: i64) -> Option<Brackets> {
        Brackets::new(&Input::new(vec![scale], vec![3], n_bits).ok()?)
    }

    #[test]
    fn usual_scales_can_be_bracketed() {
        for n_bits in 1..=8 {
            for at in 1..500 {
                let scale = f64::from(at) * 0.031_7;
                assert!(brackets(scale, n_bits).is_some(), "{scale}, {n_bits} bits");
                assert!(brackets(1.0 / scale, n_bits).is_some(), "1 / {scale}, {n_bits} bits");
            }
        }
    }

    #[test]
    fn a_power_of_two_leaves_no_doubt() {
        for scale in [0.25, 1.0, 16.0] {
            let brackets = brackets(scale, 3).expect("brackets");
            assert_eq!(brackets.below[0].to_bits(), brackets.above[0].to_bits());
        }
    }

    #[test]
    fn scales_beyond_single_precision_are_left_to_division() {
        assert!(brackets(1e-44, 3).is_none());
        assert!(brackets(1e300, 3).is_none());
        assert!(brackets(1.0, 9).is_none());
    }
}
