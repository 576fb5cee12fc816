//! Simulated errors of lookups: how often, how far, and that they repeat.

use crate::common::random::{cases, packed_recipes, recipes};
use crate::common::{NaiveGraph, NaiveLayer, paths, simulate, simulate_on};
use cipherfit_core::IntegerGraph;
use cipherfit_core::simulate::Noise;
use proptest::prelude::*;

/// `n` copies of one 4-bit input, each through an identity table to an output of its own.
fn identity(n: usize) -> NaiveGraph {
    let unit = |row: usize| (0..n).map(|column| i64::from(row == column)).collect();
    NaiveGraph {
        n_bits: 4,
        n_features: n,
        layers: vec![
            NaiveLayer::Linear { weights: (0..n).map(unit).collect(), offset: vec![0; n] },
            NaiveLayer::Lookup {
                low: vec![0; n],
                lsbs: 0,
                exact: true,
                tables: vec![(0..16).collect(); n],
            },
            NaiveLayer::Linear { weights: (0..n).map(unit).collect(), offset: vec![0; n] },
        ],
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts are small")]
#[test]
fn lookups_err_at_the_given_rate_up_and_down_alike() {
    let (n, rows) = (20, 20_000);
    let codes = vec![7; n * rows];
    for p_error in [1e-3, 0.05, 0.5] {
        let noise = Noise::new(p_error, 42).unwrap();
        let out = simulate(&identity(n).build(), &codes, Some(noise), 2);
        let count = |value| out.iter().filter(|&&got| got == value).count();
        let (down, up) = (count(6), count(8));
        assert_eq!(down + up + count(7), out.len(), "an error is one step");
        let (errors, trials) = ((down + up) as f64, out.len() as f64);
        let spread = (trials * p_error * (1.0 - p_error)).sqrt();
        assert!((errors - trials * p_error).abs() < 5.0 * spread, "{errors} of {trials}");
        assert!((down as f64 - errors / 2.0).abs() < 5.0 * (errors / 4.0).sqrt());
        for neuron in 0..n {
            let neuron = out.iter().skip(neuron).step_by(n).filter(|&&got| got != 7).count();
            let (trials, neuron) = (rows as f64, neuron as f64);
            let spread = (trials * p_error * (1.0 - p_error)).sqrt();
            assert!((neuron - trials * p_error).abs() < 6.0 * spread, "every neuron errs alike");
        }
    }
}

/// Error rates that the model gives for a place in a step, computed apart: normal tail areas for
/// `p_error` 0.01 and 0.05 by place, of `scipy.stats.norm`.
#[expect(clippy::cast_precision_loss, reason = "counts are small")]
#[test]
fn approximate_lookups_err_by_their_distance_from_the_threshold() {
    // Places -0.375, -0.125, 0.125, 0.375 in a step of 4; down, then up.
    let cases = [
        (
            0.01,
            [
                [0.259_802, 3.2e-6],
                [0.026_688, 0.000_641],
                [0.000_641, 0.026_688],
                [3.2e-6, 0.259_802],
            ],
        ),
        (
            0.05,
            [
                [0.312_070, 0.000_302],
                [0.070_785, 0.007_144],
                [0.007_144, 0.070_785],
                [0.000_302, 0.312_070],
            ],
        ),
    ];
    let rows = 200_000;
    for (p_error, places) in cases {
        // Index 2 is read from the sums 6 to 9.
        for (code, rates) in (6..10).zip(places) {
            let graph = index_graph(false);
            let noise = Noise::new(p_error, 7).unwrap();
            let out = simulate(&graph, &vec![code; rows], Some(noise), 2);
            for (index, rate) in [(1, rates[0]), (3, rates[1])] {
                let count = out.iter().filter(|&&got| got == index).count() as f64;
                let expected = rows as f64 * rate;
                assert!((count - expected).abs() < 5.0 * expected.sqrt() + 5.0, "{code}: {count}");
            }
        }
    }
    let noise = Noise::new(0.05, 7).unwrap();
    let out = simulate(&index_graph(true), &vec![9; rows], Some(noise), 2);
    let errors = out.iter().filter(|&&got| got != 2).count() as f64;
    assert!((errors - 10_000.0).abs() < 500.0, "exact rounding errs anywhere alike: {errors}");
}

/// One 4-bit input, rounded to its two upper bits by a lookup that gives its own index.
fn index_graph(exact: bool) -> IntegerGraph {
    let unit = || NaiveLayer::Linear { weights: vec![vec![1]], offset: vec![0] };
    let lookup =
        NaiveLayer::Lookup { low: vec![0], lsbs: 2, exact, tables: vec![(0..5).collect()] };
    NaiveGraph { n_bits: 4, n_features: 1, layers: vec![unit(), lookup, unit()] }.build()
}

#[test]
fn an_error_beyond_the_end_of_a_table_reads_the_end() {
    let graph = identity(1).build();
    let noise = Some(Noise::new(1.0, 1).unwrap());
    let at = |code| simulate(&graph, &[code; 100], noise, 1);
    assert!(at(0).iter().all(|&got| got == 0 || got == 1));
    assert!(at(15).iter().all(|&got| got == 14 || got == 15));
    assert!(at(7).iter().all(|&got| got == 6 || got == 8), "with certainty, all err");
}

proptest! {
    #![proptest_config(cases(100))]

    #[test]
    fn errors_depend_on_the_seed_but_not_on_threads_paths_or_later_rows(
        recipe in prop_oneof![recipes(), packed_recipes()],
        p_error in 0.0..=1.0_f64,
        seed in any::<u64>(),
    ) {
        let graph = recipe.graph().build();
        let codes = recipe.codes(1500);
        let noise = Some(Noise::new(p_error, seed).unwrap());
        let whole = simulate(&graph, &codes, noise, 1);
        prop_assert_eq!(&simulate(&graph, &codes, noise, 3), &whole);
        for path in paths() {
            prop_assert_eq!(&simulate_on(path, &graph, &codes, noise, 2), &whole, "{:?}", path);
        }
        let rows = 700;
        let some = simulate(&graph, &codes[..rows * graph.n_features()], noise, 2);
        prop_assert_eq!(&some[..], &whole[..rows * graph.n_outputs()]);
    }

    #[test]
    fn without_errors_the_result_is_exact(recipe in recipes(), seed in any::<u64>()) {
        let graph = recipe.graph().build();
        let codes = recipe.codes(200);
        let noise = Some(Noise::new(0.0, seed).unwrap());
        prop_assert_eq!(simulate(&graph, &codes, noise, 1), simulate(&graph, &codes, None, 1));
    }
}

#[test]
fn another_seed_gives_other_errors() {
    let graph = identity(4).build();
    let codes = vec![7; 4000];
    let with_seed = |seed| simulate(&graph, &codes, Some(Noise::new(0.5, seed).unwrap()), 1);
    assert_ne!(with_seed(1), with_seed(2));
}
