//! Errors say what is wrong, with which value, and what is allowed.

use cipherfit_bfv::{Client, PublicKey, SecretKey, Server, Specs};
use cipherfit_core::{Input, IntegerGraph, LayerSpec, Linear, LookupSpec, Output};

use crate::common::{Layer, Pair};

fn says<T>(result: Result<T, cipherfit_bfv::Error>, expected: &str) {
    let Err(error) = result else { panic!("no error, where one should say {expected}") };
    assert!(error.to_string().contains(expected), "{error}");
}

fn layer() -> Layer {
    Layer::random(1, (20, 3), 4, 15)
}

fn graph_with_lookup() -> IntegerGraph {
    let input = Input::new(vec![1.0], vec![0], 1).unwrap();
    let linear = || LayerSpec::Linear(Linear::from_dense(1, &[1], vec![0]).unwrap());
    let lookup = LookupSpec { low: None, lsbs: 0, exact: true, tables: vec![vec![0, 1]] };
    let output = Output::new(vec![1.0], vec![0.0]).unwrap();
    IntegerGraph::from_layers(input, vec![linear(), LayerSpec::Lookup(lookup), linear()], output)
        .unwrap()
}

#[test]
fn graphs_that_do_not_fit_say_why() {
    says(Server::new(&graph_with_lookup(), None), "the graph has 1 lookups, and BFV adds");
    says(Server::new(&layer().graph(), Some(65)), "flooding_bits must be in [0, 64], got 65");
    says(Server::new(&layer().graph(), Some(-1)), "flooding_bits must be in [0, 64], got -1");
    let widest = Layer::random(1, (60, 1), 16, 1 << 38);
    says(Server::new(&widest.graph(), Some(64)), "no parameters fit: sums of ");
}

#[test]
fn rows_that_do_not_fit_are_named() {
    let pair = Pair::new(&layer().graph(), None).unwrap();
    let mut codes = vec![0; 40];
    says(pair.client.encrypt(&codes[1..]), "must have 20 entries per row, got 39 entries");
    says(pair.client.encrypt_row(&codes), "must have 20 entries per row, got 40 entries");
    codes[23] = 16;
    says(pair.client.encrypt(&codes), "code 16 at row 1, column 3 is outside [0, 15]");
    says(pair.client.specs().codes_from(&[3, -1]), "code -1 at row 0, column 1 is outside [0, 15]");
}

#[test]
fn codes_outside_their_features_intervals_are_named() {
    let input = Input::new(vec![1.0; 2], vec![0; 2], 4).unwrap();
    let input = input.with_codes(&[0, 3], &[15, 5]).unwrap();
    let linear = Linear::from_dense(2, &[1, 1], vec![0]).unwrap();
    let output = Output::new(vec![1.0], vec![0.0]).unwrap();
    let graph = IntegerGraph::from_layers(input, vec![LayerSpec::Linear(linear)], output).unwrap();
    let pair = Pair::new(&graph, None).unwrap();
    assert_eq!(pair.round_trip(&[15, 5, 0, 3]).unwrap(), [20, 3]);
    for code in [2, 6] {
        let expected = format!("code {code} at row 1, column 1 is outside [3, 5]");
        says(pair.client.encrypt(&[15, 5, 0, code]), &expected);
        says(pair.client.specs().codes_from(&[15, 5, 0, code.into()]), &expected);
    }
    says(pair.client.specs().codes_from(&[16, 5]), "code 16 at row 0, column 0 is outside [0, 15]");
    let specs = Specs::from_bytes(&pair.client.specs().to_bytes()).unwrap();
    says(specs.codes_from(&[15, 6]), "column 1 is outside [3, 5]");
}

#[test]
fn messages_of_others_are_refused() {
    let pair = Pair::new(&layer().graph(), None).unwrap();
    let specs = pair.client.specs();
    let stranger = Client::new(specs.clone(), SecretKey::generate(specs).unwrap());
    let request = stranger.encrypt(&[0; 20]).unwrap();
    says(pair.server.run(&request, &pair.public_key), "request was made under other keys");
    let key = PublicKey::from_bytes(specs, &stranger.key().public_key(specs)).unwrap();
    let answer = pair.server.run(&request, &key).unwrap();
    says(pair.client.decrypt(&answer), "answer was made under other keys");

    let other = Pair::new(&Layer::random(1, (20, 4), 4, 15).graph(), None).unwrap();
    says(
        other.server.run(&request, &other.public_key),
        "encrypted rows for a circuit with other parameters",
    );
    says(pair.server.run(&request, &other.public_key), "public key for a circuit with other");
    says(other.client.decrypt(&answer), "encrypted sums for a circuit with other");
    says(pair.client.decrypt(&request), "expected encrypted sums, got encrypted rows");
}

#[test]
fn bytes_that_are_no_message_say_so() {
    let bytes = layer().graph().to_bytes();
    says(Specs::from_bytes(&bytes), "not a message of cipherfit's BFV");
    let server = Server::new(&layer().graph(), None).unwrap();
    let mut specs = server.specs().to_bytes();
    specs.push(0);
    says(Specs::from_bytes(&specs), "1 bytes follow after the end");
    specs[14] = 9;
    says(Specs::from_bytes(&specs), "message version 9 can't be read; this version reads 1");
    specs[16] = 99;
    specs[14] = 1;
    says(Specs::from_bytes(&specs), "expected specs, got an unknown kind of message");
}

#[test]
fn a_secret_key_is_not_shown() {
    let pair = Pair::new(&layer().graph(), None).unwrap();
    let shown = format!("{:?}", pair.client.key());
    assert_eq!(shown, "SecretKey(..)");
}
