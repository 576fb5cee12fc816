//! TFHE's own errors: with some probability a lookup reads a neighbouring entry.
//!
//! A lookup decides which step its accumulator lies in; noise on the accumulator is normal, and TFHE's
//! parameters are chosen such that half a step is exceeded with probability `p_error`. A lookup that
//! reads every bit, or rounds exactly, sits in the middle of its step and errs just so often. One that
//! rounds approximately leaves the low bits where they are, so that an accumulator close to the
//! threshold errs more: with `z` the two-sided normal quantile of `p_error` and `f` in (-1/2, 1/2) its
//! place in the step, `P(down) = erfc((1 + 2f) z / sqrt 2) / 2` and `P(up) = erfc((1 - 2f) z / sqrt 2) / 2`.
//! `benches/rounding_noise.py` measures both against encrypted runs.
//!
//! Where lookups round approximately and few bits away, so many are near a threshold that noise is drawn
//! for every one: as a whole number of accumulator units, distributed such that adding it to the sum
//! moves it across a threshold with the probabilities above, held to 2^-16.
//!
//! Other lookups mostly don't err, so it is the gaps between errors that are drawn: independent events of
//! equal probability lie geometrically distributed gaps apart, and the cost is in proportion to the
//! errors. Where probabilities differ, candidates are drawn at the largest one and thinned out. Every
//! layer of every block of [`BLOCK`] rows has a random stream of its own: Philox4x32-10 of Salmon,
//! Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3" (SC 2011), keyed by the seed
//! and counting (block, layer), gives the state from which xoshiro256++ of Blackman and Vigna,
//! "Scrambled linear pseudorandom number generators" (TOMS 2021), goes on. An error is thus a function
//! of where it is, not of when it was computed: threads and kernels don't change a result.

use super::block::{BLOCK, Shift};
use crate::error::ParameterError;
use crate::graph::IntegerGraph;
use crate::graph::lookup::Lookup;

/// Gaps up to this are found by one search; longer ones by more, since gaps have no memory.
const LONGEST: usize = 256;

/// Places in a step that are told apart, as a power of two.
const PLACE_BITS: u8 = 8;

/// Noise is drawn for every lookup up to so many low bits that are rounded away approximately: it takes
/// a comparison for each unit.
const MAX_SHIFTED_BITS: u8 = 5;

/// Rows that noise is drawn for at a time.
const DRAWS: usize = 64;

/// How often a lookup errs, and the seed that decides which ones do.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Noise {
    p_error: f64,
    seed: u64,
}

impl Noise {
    /// Half a step of each lookup is exceeded with probability `p_error`, independently.
    ///
    /// # Errors
    /// If `p_error` is not in `[0, 1]`.
    pub fn new(p_error: f64, seed: u64) -> Result<Self, ParameterError> {
        if (0.0..=1.0).contains(&p_error) {
            return Ok(Self { p_error, seed });
        }
        Err(ParameterError::Probability { name: "p_error", value: p_error })
    }

    /// The errors of a graph's lookups; none if no lookup errs.
    pub(super) fn errors(self, graph: &IntegerGraph) -> Option<Errors> {
        let layer = |lookup: &Lookup| LayerErrors::new(self.p_error, lookup);
        (self.p_error > 0.0).then(|| Errors {
            seed: self.seed,
            n_exact: graph.n_client_layers(),
            layers: graph
                .hidden()
                .iter()
                .skip(graph.n_client_layers())
                .map(|hidden| layer(&hidden.lookup))
                .collect(),
        })
    }
}

/// Errors of all lookups.
pub(super) struct Errors {
    seed: u64,
    /// The client's layers, before all others, whose lookups never err.
    n_exact: usize,
    layers: Vec<LayerErrors>,
}

/// Errors of the lookups of one layer.
struct LayerErrors {
    /// `longer[gap]`: the probability, times `2^63`, that a gap between candidates is longer.
    longer: Box<[u64; LONGEST]>,
    /// By place in the step.
    chances: Vec<Chance>,
    /// Low bits of the place that are not told apart.
    shift: u8,
    /// The noise itself, where it is drawn for every lookup.
    units: Option<Units>,
}

/// Whole units of noise, by a draw that is uniform over 16 bits: as many up as `up` has entries that it
/// reaches, as many down as `down` has entries that it stays below.
struct Units {
    up: Vec<i16>,
    down: Vec<i16>,
}

