//! TFHE's own errors: with a small probability a lookup reads a neighbouring entry.
//!
//! Most lookups don't err, so it is the gaps between errors that are drawn: independent events of
//! equal probability lie geometrically distributed gaps apart, and the cost is in proportion to the
//! errors. Every layer of every block of [`BLOCK`] rows has a random stream of its own: Philox4x32-10
//! of Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3" (SC 2011), keyed by
//! the seed and counting (block, layer), gives the state from which xoshiro256++ of Blackman and
//! Vigna, "Scrambled linear pseudorandom number generators" (TOMS 2021), goes on. An error is thus a
//! function of where it is, not of when it was computed: threads and kernels don't change a result.

use super::kernel::BLOCK;
use crate::error::ParameterError;

/// Gaps up to this are found by one search; longer ones by more, since gaps have no memory.
const LONGEST: usize = 256;

/// How often a lookup errs, and the seed that decides which ones do.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Noise {
    p_error: f64,
    seed: u64,
}

impl Noise {
    /// Each lookup errs with probability `p_error`, independently.
    ///
    /// # Errors
    /// If `p_error` is not in `[0, 1]`.
    pub fn new(p_error: f64, seed: u64) -> Result<Self, ParameterError> {
        if (0.0..=1.0).contains(&p_error) {
            return Ok(Self { p_error, seed });
        }
        Err(ParameterError::Probability { name: "p_error", value: p_error })
    }

    /// The distribution of its gaps; none if no lookup errs.
    pub(super) fn gaps(self) -> Option<Gaps> {
        (self.p_error > 0.0).then(|| Gaps::new(self))
    }
}

/// The distribution of the gaps between errors.
pub(super) struct Gaps {
    seed: u64,
    /// `longer[gap]`: the probability, times `2^63`, that a gap is longer than `gap`.
    longer: [u64; LONGEST],
}

/// A lookup that errs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Misread {
    /// Its row in the block.
    pub(super) row: usize,
    /// Its neuron.
    pub(super) neuron: usize,
    up: bool,
}

impl Misread {
    /// The index that is read where `index` would be right: one more or one less with equal chance.
    /// It stays in the table, `[0, last]`: an error beyond an end reads the end, so that codes stay
    /// among those that the proof covers.
    pub(super) fn index(self, index: usize, last: usize) -> usize {
        if self.up { last.min(index + 1) } else { index.saturating_sub(1) }
    }
}

impl Gaps {
    fn new(noise: Noise) -> Self {
        let mut longer = [0; LONGEST];
        let mut probability = 1.0;
        for entry in &mut longer {
            probability *= 1.0 - noise.p_error;
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "in range")]
            let scaled = (probability * 2_f64.powi(63)) as u64;
            *entry = scaled;
        }
        Self { seed: noise.seed, longer }
    }

    /// The lookups that err among those of `rows` rows from the block's first, of a layer of
    /// `neurons` neurons, row by row. More rows bring more errors after those of fewer.
    pub(super) fn misreads(
        &self,
        block: u64,
        layer: usize,
        rows: usize,
        neurons: usize,
    ) -> impl Iterator<Item = Misread> {
        let mut random = Xoshiro::new(self.seed, block, layer);
        let mut next = 0;
        std::iter::from_fn(move || {
            while next < rows * neurons {
                let bits = random.next();
                let gap = self.longer.partition_point(|&longer| bits >> 1 < longer);
                next += gap;
                if gap < LONGEST && next < rows * neurons {
                    let (row, neuron) = (next / neurons, next % neurons);
                    next += 1;
                    return Some(Misread { row, neuron, up: bits & 1 == 1 });
                }
            }
            None
        })
    }
}

/// The number of the block that begins with this row.
pub(super) const fn block_of(row: usize) -> u64 {
    (row / BLOCK) as u64
}

/// xoshiro256++.
struct Xoshiro([u64; 4]);

impl Xoshiro {
    fn new(seed: u64, block: u64, layer: usize) -> Self {
        let [low, high] = halves(block);
        let [layer, _] = halves(layer as u64);
        let word = |half, at: usize| {
            let words = philox([low, high, layer, half], halves(seed));
            u64::from(words[at + 1]) << 32 | u64::from(words[at])
        };
        Self([word(0, 0), word(0, 2), word(1, 0), word(1, 2)])
    }

    fn next(&mut self) -> u64 {
        let state = &mut self.0;
        let result = state[0].wrapping_add(state[3]).rotate_left(23).wrapping_add(state[0]);
        let shifted = state[1] << 17;
        state[2] ^= state[0];
        state[3] ^= state[1];
        state[1] ^= state[2];
        state[0] ^= state[3];
        state[2] ^= shifted;
        state[3] = state[3].rotate_left(45);
        result
    }
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
    use super::{Xoshiro, philox};

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

    /// The example of `rand_xoshiro`, computed with the authors' C code.
    #[test]
    fn xoshiro_gives_the_published_answers() {
        let mut random = Xoshiro([1, 2, 3, 4]);
        let answers = [41_943_041, 58_720_359, 3_588_806_011_781_223, 3_591_011_842_654_386];
        for answer in answers {
            assert_eq!(random.next(), answer);
        }
    }
}
