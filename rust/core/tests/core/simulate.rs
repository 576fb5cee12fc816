//! The fast simulation against the naive graph.

use crate::common::random::{Recipe, cases, packed_recipes, recipes, wide_recipes};
use crate::common::{paths, simulate, simulate_on};
use cipherfit_core::Input;
use cipherfit_core::error::InputError;
use cipherfit_core::simulate::{Options, Simulator};
use proptest::prelude::*;

const BATCHES: [usize; 10] = [0, 1, 2, 6, 63, 64, 65, 257, 513, 1000];

fn any_recipes() -> impl Strategy<Value = Recipe> {
    prop_oneof![4 => recipes(), 4 => packed_recipes(), 1 => wide_recipes()]
}

proptest! {
    #![proptest_config(cases(2000))]

    #[test]
    fn every_path_gives_the_same_integers_as_the_naive_graph(
        recipe in any_recipes(),
        rows in prop::sample::select(&BATCHES[..]),
        threads in 1..=3_usize,
    ) {
        let naive = recipe.graph();
        let (graph, codes) = (naive.build(), recipe.codes(rows));
        let expected = naive.simulate(&codes);
        for path in paths() {
            prop_assert_eq!(&simulate_on(path, &graph, &codes, None, threads), &expected, "{:?}", path);
        }
    }

    #[test]
    fn running_is_quantizing_then_simulating_then_dequantizing(
        recipe in any_recipes(),
        rows in prop::sample::select(&BATCHES[..9]),
        threads in 1..=3_usize,
    ) {
        let simulator = Simulator::new(recipe.graph().build());
        // Half steps around code 0 and beyond both ends.
        let x: Vec<f32> =
            recipe.codes(rows).iter().map(|&code| f32::from(code).mul_add(0.375, -2.0)).collect();
        let threads = threads.try_into().ok();
        let mut codes = vec![0; x.len()];
        simulator.quantize_into(&x, &mut codes, threads).unwrap();
        let accumulators = simulate(simulator.graph(), &codes, None, 1);
        let mut values = vec![0.0; accumulators.len()];
        simulator.dequantize_into(&accumulators, &mut values).unwrap();
        for path in paths() {
            let options = Options { noise: None, n_threads: threads, path };
            let mut fused = vec![0.0; accumulators.len()];
            simulator.run_into(&x, &mut fused, options).unwrap();
            prop_assert_eq!(&fused, &values, "{:?}", path);
        }
    }

    /// The first value of each code and its neighbours are where a quantizer could go wrong: between
    /// them codes don't change.
    #[test]
    fn every_path_quantizes_as_division_does_beside_every_tie(
        scale in scales(),
        zero_point in prop_oneof![-20..300_i64, Just(1 << 20), Just(-(1 << 40))],
        n_bits in 1..=8_i64,
        n_features in 1..40_usize,
    ) {
        let input = Input::new(vec![scale; n_features], vec![zero_point; n_features], n_bits);
        let simulator = Simulator::new(identity(input.unwrap()));
        let mut x: Vec<f32> = (0..=1 << n_bits).flat_map(|code| {
            #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "near")]
            let tie = ((code - zero_point) as f64 * scale - scale / 2.0) as f32;
            let down = std::iter::successors(Some(tie), |x| Some(x.next_down())).take(4);
            let up = std::iter::successors(Some(tie), |x| Some(x.next_up())).take(4);
            down.chain(up)
        }).collect();
        x.extend([0.0, -0.0, 1e-45, f32::MIN_POSITIVE, -1e-45, 1e30, -1e30, f32::MAX, f32::MIN]);
        #[expect(clippy::cast_possible_truncation, reason = "far from any tie")]
        x.extend([-4e7, -2e7, -1.4e7, -6e6, 6e6, 2e7].map(|steps| (steps * scale) as f32));
        x.retain(|x| x.is_finite());
        x.resize(x.len().next_multiple_of(n_features), 0.5);
        let mut codes = vec![0; x.len()];
        simulator.quantize_into(&x, &mut codes, None).unwrap();
        let expected: Vec<f64> = codes.iter().map(|&code| code.into()).collect();
        for path in paths() {
            let mut values = vec![0.0; x.len()];
            let options = Options { path, ..Options::default() };
            simulator.run_into(&x, &mut values, options).unwrap();
            prop_assert_eq!(&values, &expected, "{:?}", path);
        }
    }

    #[test]
    fn codes_are_rounded_half_to_even_then_clamped(
        x in prop::collection::vec(prop_oneof![
            -1e3..1e3_f64,
            (-2000..2000_i32).prop_map(|half_steps| f64::from(half_steps) * 0.5),
            prop::num::f64::NORMAL,
        ], 1..20),
        scale in prop_oneof![Just(1.0), Just(0.5), Just(f64::MIN_POSITIVE), 1e-3..1e3_f64],
        zero_point in prop_oneof![-300..300_i64, Just(1 << 50), Just(-(1 << 50))],
        n_bits in 1..=16_i64,
    ) {
        let n = x.len();
        let input = Input::new(vec![scale; n], vec![zero_point; n], n_bits).unwrap();
        let simulator = Simulator::new(one_neuron(input));
        let mut codes = vec![0; n];
        simulator.quantize_into(&x, &mut codes, None).unwrap();
        for (&x, &code) in x.iter().zip(&codes) {
            #[expect(clippy::cast_precision_loss, reason = "2^50 is exact")]
            let shifted = (x / scale).round_ties_even() + zero_point as f64;
            let expected = shifted.clamp(0.0, f64::from((1 << n_bits) - 1));
            prop_assert_eq!(f64::from(code).to_bits(), (expected + 0.0).to_bits(), "x = {}", x);
        }
    }
}

