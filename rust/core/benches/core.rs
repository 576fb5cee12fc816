//! Simulation, proof and mask on the network of the digits data: 64 features, 32 neurons, 10 outputs.

use std::hint::black_box;

use cipherfit_core::prune::{MaskRequest, accumulator_mask};
use cipherfit_core::simulate::Options;
use cipherfit_core::{Input, IntegerGraph, LayerSpec, Linear, LookupSpec, Output};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const ROWS: usize = 10_000;

/// A weight in [-3, 3], zero in `sparsity` of 8 places, from its position alone.
fn weight(at: usize, sparsity: usize) -> i64 {
    let bits = at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
    if bits % 8 < sparsity { 0 } else { i64::try_from(bits / 8 % 7).unwrap_or(0) - 3 }
}

fn linear(n_inputs: usize, n_outputs: usize, sparsity: usize) -> Linear {
    let weights: Vec<_> = (0..n_inputs * n_outputs).map(|at| weight(at, sparsity)).collect();
    Linear::from_dense(n_inputs, &weights, vec![0; n_outputs]).expect("sizes agree")
}

fn digits() -> IntegerGraph {
    let hidden = linear(64, 32, 6);
    let table = |neuron| {
        let (_, weights) = hidden.row(neuron);
        let width: u64 = weights.iter().map(|weight| weight.unsigned_abs() * 7).sum();
        (0..=i64::try_from(width).unwrap_or(0)).map(|index| index % 8).collect()
    };
    let tables = (0..32).map(table).collect();
    let lookup = LookupSpec { low: None, lsbs: 0, exact: true, tables };
    let layers = vec![
        LayerSpec::Linear(hidden),
        LayerSpec::Lookup(lookup),
        LayerSpec::Linear(linear(32, 10, 5)),
    ];
    let input = Input::new(vec![1.0; 64], vec![0; 64], 3).expect("a quantizer");
    let output = Output::new(vec![1.0; 10], vec![0.0; 10]).expect("a dequantizer");
    IntegerGraph::from_layers(input, layers, output).expect("a graph")
}

fn simulate(criterion: &mut Criterion) {
    let graph = digits();
    let codes: Vec<u16> = (0..64 * ROWS).map(|at| u16::try_from(at % 8).unwrap_or(0)).collect();
    let x: Vec<f32> = codes.iter().map(|&code| f32::from(code)).collect();
    let options = Options { noise: None, n_threads: 1.try_into().ok(), path: None };
    let mut group = criterion.benchmark_group("simulate");
    group.throughput(Throughput::Elements(ROWS as u64));
    let mut accumulators = vec![0; 10 * ROWS];
    group.bench_function("codes", |bencher| {
        bencher.iter(|| graph.simulate_into(black_box(&codes), &mut accumulators, options));
    });
    let mut values = vec![0.0; 10 * ROWS];
    group.bench_function("run", |bencher| {
        bencher.iter(|| graph.run_into(black_box(&x), &mut values, options));
    });
    group.finish();
}

fn prove(criterion: &mut Criterion) {
    let graph = digits();
    criterion.bench_function("prove", |bencher| bencher.iter(|| black_box(&graph).prove(Some(10))));
}

#[expect(clippy::cast_precision_loss, reason = "any spread will do")]
fn mask(criterion: &mut Criterion) {
    let weights: Vec<_> = (0..784 * 128).map(|at| weight(at, 0)).collect();
    let (low, high) = (vec![0; 784], vec![7; 784]);
    let mut mask = vec![false; weights.len()];
    let mut group = criterion.benchmark_group("mask of 128 x 784");
    let floats: Vec<f32> = (0..weights.len()).map(|at| (at as f32 * 0.618).fract()).collect();
    let cases =
        [("all fit", 16, None), ("pruned", 8, None), ("by importance", 8, Some(&floats[..]))];
    for (name, n_accum_bits, importance) in cases {
        let request = MaskRequest {
            weights: &weights,
            low: &low,
            high: &high,
            n_accum_bits,
            importance,
            reserve: 0,
        };
        group.bench_function(name, |bencher| {
            bencher.iter(|| accumulator_mask(black_box(&request), &mut mask));
        });
    }
    group.finish();
}

criterion_group!(benches, simulate, prove, mask);
criterion_main!(benches);
