//! Stored graphs: the same when read back, refused when damaged, never a panic.

use crate::common::random::{cases, recipes};
use crate::common::simulate;
use cipherfit_core::error::SerializationError;
use cipherfit_core::{Input, IntegerGraph, LayerSpec, Linear, Output};
use proptest::prelude::*;

proptest! {
    #![proptest_config(cases(1000))]

    #[test]
    fn a_graph_read_back_is_equal(recipe in recipes()) {
        let graph = recipe.graph().build();
        let bytes = graph.to_bytes();
        let copy = IntegerGraph::from_bytes(&bytes).unwrap();
        prop_assert_eq!(&copy, &graph);
        prop_assert_eq!(copy.digest(), graph.digest());
        prop_assert_eq!(copy.to_bytes(), bytes);
        let codes = recipe.codes(5);
        prop_assert_eq!(simulate(&copy, &codes, None, 1), simulate(&graph, &codes, None, 1));
    }

    #[test]
    fn damaged_bytes_are_refused_or_give_a_graph_that_runs(
        recipe in recipes(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<Option<prop::sample::Index>>(),
    ) {
        let mut bytes = recipe.graph().build().to_bytes();
        for (at, value) in damage {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        if let Ok(graph) = IntegerGraph::from_bytes(&bytes) {
            let codes = vec![graph.input().max_code(); 3 * graph.n_features()];
            simulate(&graph, &codes, None, 1);
            graph.prove(None).unwrap();
        }
    }

    #[test]
    fn a_shortened_graph_is_refused(recipe in recipes(), cut in any::<prop::sample::Index>()) {
        let bytes = recipe.graph().build().to_bytes();
        prop_assert!(IntegerGraph::from_bytes(&bytes[..cut.index(bytes.len())]).is_err());
    }
}

fn smallest() -> IntegerGraph {
    let input = Input::new(vec![1.0], vec![-1], 3).unwrap();
    let linear = Linear::from_dense(1, &[2], vec![5]).unwrap();
    let output = Output::new(vec![1.0], vec![0.0]).unwrap();
    IntegerGraph::from_layers(input, vec![LayerSpec::Linear(linear)], output).unwrap()
}

/// The format is a promise to files that exist: if this fails, its version must rise.
#[test]
fn the_stored_form_is_the_one_that_version_1_defines() {
    let mut expected = b"cipherfit-graph\n\x01\x00".to_vec();
    expected.extend([1, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f]); // input: one scale, 1.0
    expected.extend([1, 1, 3]); // one zero point, -1 in zigzag; 3 bits
    expected.push(0); // all codes
    expected.push(0); // no hidden layers
    expected.extend([1, 1, 1, 1, 1, 0, 1, 4, 1, 10]); // head: 1 input, row ends, columns, 2, offset 5
    expected.extend([1, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f]); // output: one scale, 1.0
    expected.extend([1, 0, 0, 0, 0, 0, 0, 0, 0]); // one offset, 0.0
    expected.push(0); // no client layers
    assert_eq!(smallest().to_bytes(), expected);
}

#[test]
fn a_claim_of_a_huge_size_reserves_no_memory() {
    let bytes = smallest().to_bytes();
    let mut claim = bytes[..18].to_vec();
    claim.extend([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]);
    let error = IntegerGraph::from_bytes(&claim).unwrap_err();
    assert!(matches!(error, SerializationError::Damaged { .. }), "{error}");
}

#[test]
fn graphs_that_differ_in_one_offset_are_not_equal() {
    let other = Output::new(vec![1.0], vec![1e-300]).unwrap();
    let layer = LayerSpec::Linear(smallest().head().clone());
    let other = IntegerGraph::from_layers(smallest().input().clone(), vec![layer], other).unwrap();
    assert_ne!(other, smallest());
    assert_eq!(smallest(), smallest());
}
