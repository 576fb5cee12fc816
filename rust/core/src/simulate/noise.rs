//! TFHE's own errors: with a small probability a lookup reads a neighbouring entry.
//!
//! Randomness is counter-based: Philox4x32-10 of Salmon, Moraes, Dror and Shaw, "Parallel random
//! numbers: as easy as 1, 2, 3" (SC 2011), keyed by the seed and counting (row, layer, neuron). Each
//! lookup's error is thus a function of where it is, not of when it was computed: neither threads nor
//! the size of blocks change a result.

use crate::error::ParameterError;

/// How often a lookup errs, and the seed that decides which ones do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Noise {
    seed: u64,
    /// A lookup errs where its 53 random bits are below this: `p_error * 2^53`, rounded up.
    threshold: u64,
}

impl Noise {
    /// Each lookup errs with probability `p_error`, independently.
    ///
    /// # Errors
    /// If `p_error` is not in `[0, 1]`.
    pub fn new(p_error: f64, seed: u64) -> Result<Self, ParameterError> {
        if !(0.0..=1.0).contains(&p_error) {
            return Err(ParameterError::Probability { name: "p_error", value: p_error });
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "in [0, 2^53]")]
        let threshold = (p_error * 2_f64.powi(53)).ceil() as u64;
        Ok(Self { seed, threshold })
    }

    /// Whether any lookup can err.
    pub(super) const fn is_silent(self) -> bool {
        self.threshold == 0
    }

    /// The index that a lookup reads where `index` would be right: itself or, on an error, one more
    /// or one less with equal chance. It stays in the table, `[0, last]`: an error beyond an end
    /// reads the end, so that codes stay among those that the proof covers.
    pub(super) fn disturb(self, index: u16, last: u16, row: u64, layer: u32, neuron: u32) -> u16 {
        let [first, second, third, _] = philox(counter(row, layer, neuron), halves(self.seed));
        let bits = (u64::from(first) << 32 | u64::from(second)) >> 11;
        if bits >= self.threshold {
            index
        } else if third & 1 == 0 {
            index.saturating_sub(1)
        } else {
            index.saturating_add(1).min(last)
        }
    }
}

fn counter(row: u64, layer: u32, neuron: u32) -> [u32; 4] {
    let [low, high] = halves(row);
    [low, high, layer, neuron]
}

#[expect(clippy::cast_possible_truncation, reason = "the low half is what is wanted")]
const fn halves(value: u64) -> [u32; 2] {
    [value as u32, (value >> 32) as u32]
}

/// Philox4x32 with ten rounds.
fn philox(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    const MULTIPLIERS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
    const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];
    for _ in 0..10 {
        let [low_0, high_0] = halves(u64::from(MULTIPLIERS[0]) * u64::from(counter[0]));
        let [low_1, high_1] = halves(u64::from(MULTIPLIERS[1]) * u64::from(counter[2]));
        counter = [high_1 ^ counter[1] ^ key[0], low_1, high_0 ^ counter[3] ^ key[1], low_0];
        key = [key[0].wrapping_add(WEYL[0]), key[1].wrapping_add(WEYL[1])];
    }
    counter
}

#[cfg(test)]
mod tests {
    use super::philox;

    /// Known answers of the authors' Random123 library, `tests/kat_vectors`.
    #[test]
    fn philox_gives_the_published_answers() {
        let answers = [
            ([0; 4], [0; 2], [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]),
            ([u32::MAX; 4], [u32::MAX; 2], [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]),
            (
                [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
                [0xa409_3822, 0x299f_31d0],
                [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1],
            ),
        ];
        for (counter, key, answer) in answers {
            assert_eq!(philox(counter, key), answer);
        }
    }
}