impl Units {
    /// `chances[place]` are the probabilities that noise carries a sum at this place of its step to
    /// the step below and to the step above.
    fn new(chances: &[(f64, f64)]) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "a probability of at most a half")]
        let draws = |probability: f64| (probability * 65_536.0).round() as i32;
        let possible = |threshold: &i32| *threshold > i32::from(i16::MIN);
        let narrow = |threshold: i32| i16::try_from(threshold).ok();
        let below = chances.iter().map(|&(down, _)| draws(down) - 32_768).filter(possible);
        let above = chances.iter().map(|&(_, up)| 32_768 - draws(up));
        Self { up: above.filter_map(narrow).collect(), down: below.filter_map(narrow).collect() }
    }

    /// Draws noise for [`DRAWS`] rows of one neuron, from the row `first` on.
    #[expect(clippy::cast_possible_truncation, reason = "four draws of 16 bits")]
    fn draw(&self, random: &mut Xoshiro, first: usize, shift: &mut Shift) {
        let mut draws = [0_i16; DRAWS];
        for four in draws.as_chunks_mut::<4>().0 {
            let bits = random.next();
            *four = [bits as i16, (bits >> 16) as i16, (bits >> 32) as i16, (bits >> 48) as i16];
        }
        let (mut up, mut down) = ([0_i16; DRAWS], [0_i16; DRAWS]);
        for &threshold in &self.up {
            for (units, &draw) in up.iter_mut().zip(&draws) {
                *units += i16::from(draw >= threshold);
            }
        }
        for &threshold in &self.down {
            for (units, &draw) in down.iter_mut().zip(&draws) {
                *units += i16::from(draw < threshold);
            }
        }
        for (column, units) in [(&mut shift.up, up), (&mut shift.down, down)] {
            for (byte, units) in column.0[first..][..DRAWS].iter_mut().zip(units) {
                *byte = units.to_le_bytes()[0];
            }
        }
    }
}

/// Whether a candidate errs: down if a draw of 64 bits is below `down`, up if from there on it is at
/// most `either`, else not.
#[derive(Debug, Clone, Copy)]
struct Chance {
    down: u64,
    either: u64,
}

/// A lookup that may err.
#[derive(Clone, Copy)]
struct Candidate<'a> {
    /// Its row in the block.
    row: usize,
    /// Its neuron.
    neuron: usize,
    layer: &'a LayerErrors,
    draw: u64,
}

impl Candidate<'_> {
    /// The code that is read for a sum, counted from the accumulator's minimum.
    ///
    /// An error beyond an end of the table reads the end, so that codes stay among those that the
    /// proof covers.
    fn read(&self, lookup: &Lookup, sum: u64) -> u16 {
        let table = lookup.table(self.neuron);
        let rounded = sum + lookup.half();
        // Its size is that of the table.
        let index = usize::try_from(rounded >> lookup.lsbs()).unwrap_or(usize::MAX);
        let place = (rounded & ((1 << lookup.lsbs()) - 1)) >> self.layer.shift;
        let chances = &self.layer.chances;
        let chance = chances[usize::try_from(place).unwrap_or(0).min(chances.len() - 1)];
        table[if self.draw < chance.down {
            index.saturating_sub(1)
        } else if self.draw <= chance.either {
            (index + 1).min(table.len() - 1)
        } else {
            index
        }]
    }
}

impl LayerErrors {
    fn new(p_error: f64, lookup: &Lookup) -> Self {
        let places = if lookup.exact() { 0 } else { lookup.lsbs().min(PLACE_BITS) };
        let quantile = quantile(p_error);
        let tail =
            |distance: f64| libm::erfc(distance * quantile * std::f64::consts::FRAC_1_SQRT_2) / 2.0;
        let step = f64::from(1_u32 << places);
        let chances: Vec<(f64, f64)> = (0..1_u32 << places)
            .map(|place| 2.0 * (f64::from(place) + 0.5) / step - 1.0)
            .map(|place| (tail(1.0 + place), tail(1.0 - place)))
            .collect();
        let most = chances.iter().map(|(down, up)| down + up).fold(0.0, f64::max);
        let chance = |(down, up): (f64, f64)| Chance {
            down: scaled(down / most, 64),
            either: scaled((down + up) / most, 64),
        };
        let mut longer = Box::new([0; LONGEST]);
        let mut probability = 1.0;
        for entry in longer.iter_mut() {
            probability *= 1.0 - most;
            *entry = scaled(probability, 63);
        }
        let is_shifted = (1..=MAX_SHIFTED_BITS).contains(&places);
        Self {
            longer,
            units: is_shifted.then(|| Units::new(&chances)),
            chances: chances.into_iter().map(chance).collect(),
            shift: if lookup.exact() { lookup.lsbs() } else { lookup.lsbs() - places },
        }
    }
}

