//! The pruning mask against a full sort.

use std::cmp::Reverse;

use crate::common::random::{SplitMix, cases};
use cipherfit_core::training::mask::{MaskRequest, accumulator_mask};
use proptest::prelude::*;

#[derive(Debug, Clone)]
struct Layer {
    weights: Vec<i64>,
    low: Vec<i64>,
    high: Vec<i64>,
    importance: Option<Vec<f32>>,
    n_accum_bits: i64,
    reserve: i64,
}

fn layers() -> impl Strategy<Value = Layer> {
    let shape = (0..6_usize, 1..40_usize);
    let bits = prop_oneof![1..=14_i64, Just(62)];
    let most = prop::sample::select(vec![1, 3, 7, 1000, i64::MAX]);
    (shape, bits, most, any::<bool>(), any::<u64>()).prop_map(
        |((rows, columns), n_accum_bits, most, by_importance, seed)| {
            let mut random = SplitMix(seed);
            let low: Vec<i64> = (0..columns).map(|_| random.between(-2, 3)).collect();
            // In every other layer all inputs have intervals of the same width.
            let width = (random.below(2) == 0).then(|| random.between(0, 7));
            let high = low.iter().map(|low| low + width.unwrap_or_else(|| random.between(0, 7)));
            let high = high.collect();
            let weights = (0..rows * columns).map(|_| random.between(-most, most)).collect();
            // Few distinct values, both zeros among them, so that ties are the rule.
            let levels = [-1.5, -0.0, 0.0, 1.0, 1.0e30];
            let importance = by_importance.then(|| {
                (0..rows * columns)
                    .map(|_| levels[usize::try_from(random.below(5)).unwrap()])
                    .collect()
            });
            let reserve = random.between(0, ((1 << n_accum_bits) - 1).min(9));
            Layer { weights, low, high, importance, n_accum_bits, reserve }
        },
    )
}

impl Layer {
    fn mask(&self) -> Vec<bool> {
        let request = MaskRequest {
            weights: &self.weights,
            low: &self.low,
            high: &self.high,
            n_accum_bits: self.n_accum_bits,
            importance: self.importance.as_deref(),
            reserve: self.reserve,
        };
        let mut mask = vec![false; self.weights.len()];
        accumulator_mask(&request, &mut mask).unwrap();
        mask
    }

    fn cost(&self, at: usize) -> i128 {
        let column = at % self.low.len();
        let range = i128::from(self.high[column]) - i128::from(self.low[column]);
        i128::from(self.weights[at]).abs() * range
    }

    fn budget(&self) -> i128 {
        (1 << self.n_accum_bits) - 1 - i128::from(self.reserve)
    }

    /// Sort all of a row; take from the front until something doesn't fit.
    fn naive_mask(&self) -> Vec<bool> {
        let mut mask = vec![false; self.weights.len()];
        let columns = self.low.len();
        for row in 0..self.weights.len() / columns {
            let mut order: Vec<usize> = (row * columns..(row + 1) * columns).collect();
            order.sort_by(|&left, &right| {
                let by_importance = if let Some(values) = &self.importance {
                    values[right].partial_cmp(&values[left]).unwrap()
                } else {
                    let key = |at: usize| Reverse(self.weights[at].unsigned_abs());
                    key(left).cmp(&key(right))
                };
                by_importance.then(self.cost(left).cmp(&self.cost(right))).then(left.cmp(&right))
            });
            let mut spent = 0;
            for at in order {
                spent += self.cost(at);
                if spent > self.budget() {
                    break;
                }
                mask[at] = true;
            }
        }
        mask
    }
}

proptest! {
    #![proptest_config(cases(1000))]

    #[test]
    fn the_mask_is_the_longest_prefix_that_fits(layer in layers()) {
        prop_assert_eq!(layer.mask(), layer.naive_mask());
    }

    #[test]
    fn kept_weights_fit_for_every_input(layer in layers()) {
        let mask = layer.mask();
        for row in mask.chunks(layer.low.len()).enumerate() {
            let start = row.0 * layer.low.len();
            let kept = row.1.iter().enumerate().filter(|(_, kept)| **kept);
            // The widest spread of any inputs is the sum of the costs: each input moves freely.
            let spread: i128 = kept.map(|(column, _)| layer.cost(start + column)).sum();
            prop_assert!(spread <= layer.budget());
        }
    }
}

#[test]
fn large_layers_are_masked_the_same_by_several_threads() {
    let (rows, columns) = (2000, 1500);
    let mut random = SplitMix(3);
    let layer = Layer {
        weights: (0..rows * columns).map(|_| random.between(-100, 100)).collect(),
        low: vec![0; columns],
        high: (0..columns).map(|_| random.between(0, 15)).collect(),
        importance: None,
        n_accum_bits: 16,
        reserve: 0,
    };
    assert!(layer.mask() == layer.naive_mask());
}

#[test]
fn weights_that_share_their_leading_bits_are_kept_by_their_trailing_ones() {
    let mut random = SplitMix(5);
    for _ in 0..200 {
        let columns = 12;
        let layer = Layer {
            weights: (0..columns).map(|_| (1 << 40) + random.between(0, 9)).collect(),
            low: vec![0; columns],
            high: (0..columns).map(|_| random.between(1, 2)).collect(),
            importance: None,
            n_accum_bits: random.between(41, 44),
            reserve: 0,
        };
        assert_eq!(layer.mask(), layer.naive_mask());
    }
}
