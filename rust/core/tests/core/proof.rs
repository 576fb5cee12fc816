//! Proven intervals against every possible input.

use crate::common::NaiveGraph;
use crate::common::random::{cases, recipes, small_recipes};
use cipherfit_core::BitWidth;
use cipherfit_core::graph::interval::Interval;
use proptest::prelude::*;

/// Every row of codes that the quantizer can emit.
fn all_inputs(naive: &NaiveGraph) -> impl Iterator<Item = Vec<i64>> + use<> {
    let (base, n_features) = (naive.max_code() + 1, naive.n_features);
    let count = base.pow(u32::try_from(n_features).unwrap());
    (0..count).map(move |mut number| {
        let mut digit = |_| {
            let code = number % base;
            number /= base;
            code
        };
        (0..n_features).map(&mut digit).collect()
    })
}

proptest! {
    #![proptest_config(cases(1000))]

    #[test]
    fn accumulators_stay_within_the_proven_interval_for_every_input(recipe in small_recipes()) {
        let naive = recipe.graph();
        let graph = naive.build();
        let first = graph.stages().next().unwrap().intervals;
        let mut reached: Vec<_> = vec![Interval { low: i64::MAX, high: i64::MIN }; first.len()];
        for codes in all_inputs(&naive) {
            let trace = naive.trace(&codes);
            for (accumulators, intervals) in trace.iter().zip(graph.stages().map(|stage| stage.intervals)) {
                for (accumulator, interval) in accumulators.iter().zip(intervals) {
                    prop_assert!((interval.low..=interval.high).contains(accumulator));
                }
            }
            for (reached, &accumulator) in reached.iter_mut().zip(&trace[0]) {
                reached.low = reached.low.min(accumulator);
                reached.high = reached.high.max(accumulator);
            }
        }
        prop_assert_eq!(&reached, first, "the first layer's bounds are attained");
    }

    #[test]
    fn witnesses_bring_each_first_layer_neuron_to_both_ends(recipe in recipes()) {
        let naive = recipe.graph();
        let graph = naive.build();
        let (at_low, at_high) = graph.prove(None).unwrap().witnesses();
        for (neuron, interval) in graph.stages().next().unwrap().intervals.iter().enumerate() {
            let reach = |matrix: &[u16]| {
                let row = matrix.chunks(naive.n_features).nth(neuron).unwrap();
                let row: Vec<i64> = row.iter().map(|&code| code.into()).collect();
                naive.trace(&row)[0][neuron]
            };
            prop_assert_eq!(reach(&at_low), interval.low);
            prop_assert_eq!(reach(&at_high), interval.high);
        }
    }

    #[test]
    fn a_certificate_counts_bits_headroom_and_weights_of_each_neuron(recipe in recipes()) {
        let graph = recipe.graph().build();
        let certificate = graph.prove(None).unwrap();
        let mut widest = 0;
        for (layer, linear) in certificate.layers().iter().zip(graph.stages().map(|stage| stage.linear)) {
            let widths: Vec<u64> = layer.intervals().iter().map(|each| each.width()).collect();
            // The number of bits is the least n with width <= 2^n - 1.
            let bits = |width: u64| (0..64).find(|&n| width < 1 << n).unwrap();
            let expected: Vec<u8> = widths.iter().map(|&width| bits(width)).collect();
            let got: Vec<u8> = layer.neuron_bits().map(BitWidth::get).collect();
            prop_assert_eq!(&got, &expected);
            let layer_bits = *expected.iter().max().unwrap();
            prop_assert_eq!(layer.bits().get(), layer_bits);
            widest = widest.max(layer_bits);
            let room: Vec<u64> = widths.iter().map(|width| (1 << layer_bits) - 1 - width).collect();
            prop_assert_eq!(layer.headroom().collect::<Vec<_>>(), room);
            let dense = linear.to_dense();
            let rows = dense.chunks(linear.n_inputs());
            let nonzeros: Vec<_> =
                rows.map(|row| row.iter().filter(|&&weight| weight != 0).count()).collect();
            prop_assert_eq!(layer.nonzeros(), nonzeros);
        }
        prop_assert_eq!(certificate.max_accumulator_bits().get(), widest);
        let budget = widest.max(1);
        prop_assert!(graph.prove(Some(budget.into())).is_ok());
        if widest > 1 {
            prop_assert!(graph.prove(Some(i64::from(widest) - 1)).is_err());
        }
    }
}
