//! Promises that show inside only: noise, masks and arithmetic.

mod noise;
mod parameters;
mod privacy;
mod ring;
mod sampling;

use cipherfit_core::{Input, IntegerGraph, LayerSpec, Linear, Output};

use crate::answer::{Product, Run};
use crate::client::{Client, REQUEST_MASK};
use crate::envelope::Envelope;
use crate::keys::{PublicKey, SecretKey, read_polynomial};
use crate::server::Server;
use crate::wire::{Kind, Reader};

fn graph(n_features: usize, n_bits: i64, weights: &[i64]) -> IntegerGraph {
    let n_outputs = weights.len() / n_features;
    let input = Input::new(vec![1.0; n_features], vec![0; n_features], n_bits).unwrap();
    let linear = Linear::from_dense(n_features, weights, vec![0; n_outputs]).unwrap();
    let output = Output::new(vec![1.0; n_outputs], vec![0.0; n_outputs]).unwrap();
    IntegerGraph::from_layers(input, vec![LayerSpec::Linear(linear)], output).unwrap()
}

struct Pair {
    server: Server,
    client: Client,
    key: PublicKey,
}

impl Pair {
    fn new(graph: &IntegerGraph) -> Self {
        let server = Server::new(graph, None).unwrap();
        let specs = server.specs().clone();
        let client = Client::new(specs.clone(), SecretKey::generate(&specs).unwrap());
        let key = PublicKey::from_bytes(&specs, &client.key().public_key(&specs)).unwrap();
        Self { server, client, key }
    }

    fn run(&self, layout: usize) -> Run<'_> {
        Run::new(&self.server, layout, &self.key).unwrap()
    }

    /// The reader of a request behind its envelope and seed, and both.
    fn open<'a>(&self, request: &'a [u8]) -> (Envelope, [u8; 32], Reader<'a>) {
        let specs = self.server.specs();
        let mut reader = Reader::of(Kind::Request, specs.digest(), request).unwrap();
        let envelope = Envelope::read(specs, &mut reader).unwrap();
        let seed = reader.array().unwrap();
        (envelope, seed, reader)
    }

    /// The errors of a request's ciphertexts of one block: what the client itself knows.
    fn errors(&self, request: &[u8], messages: &[Vec<i64>]) -> Vec<Vec<i64>> {
        let parameters = self.server.specs().parameters();
        let ring = parameters.ring();
        let (_, seed, mut reader) = self.open(request);
        let error = |(index, message): (usize, &Vec<i64>)| {
            let mut phase = read_polynomial(&mut reader, ring).unwrap();
            let mut mask = ring.uniform(REQUEST_MASK, &seed, index as u64);
            ring.forward(&mut phase);
            ring.forward(&mut mask);
            self.add_key_times(&mut phase, mask);
            ring.backward(&mut phase);
            let scaled = |code: i64| i128::from(code) << parameters.scale_bits();
            let codes = message.iter().enumerate();
            codes.map(|(at, &code)| self.centered(&phase, at, scaled(code))).collect()
        };
        messages.iter().enumerate().map(error).collect()
    }

    /// `poly += mask * secret key`, all as values.
    fn add_key_times(&self, poly: &mut [u64], mut mask: Vec<u64>) {
        let ring = self.server.specs().parameters().ring();
        ring.multiply(&mut mask, self.client.key().polynomial());
        ring.add(poly, &mask);
    }

    /// A coefficient's distance from a message.
    fn centered(&self, phase: &[u64], at: usize, message: i128) -> i64 {
        let ring = self.server.specs().parameters().ring();
        let modulus = ring.modulus().cast_signed();
        let distance = (ring.compose(phase, at).cast_signed() - message).rem_euclid(modulus);
        let distance = if distance > modulus / 2 { distance - modulus } else { distance };
        i64::try_from(distance).unwrap()
    }

    /// What a hidden product, as coefficients, holds under the key.
    fn phase(&self, product: &Product) -> Vec<u64> {
        let ring = self.server.specs().parameters().ring();
        let (mut phase, mut mask) = (product.body.clone(), product.mask.clone());
        ring.forward(&mut phase);
        ring.forward(&mut mask);
        self.add_key_times(&mut phase, mask);
        ring.backward(&mut phase);
        phase
    }

    /// The noise of a phase at a coefficient that holds `sum`.
    fn noise(&self, phase: &[u64], at: usize, sum: i64) -> i64 {
        let scale_bits = self.server.specs().parameters().scale_bits();
        self.centered(phase, at, i128::from(sum) << scale_bits)
    }
}