/// Scales whose ties are floats, scales whose reciprocals are, both and neither.
fn scales() -> impl Strategy<Value = f64> {
    prop_oneof![
        (-20..20_i32).prop_map(|exponent| 2.0_f64.powi(exponent)),
        (1..40_i32).prop_map(f64::from),
        (1..40_i32).prop_map(|steps| 1.0 / f64::from(steps)),
        (1..40_i32).prop_map(|steps| 16.0 / f64::from(steps)),
        (1..40_u16).prop_map(|steps| f64::from(f32::from(steps) / 255.0)),
        1e-6..1e6_f64,
        (1e-6..1e6_f32).prop_map(|reciprocal| 1.0 / f64::from(reciprocal)),
        Just(1e-40),
        Just(1e36),
    ]
}

/// Each feature's code as an output of its own.
fn identity(input: Input) -> cipherfit_core::IntegerGraph {
    use cipherfit_core::{IntegerGraph, LayerSpec, Linear, Output};
    let n = input.n_features();
    let weights: Vec<_> = (0..n * n).map(|at| i64::from(at % (n + 1) == 0)).collect();
    let linear = Linear::from_dense(n, &weights, vec![0; n]).unwrap();
    let output = Output::new(vec![1.0; n], vec![0.0; n]).unwrap();
    IntegerGraph::from_layers(input, vec![LayerSpec::Linear(linear)], output).unwrap()
}

fn one_neuron(input: Input) -> cipherfit_core::IntegerGraph {
    use cipherfit_core::{IntegerGraph, LayerSpec, Linear, Output};
    let n = input.n_features();
    let linear = Linear::from_dense(n, &vec![1; n], vec![0]).unwrap();
    let output = Output::new(vec![1.0], vec![0.0]).unwrap();
    IntegerGraph::from_layers(input, vec![LayerSpec::Linear(linear)], output).unwrap()
}

#[test]
fn the_first_bad_value_is_named_whatever_the_threads() {
    let simulator = Simulator::new(one_neuron(Input::new(vec![1.0; 3], vec![0; 3], 4).unwrap()));
    let mut codes = vec![0_u16; 3 * 5000];
    let mut x = vec![0.0_f32; 3 * 5000];
    for row in [4999, 2222, 1001] {
        codes[row * 3 + 1] = 16;
        x[row * 3 + 2] = f32::NEG_INFINITY;
    }
    for (path, threads) in paths().into_iter().flat_map(|path| (1..=4).map(move |n| (path, n))) {
        let n_threads = threads.try_into().ok();
        let options = Options { noise: None, n_threads, path };
        let error = simulator.simulate_into(&codes, &mut vec![0; 5000], options).unwrap_err();
        let expected =
            InputError::CodeOutOfRange { row: 1001, column: 1, value: 16, low: 0, high: 15 };
        assert_eq!(error, expected);
        let value = f64::NEG_INFINITY;
        let expected = InputError::NotFinite { name: "X", row: 1001, column: 2, value };
        assert_eq!(simulator.run_into(&x, &mut vec![0.0; 5000], options), Err(expected.clone()));
        assert_eq!(simulator.quantize_into(&x, &mut vec![0; 15000], n_threads), Err(expected));
    }
}

#[test]
fn single_precision_is_widened_before_it_is_divided() {
    // 0.1 as f32 is above 0.1, so with scale 0.1 / 1.5 the quotient is above a half step.
    let simulator =
        Simulator::new(one_neuron(Input::new(vec![0.1_f64 / 1.5], vec![0], 4).unwrap()));
    let mut code = [0];
    simulator.quantize_into(&[0.1_f32], &mut code, None).unwrap();
    assert_eq!(code, [2]);
    simulator.quantize_into(&[0.1_f64 - 1e-12], &mut code, None).unwrap();
    assert_eq!(code, [1]);
}

#[test]
fn clones_of_a_simulator_give_the_same_in_any_thread() {
    let simulator = Simulator::new(one_neuron(Input::new(vec![0.5; 3], vec![0; 3], 4).unwrap()));
    let run = |simulator: &Simulator| {
        let (codes, mut out) = (vec![7; 3 * 300], vec![0; 300]);
        simulator.simulate_into(&codes, &mut out, Options::default()).unwrap();
        out
    };
    let threads = [0; 4].map(|_| {
        let clone = simulator.clone();
        std::thread::spawn(move || run(&clone))
    });
    for thread in threads {
        assert_eq!(thread.join().unwrap(), vec![21; 300]);
    }
    assert_eq!(run(&simulator), vec![21; 300]);
}
