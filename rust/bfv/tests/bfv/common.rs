//! Heads, rows, and the naive sums that tests hold the scheme against.

use cipherfit_bfv::{Client, Error, PublicKey, SecretKey, Server};
use cipherfit_core::{Input, IntegerGraph, LayerSpec, Linear, Output};

/// Reproducible numbers (splitmix64): tests need no cryptography for their inputs.
pub struct Numbers(pub u64);

impl Numbers {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// In `[low, high]`.
    pub fn between(&mut self, low: i64, high: i64) -> i64 {
        low + i64::try_from(self.next() % high.abs_diff(low).saturating_add(1)).unwrap()
    }
}

/// A linear layer, dense.
pub struct Layer {
    pub n_features: usize,
    pub n_outputs: usize,
    pub n_bits: i64,
    pub weights: Vec<i64>,
    pub offset: Vec<i64>,
}

impl Layer {
    /// Random weights of at most `weight` in magnitude.
    pub fn random(
        seed: u64,
        (n_features, n_outputs): (usize, usize),
        n_bits: i64,
        weight: i64,
    ) -> Self {
        let mut numbers = Numbers(seed);
        let weights =
            (0..n_features * n_outputs).map(|_| numbers.between(-weight, weight)).collect();
        let offset = (0..n_outputs).map(|_| numbers.between(-9, 9)).collect();
        Self { n_features, n_outputs, n_bits, weights, offset }
    }

    pub fn graph(&self) -> IntegerGraph {
        let ones = |count| vec![1.0; count];
        let input =
            Input::new(ones(self.n_features), vec![0; self.n_features], self.n_bits).unwrap();
        let linear =
            Linear::from_dense(self.n_features, &self.weights, self.offset.clone()).unwrap();
        let output = Output::new(ones(self.n_outputs), vec![0.0; self.n_outputs]).unwrap();
        IntegerGraph::from_layers(input, vec![LayerSpec::Linear(linear)], output).unwrap()
    }

    pub fn max_code(&self) -> u16 {
        u16::MAX >> (16 - self.n_bits)
    }

    pub fn random_rows(&self, seed: u64, rows: usize) -> Vec<u16> {
        let mut numbers = Numbers(seed);
        let max = i64::from(self.max_code());
        (0..rows * self.n_features)
            .map(|_| u16::try_from(numbers.between(0, max)).unwrap())
            .collect()
    }

    /// The rows that reach each output's minimum and maximum.
    pub fn witnesses(&self) -> Vec<u16> {
        let max = self.max_code();
        let reaching = |sign: i64| {
            self.weights.iter().map(move |weight| if weight * sign > 0 { max } else { 0 })
        };
        reaching(1).chain(reaching(-1)).collect()
    }

    pub fn sums(&self, codes: &[u16]) -> Vec<i64> {
        let sum = |row: &[u16], output: usize| {
            let weights = &self.weights[output * self.n_features..][..self.n_features];
            let products = row.iter().zip(weights).map(|(&code, weight)| i64::from(code) * weight);
            products.sum::<i64>() + self.offset[output]
        };
        let rows = codes.chunks_exact(self.n_features);
        rows.flat_map(|row| (0..self.n_outputs).map(move |output| sum(row, output))).collect()
    }
}

/// A client and a server that trust each other with nothing.
pub struct Pair {
    pub server: Server,
    pub client: Client,
    pub public_key: PublicKey,
}

impl Pair {
    pub fn new(graph: &IntegerGraph, flooding_bits: Option<i64>) -> Result<Self, Error> {
        let server = Server::new(graph, flooding_bits)?;
        let specs = server.specs().clone();
        let client = Client::new(specs.clone(), SecretKey::generate(&specs)?);
        let public_key = PublicKey::from_bytes(&specs, &client.key().public_key(&specs))?;
        Ok(Self { server, client, public_key })
    }

    pub fn round_trip(&self, codes: &[u16]) -> Result<Vec<i64>, Error> {
        let request = self.client.encrypt(codes)?;
        let rows = codes.len() / self.client.specs().n_features();
        assert_eq!(request.len(), self.client.specs().request_bytes(rows));
        let answer = self.server.run(&request, &self.public_key)?;
        assert_eq!(answer.len(), self.client.specs().answer_bytes(rows));
        Ok(self.client.decrypt(&answer)?.values)
    }
}
