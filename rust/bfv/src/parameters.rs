//! Ring, modulus and scale, and the proof that no noise can change a sum.

use crate::error::Error;
use crate::ring::Ring;
use crate::sampling::ERROR_BOUND;

/// Ring degrees and the most bits that `q` may have with each: 128 bits of classical security with
/// ternary secrets, as of the Homomorphic Encryption Standard (HomomorphicEncryption.org, November
/// 2018, table 1).
pub const STANDARD: [(usize, u32); 5] =
    [(1024, 27), (2048, 54), (4096, 109), (8192, 218), (16384, 438)];

/// Degrees and primes in use, smallest first; messages name them by their position. Two primes of
/// 62 bits hold sums of 5000 codes of 16 bits times weights of 16 bits with 40 bits of flooding,
/// and integers of 128 bits hold their products: so `q` stays far below the standard's bound at
/// degree 8192, and larger degrees bring nothing.
const SETS: [(usize, &[u64]); 5] = [
    (1024, &[0x7ff_f801]),
    (2048, &[0x3f_ffff_fffe_d001]),
    (4096, &[0x3fff_ffff_ffff_0001]),
    (4096, &[0x3f_ffff_fffd_6001, 0x7f_ffff_fffb_4001]),
    (8192, &[0x3fff_ffff_ffff_0001, 0x3fff_ffff_fffe_8001]),
];

/// Sums that parameters are made for have at least so many bits, and at most.
pub const SUM_BITS: std::ops::RangeInclusive<u32> = 2..=63;

/// What client and server agree on.
#[derive(Debug, Clone)]
pub struct Parameters {
    set: u8,
    ring: Ring,
    sum_bits: u32,
    scale_bits: u32,
    dropped_bits: u32,
}

/// How the room between two sums is used: everything is an upper bound on a magnitude.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoiseBudget {
    /// Half the distance between two sums: what noise must stay below.
    pub limit: u128,
    /// Noise that depends on weights and keys: `21 |W|_1` of the request's errors and `42 N` of the
    /// re-randomization's.
    pub hidden: u128,
    /// What rounding the answer adds: `2^(dropped - 1) (N + 1)`.
    pub rounding: u128,
    /// Flooding is uniform in `[-flooding, flooding)`: all that is left.
    pub flooding: u128,
}

impl Parameters {
    /// Every set of a degree and primes in use, smallest first.
    pub fn sets() -> impl Iterator<Item = u8> {
        (0_u8..).take(SETS.len())
    }

    /// The parameters of a set for sums in `[-(2^(sum_bits - 1) - 1), 2^(sum_bits - 1) - 1]`; none
    /// where there is no such set or the sums leave no room.
    ///
    /// The scale is the largest power of two with `scale (2^sum_bits - 1) <= q`: then `scale sum +
    /// noise` stays within `(-q/2, q/2)` for every sum and every noise below half the scale.
    ///
    /// # Errors
    /// If the library refuses the primes.
    pub fn new(set: u8, sum_bits: u32) -> Result<Option<Self>, Error> {
        let found = SETS.get(usize::from(set)).filter(|_| SUM_BITS.contains(&sum_bits));
        let Some(&(degree, primes)) = found else {
            return Ok(None);
        };
        let ring = Ring::new(degree, primes)?;
        let Some(scale_bits) = (ring.modulus() / ((1 << sum_bits) - 1)).checked_ilog2() else {
            return Ok(None);
        };
        let parameters = Self {
            dropped_bits: dropped_bits(scale_bits, degree),
            set,
            ring,
            sum_bits,
            scale_bits,
        };
        Ok((scale_bits > 0).then_some(parameters))
    }

    /// Position of degree and primes among those in use.
    #[must_use]
    pub const fn set(&self) -> u8 {
        self.set
    }

    /// The ring.
    #[must_use]
    pub const fn ring(&self) -> &Ring {
        &self.ring
    }

    /// `N`.
    #[must_use]
    pub const fn degree(&self) -> usize {
        self.ring.degree()
    }

    /// `t = 2^sum_bits`: sums are computed modulo it.
    #[must_use]
    pub const fn sum_bits(&self) -> u32 {
        self.sum_bits
    }

    /// `log2` of the scale of a message.
    #[must_use]
    pub const fn scale_bits(&self) -> u32 {
        self.scale_bits
    }

    /// Low bits of an answer's coefficients that are rounded away.
    #[must_use]
    pub const fn dropped_bits(&self) -> u32 {
        self.dropped_bits
    }

    /// `ceil(log2 q)`: bits of a coefficient.
    #[must_use]
    pub const fn modulus_bits(&self) -> u32 {
        (self.ring.modulus() - 1).ilog2() + 1
    }

    /// The largest coefficient of an answer, rounded.
    #[must_use]
    pub const fn max_rounded(&self) -> u128 {
        round(self.ring.modulus() - 1, self.dropped_bits)
    }

    /// Bits of a coefficient of an answer.
    #[must_use]
    pub const fn rounded_bits(&self) -> u32 {
        self.max_rounded().ilog2() + 1
    }

    /// Where noise comes from and what is left for flooding, for weights of this L1 norm within one
    /// ciphertext of an answer; none where nothing is left.
    ///
    /// Every bound is the worst case: an error is at most 21 and a secret's coefficient at most 1
    /// in magnitude, so a coefficient of a product is at most `21 |W|_1`, or `21 N`.
    #[must_use]
    pub fn noise(&self, l1_norm: u128) -> Option<NoiseBudget> {
        let degree = self.degree() as u128;
        let bound = u128::from(ERROR_BOUND);
        let limit = 1_u128 << (self.scale_bits - 1);
        let hidden = l1_norm.checked_mul(bound)?.checked_add(2 * degree * bound)?;
        let rounding = (1_u128 << self.dropped_bits >> 1) * (degree + 1);
        let flooding = limit.checked_sub(rounding)?.checked_sub(hidden)?;
        (flooding > 0).then_some(NoiseBudget { limit, hidden, rounding, flooding })
    }
}

impl NoiseBudget {
    /// The largest integer `b` such that an answer of `outputs` sums is within statistical distance
    /// `2^-b` of one in whose noise there is flooding alone.
    ///
    /// A uniform integer of `[-F, F)` and its shift by `s` are `|s| / 2F` apart; `outputs` of them
    /// at most so many times as much.
    #[must_use]
    pub fn statistical_bits(&self, outputs: usize) -> u32 {
        let shifts = self.hidden.saturating_mul(outputs as u128);
        (2 * self.flooding).checked_div(shifts).and_then(u128::checked_ilog2).unwrap_or(0)
    }
}

/// The most low bits whose rounding takes no more than 1/32 of the room for noise.
fn dropped_bits(scale_bits: u32, degree: usize) -> u32 {
    let rounding = (1_u128 << scale_bits >> 5) / (degree as u128 + 1);
    rounding.checked_ilog2().unwrap_or(0)
}

/// `value / 2^bits`, to the nearest, half up.
#[must_use]
pub const fn round(value: u128, bits: u32) -> u128 {
    (value + (1 << bits >> 1)) >> bits
}
