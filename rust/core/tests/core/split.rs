//! A graph cut in two: each half has what falls to it, and one after the other they are the whole.

use crate::common::random::{SplitMix, cases, packed_recipes, recipes, small_recipes};
use crate::common::{NaiveGraph, paths, simulate, simulate_on};
use cipherfit_core::IntegerGraph;
use cipherfit_core::simulate::{Noise, Options, Simulator};
use proptest::prelude::*;

fn halves(graph: &IntegerGraph) -> impl Iterator<Item = (usize, IntegerGraph, IntegerGraph)> {
    (1..=graph.hidden().len()).map(|n| {
        let (client, server) = graph.split(n).unwrap();
        (n, client, server)
    })
}

fn narrowed(codes: &[i64]) -> Vec<u16> {
    codes.iter().map(|&code| u16::try_from(code).unwrap()).collect()
}

fn check(naive: &NaiveGraph, codes: &[u16]) -> Result<(), TestCaseError> {
    let graph = naive.build();
    let whole = naive.simulate(codes);
    for (n, client, server) in halves(&graph) {
        let between = naive.codes_after(n, codes);
        for path in paths() {
            prop_assert_eq!(&simulate_on(path, &client, codes, None, 1), &between);
            prop_assert_eq!(&simulate_on(path, &server, &narrowed(&between), None, 1), &whole);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(cases(300))]

    #[test]
    fn halves_compose_on_every_input_of_small_graphs(recipe in small_recipes()) {
        let naive = recipe.graph();
        let (base, n) = (naive.max_code() + 1, u32::try_from(naive.n_features).unwrap());
        let inputs = (0..base.pow(n)).flat_map(|input| {
            (0..n).map(move |feature| u16::try_from(input / base.pow(feature) % base).unwrap())
        });
        check(&naive, &inputs.collect::<Vec<_>>())?;
    }

    #[test]
    fn halves_compose_on_random_rows(recipe in recipes()) {
        check(&recipe.graph(), &recipe.codes(300))?;
    }

    #[test]
    fn halves_compose_in_packed_kernels(recipe in packed_recipes()) {
        check(&recipe.graph(), &recipe.codes(300))?;
    }

    #[test]
    fn the_proof_of_the_halves_is_that_of_the_whole(recipe in recipes()) {
        let graph = recipe.graph().build();
        let whole: Vec<_> = graph.stages().map(|stage| stage.intervals.to_vec()).collect();
        for (n, client, server) in halves(&graph) {
            let both = client.stages().chain(server.stages());
            prop_assert_eq!(&both.map(|stage| stage.intervals.to_vec()).collect::<Vec<_>>(), &whole);
            prop_assert_eq!(client.stages().count(), n);
        }
    }

    #[test]
    fn halves_read_back_are_equal(recipe in recipes()) {
        for (_, client, server) in halves(&recipe.graph().build()) {
            for half in [client, server] {
                let copy = IntegerGraph::from_bytes(&half.to_bytes()).unwrap();
                prop_assert_eq!(copy.to_bytes(), half.to_bytes());
            }
        }
    }

    #[test]
    fn only_what_is_encrypted_errs(recipe in packed_recipes(), p_error in 0.01..0.6) {
        let graph = recipe.graph().build();
        let codes = recipe.codes(300);
        let noise = Noise::new(p_error, 7).unwrap();
        for (n, client, server) in halves(&graph) {
            let marked = graph.clone().with_client_layers(n).unwrap();
            let exact = simulate(&client, &codes, None, 1);
            for path in paths() {
                prop_assert_eq!(&simulate_on(path, &client, &codes, Some(noise), 1), &exact);
                let by_server = simulate_on(path, &server, &narrowed(&exact), Some(noise), 1);
                prop_assert_eq!(&simulate_on(path, &marked, &codes, Some(noise), 1), &by_server);
            }
            prop_assert_eq!(marked.n_lookups(), server.n_lookups());
            prop_assert_eq!(client.n_lookups(), 0);
            prop_assert_ne!(marked.digest(), graph.digest());
        }
    }

    #[test]
    fn codes_that_the_client_never_sends_are_refused(recipe in packed_recipes()) {
        let graph = recipe.graph().build();
        for (_, _, server) in halves(&graph) {
            let simulator = Simulator::new(server.clone());
            let inputs = server.input().codes();
            for (column, interval) in inputs.iter().enumerate() {
                let outside = [interval.low.checked_sub(1), interval.high.checked_add(1)];
                for code in outside.into_iter().flatten() {
                    for path in paths() {
                        let mut codes: Vec<u16> = inputs.iter().map(|codes| codes.low).collect();
                        codes[column] = code;
                        let mut out = vec![0; server.n_outputs()];
                        let options = Options { path, ..Options::default() };
                        let result = simulator.simulate_into(&codes, &mut out, options);
                        let message = result.unwrap_err().to_string();
                        let (low, high) = (interval.low, interval.high);
                        let expected = format!(
                            "code {code} at row 0, column {column} is outside [{low}, {high}]"
                        );
                        prop_assert_eq!(message, expected);
                    }
                }
            }
        }
    }

    #[test]
    fn reals_are_clamped_to_the_codes_of_each_feature(recipe in packed_recipes(), seed in any::<u64>()) {
        let graph = recipe.graph().build();
        let mut random = SplitMix(seed);
        for (_, _, server) in halves(&graph) {
            let n = server.n_features();
            let doubled: Vec<i64> = (0..40 * n).map(|_| random.between(-600, 600)).collect();
            let half = |doubled: &i64| f32::from(i16::try_from(*doubled).unwrap()) / 2.0;
            let x: Vec<f32> = doubled.iter().map(half).collect();
            let code = |(at, &doubled): (usize, &i64)| {
                let interval = server.input().codes()[at % n];
                // Half to even: of an odd number the half below or above is even.
                let whole = doubled.div_euclid(2);
                let rounded = whole + doubled.rem_euclid(2) * whole.rem_euclid(2);
                u16::try_from(rounded.clamp(interval.low.into(), interval.high.into())).unwrap()
            };
            let codes: Vec<u16> = doubled.iter().enumerate().map(code).collect();
            let expected = simulate(&server, &codes, None, 1);
            for path in paths() {
                let mut out = vec![0.0; 40 * server.n_outputs()];
                let options = Options { path, ..Options::default() };
                Simulator::new(server.clone()).run_into(&x, &mut out, options).unwrap();
                let mut reals = vec![0.0; expected.len()];
                Simulator::new(server.clone()).dequantize_into(&expected, &mut reals).unwrap();
                prop_assert_eq!(&out, &reals);
            }
        }
    }
}

#[test]
fn a_cut_that_leaves_nothing_is_refused() {
    let naive = NaiveGraph { n_bits: 1, n_features: 1, layers: crate::common::two_layers() };
    let graph = naive.build();
    let cut = |graph: &IntegerGraph, n| graph.split(n).unwrap_err().to_string();
    assert_eq!(cut(&graph, 0), "layers: n must be in [1, 1], got 0");
    assert_eq!(cut(&graph, 2), "layers: n must be in [1, 1], got 2");
    let (client, server) = graph.split(1).unwrap();
    assert_eq!(cut(&client, 1), "layers: at least one linear layer is needed");
    assert_eq!(cut(&server, 1), "layers: there is no lookup that the graph could be cut after");
    let error = graph.with_client_layers(2).unwrap_err().to_string();
    assert_eq!(error, "layers: n_client_layers must be in [0, 1], got 2");
}
