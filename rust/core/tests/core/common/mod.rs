//! An independent, naive graph: rows one by one, in `i128`, from the semantics as written down.

pub mod random;

use cipherfit_core::simulate::{Noise, Options, Path, Simulator};
use cipherfit_core::{Input, IntegerGraph, LayerSpec, Linear, LookupSpec, Output};

#[derive(Debug, Clone)]
pub struct NaiveGraph {
    pub n_bits: u8,
    pub n_features: usize,
    pub layers: Vec<NaiveLayer>,
}

#[derive(Debug, Clone)]
pub enum NaiveLayer {
    Linear { weights: Vec<Vec<i64>>, offset: Vec<i64> },
    Lookup { low: Vec<i64>, lsbs: u32, exact: bool, tables: Vec<Vec<i64>> },
}

impl NaiveGraph {
    pub fn max_code(&self) -> i64 {
        (1 << self.n_bits) - 1
    }

    pub fn n_outputs(&self) -> usize {
        match self.layers.last() {
            Some(NaiveLayer::Linear { offset, .. }) => offset.len(),
            _ => panic!("a graph ends with a linear layer"),
        }
    }

    /// Accumulators of every linear layer for one row of codes.
    pub fn trace(&self, codes: &[i64]) -> Vec<Vec<i64>> {
        let mut codes = codes.to_vec();
        let mut trace: Vec<Vec<i64>> = Vec::new();
        for layer in &self.layers {
            match layer {
                NaiveLayer::Linear { weights, offset } => {
                    let sum = |row: &Vec<i64>| -> i128 {
                        row.iter().zip(&codes).map(|(&w, &c)| i128::from(w) * i128::from(c)).sum()
                    };
                    let sums = weights.iter().zip(offset);
                    let accumulators = sums.map(|(row, &add)| sum(row) + i128::from(add));
                    trace.push(accumulators.map(|sum| i64::try_from(sum).unwrap()).collect());
                }
                NaiveLayer::Lookup { low, lsbs, tables, .. } => {
                    let half = if *lsbs == 0 { 0 } else { 1_i128 << (lsbs - 1) };
                    let code = |neuron: usize| {
                        let sum = trace.last().unwrap()[neuron];
                        let index = (i128::from(sum) - i128::from(low[neuron]) + half) >> lsbs;
                        tables[neuron][usize::try_from(index).unwrap()]
                    };
                    codes = (0..low.len()).map(code).collect();
                }
            }
        }
        trace
    }

    pub fn simulate(&self, codes: &[u16]) -> Vec<i64> {
        let rows = codes.chunks(self.n_features);
        rows.flat_map(|row| {
            let row: Vec<i64> = row.iter().map(|&code| code.into()).collect();
            self.trace(&row).pop().unwrap()
        })
        .collect()
    }

    /// Codes after the lookup with this number, counted from 1, row by row.
    pub fn codes_after(&self, lookup: usize, codes: &[u16]) -> Vec<i64> {
        let first = Self { layers: self.layers[..2 * lookup].to_vec(), ..self.clone() };
        let n = match first.layers.last() {
            Some(NaiveLayer::Lookup { low, .. }) => low.len(),
            _ => panic!("lookups are at odd places"),
        };
        // A last layer that copies: the trace is of accumulators.
        let copy = |to: usize| (0..n).map(|from| i64::from(from == to)).collect();
        let mut layers = first.layers.clone();
        layers.push(NaiveLayer::Linear { weights: (0..n).map(copy).collect(), offset: vec![0; n] });
        Self { layers, ..first }.simulate(codes)
    }

    pub fn specs(&self) -> Vec<LayerSpec> {
        let spec = |layer: &NaiveLayer| match layer {
            NaiveLayer::Linear { weights, offset } => {
                let n_inputs = weights[0].len();
                let linear = Linear::from_dense(n_inputs, &weights.concat(), offset.clone());
                LayerSpec::Linear(linear.unwrap())
            }
            NaiveLayer::Lookup { low, lsbs, exact, tables } => LayerSpec::Lookup(LookupSpec {
                low: Some(low.clone()),
                lsbs: (*lsbs).into(),
                exact: *exact,
                tables: tables.clone(),
            }),
        };
        self.layers.iter().map(spec).collect()
    }

    pub fn build(&self) -> IntegerGraph {
        IntegerGraph::from_layers(self.input(), self.specs(), self.output()).unwrap()
    }

    pub fn input(&self) -> Input {
        let n = self.n_features;
        Input::new(vec![0.5; n], vec![1; n], self.n_bits.into()).unwrap()
    }

    pub fn output(&self) -> Output {
        let n = self.n_outputs();
        Output::new(vec![0.25; n], vec![-1.0; n]).unwrap()
    }
}

/// A linear layer, a lookup and another linear layer, of one neuron each, on one input of one bit.
pub fn two_layers() -> Vec<NaiveLayer> {
    let linear = || NaiveLayer::Linear { weights: vec![vec![1]], offset: vec![0] };
    let tables = vec![vec![1, 0]];
    let lookup = NaiveLayer::Lookup { low: vec![0], lsbs: 0, exact: true, tables };
    vec![linear(), lookup, linear()]
}

/// Simulates on the path that is chosen by default.
pub fn simulate(
    graph: &IntegerGraph,
    codes: &[u16],
    noise: Option<Noise>,
    n_threads: usize,
) -> Vec<i64> {
    simulate_on(None, graph, codes, noise, n_threads)
}

/// Simulates on a path.
pub fn simulate_on(
    path: Option<Path>,
    graph: &IntegerGraph,
    codes: &[u16],
    noise: Option<Noise>,
    n_threads: usize,
) -> Vec<i64> {
    let mut out = vec![0; codes.len() / graph.n_features() * graph.n_outputs()];
    let options = Options { noise, n_threads: n_threads.try_into().ok(), path };
    Simulator::new(graph.clone()).simulate_into(codes, &mut out, options).unwrap();
    out
}

/// Every path that this machine has, and the default.
pub fn paths() -> Vec<Option<Path>> {
    let paths = Path::ALL.into_iter().filter(|path| path.is_available());
    paths.map(Some).chain([None]).collect()
}