impl Errors {
    /// Draws the noise of a layer for the first `rows` rows of a block, if it is drawn for every
    /// lookup: one [`Shift`] per neuron. More rows leave those of fewer as they are.
    pub(super) fn shift<'a>(
        &self,
        (block, layer, rows): (u64, usize, usize),
        neurons: usize,
        shifts: &'a mut Vec<Shift>,
    ) -> Option<&'a [Shift]> {
        let layer = layer.checked_sub(self.n_exact)?;
        let units = self.layers[layer].units.as_ref()?;
        let mut random = Xoshiro::new(self.seed, block, layer);
        shifts.resize(neurons, Shift::NONE);
        for first in (0..rows).step_by(DRAWS) {
            for shift in &mut *shifts {
                units.draw(&mut random, first, shift);
            }
        }
        Some(shifts)
    }

    /// Gives `put(row, neuron, code)` what is read in the first `rows` rows of a block where it may be
    /// other than the right code; `sum(row, neuron)` is counted from the accumulator's minimum.
    pub(super) fn misread(
        &self,
        (block, layer, rows): (u64, usize, usize),
        lookup: &Lookup,
        sum: impl Fn(usize, usize) -> u64,
        mut put: impl FnMut(usize, usize, u16),
    ) {
        let Some(encrypted) = layer.checked_sub(self.n_exact) else { return };
        let mut shifts = Vec::new();
        let Some(shifts) = self.shift((block, layer, rows), lookup.len(), &mut shifts) else {
            for candidate in self.candidates(block, encrypted, rows, lookup.len()) {
                let (row, neuron) = (candidate.row, candidate.neuron);
                put(row, neuron, candidate.read(lookup, sum(row, neuron)));
            }
            return;
        };
        for (neuron, shift) in shifts.iter().enumerate() {
            let table = lookup.table(neuron);
            for (row, (&up, &down)) in shift.up.0.iter().zip(&shift.down.0).take(rows).enumerate() {
                if up != down {
                    let sum = (sum(row, neuron) + u64::from(up)).saturating_sub(down.into());
                    let index = usize::try_from((sum + lookup.half()) >> lookup.lsbs());
                    put(row, neuron, table[index.unwrap_or(usize::MAX).min(table.len() - 1)]);
                }
            }
        }
    }

    /// The lookups that may err among those of `rows` rows from the block's first, of a layer of
    /// `neurons` neurons, row by row. More rows bring more of them after those of fewer.
    fn candidates(
        &self,
        block: u64,
        layer: usize,
        rows: usize,
        neurons: usize,
    ) -> impl Iterator<Item = Candidate<'_>> {
        let mut random = Xoshiro::new(self.seed, block, layer);
        let layer = &self.layers[layer];
        let mut next = 0;
        std::iter::from_fn(move || {
            while next < rows * neurons {
                let bits = random.next() >> 1;
                let gap = layer.longer.partition_point(|&longer| bits < longer);
                next += gap;
                if gap < LONGEST && next < rows * neurons {
                    let (row, neuron) = (next / neurons, next % neurons);
                    next += 1;
                    return Some(Candidate { row, neuron, layer, draw: random.next() });
                }
            }
            None
        })
    }
}

/// `z` such that a standard normal variable lies beyond `-z` or `z` with probability `p`, in (0, 1].
fn quantile(p: f64) -> f64 {
    // Halvings of [0, 40], which holds that of the least positive number, down to its last bits.
    let (mut low, mut high) = (0.0, 40.0);
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if libm::erfc(middle * std::f64::consts::FRAC_1_SQRT_2) > p {
            low = middle;
        } else {
            high = middle;
        }
    }
    high
}

/// A probability in units of `2^-bits`; 1 itself is the largest integer where it has no other place.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "saturates as it should"
)]
fn scaled(probability: f64, bits: i32) -> u64 {
    (probability * 2_f64.powi(bits)) as u64
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
