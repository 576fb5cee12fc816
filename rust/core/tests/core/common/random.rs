//! Random naive graphs of many shapes, from few numbers that proptest can shrink.

use proptest::prelude::*;

use super::{NaiveGraph, NaiveLayer};

/// How often a property is tried. A failure prints its minimal case, which belongs in a test of its
/// own; so no file of seeds is kept.
pub fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

/// What a random graph is made from.
#[derive(Debug, Clone)]
pub struct Recipe {
    pub n_bits: u8,
    /// Features, hidden neurons, outputs.
    pub sizes: Vec<usize>,
    /// Bits of the largest weight: beyond 10 and beyond 26 accumulators outgrow 16 and 32 bits.
    pub weight_bits: u32,
    /// Largest bits of a lookup index.
    pub index_bits: u32,
    /// The largest code that a table may hold.
    pub max_code: i64,
    pub seed: u64,
}

pub fn recipes() -> impl Strategy<Value = Recipe> {
    let sizes = prop::collection::vec(1..9_usize, 2..5);
    let weight_bits = prop::sample::select(vec![1, 2, 3, 8, 11, 20, 27, 36, 41]);
    (1..=16_u8, sizes, weight_bits, 1..=9_u32, any::<u64>()).prop_map(
        |(n_bits, sizes, weight_bits, index_bits, seed)| Recipe {
            n_bits,
            sizes,
            weight_bits,
            index_bits,
            max_code: 65535,
            seed,
        },
    )
}

/// Recipes of the graphs that the packed kernels take: sums of up to 16 bits over codes of up to 8,
/// with enough columns for several registers.
pub fn packed_recipes() -> impl Strategy<Value = Recipe> {
    let sizes = prop::collection::vec(1..40_usize, 2..5);
    (1..=8_u8, sizes, 0..=7_u32, 1..=10_u32, any::<u64>()).prop_map(
        |(n_bits, sizes, weight_bits, index_bits, seed)| Recipe {
            n_bits,
            sizes,
            weight_bits,
            index_bits,
            max_code: 255,
            seed,
        },
    )
}

/// Recipes of wide layers, whose sums have many terms.
pub fn wide_recipes() -> impl Strategy<Value = Recipe> {
    (packed_recipes(), 60..130_usize).prop_map(|(recipe, n_features)| {
        let narrow = recipe.sizes.iter().skip(1).map(|&size| size.min(8));
        Recipe { sizes: std::iter::once(n_features).chain(narrow).collect(), ..recipe }
    })
}

/// Recipes whose every input can be enumerated.
pub fn small_recipes() -> impl Strategy<Value = Recipe> {
    (recipes(), 1..=2_u8).prop_map(|(recipe, n_bits)| {
        let sizes = recipe.sizes.iter().map(|&size| size.min(5)).collect();
        Recipe { n_bits, sizes, ..recipe }
    })
}

impl Recipe {
    pub fn graph(&self) -> NaiveGraph {
        let mut random = SplitMix(self.seed);
        let mut codes = vec![(0, (1 << self.n_bits) - 1); self.sizes[0]];
        let mut layers = Vec::new();
        for (layer, &n_outputs) in self.sizes[1..].iter().enumerate() {
            let linear = self.linear(&mut random, codes.len(), n_outputs);
            let intervals = intervals(&linear, &codes);
            layers.push(NaiveLayer::Linear { weights: linear.0, offset: linear.1 });
            if layer + 2 < self.sizes.len() {
                let (lookup, images) = self.lookup(&mut random, &intervals);
                layers.push(lookup);
                codes = images;
            }
        }
        NaiveGraph { n_bits: self.n_bits, n_features: self.sizes[0], layers }
    }

    /// Codes for `rows` rows: random ones, and now and then a row of extremes.
    pub fn codes(&self, rows: usize) -> Vec<u16> {
        let mut random = SplitMix(self.seed ^ 1);
        let max = (1 << self.n_bits) - 1;
        let mut codes = Vec::new();
        for _ in 0..rows {
            let extreme = random.below(4) == 0;
            for _ in 0..self.sizes[0] {
                let code = if extreme { max * random.below(2) } else { random.below(max + 1) };
                codes.push(u16::try_from(code).unwrap());
            }
        }
        codes
    }

    fn linear(
        &self,
        random: &mut SplitMix,
        n_in: usize,
        n_out: usize,
    ) -> (Vec<Vec<i64>>, Vec<i64>) {
        let most = 1 << self.weight_bits;
        let mut row = |_| -> Vec<i64> {
            let dead = random.below(8) == 0;
            let mut weight = |_| {
                let pruned = dead || random.below(3) == 0;
                if pruned { 0 } else { random.between(-most, most) }
            };
            (0..n_in).map(&mut weight).collect()
        };
        let weights = (0..n_out).map(&mut row).collect();
        let offset = (0..n_out).map(|_| random.between(-most * 100, most * 100)).collect();
        (weights, offset)
    }

    fn lookup(
        &self,
        random: &mut SplitMix,
        intervals: &[(i64, i64)],
    ) -> (NaiveLayer, Vec<(i64, i64)>) {
        let widest = intervals.iter().map(|(low, high)| high - low).max().unwrap();
        let index = |lsbs: u32, width: i64| (width + ((1 << lsbs) >> 1)) >> lsbs;
        let fits = |&lsbs: &u32| index(lsbs, widest) < 1 << self.index_bits;
        // Now and then more is rounded away than the width has bits.
        let more = [0, 0, 0, 1, 6, 40][usize::try_from(random.below(6)).unwrap()];
        let lsbs = ((0..62).find(fits).unwrap() + more).min(62);
        let code_bits = random.between(0, 8);
        let table = |&(low, high): &(i64, i64), random: &mut SplitMix| -> Vec<i64> {
            let len = index(lsbs, high - low) + 1;
            match random.below(3) {
                0 => (0..len).map(|entry| (entry << code_bits) / len).collect(),
                1 => vec![random.between(0, self.max_code); usize::try_from(len).unwrap()],
                _ => (0..len).map(|_| random.between(0, (1 << code_bits) - 1)).collect(),
            }
        };
        let tables: Vec<_> = intervals.iter().map(|interval| table(interval, random)).collect();
        let image = |table: &Vec<i64>| (*table.iter().min().unwrap(), *table.iter().max().unwrap());
        let images = tables.iter().map(image).collect();
        let low = intervals.iter().map(|interval| interval.0).collect();
        (NaiveLayer::Lookup { low, lsbs, exact: random.below(2) == 0, tables }, images)
    }
}

fn intervals(linear: &(Vec<Vec<i64>>, Vec<i64>), codes: &[(i64, i64)]) -> Vec<(i64, i64)> {
    let end = |row: &Vec<i64>, add: i64, highest: bool| {
        let terms = row.iter().zip(codes);
        add + terms
            .map(
                |(&weight, &(low, high))| {
                    if (weight > 0) == highest { weight * high } else { weight * low }
                },
            )
            .sum::<i64>()
    };
    let neurons = linear.0.iter().zip(&linear.1);
    neurons.map(|(row, &add)| (end(row, add, false), end(row, add, true))).collect()
}

/// Steele, Lea and Flood's generator: a test needs variety from a seed, nothing more.
pub struct SplitMix(pub u64);

impl SplitMix {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    pub fn between(&mut self, low: i64, high: i64) -> i64 {
        low.wrapping_add_unsigned(self.below(high.abs_diff(low) + 1))
    }
}
