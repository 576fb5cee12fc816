//! Simulation, proof and mask on the network of the digits data: 64 features, 32 neurons, 10 outputs.

use std::hint::black_box;

use cipherfit_core::simulate::{Noise, Options, Path, Simulator};
use cipherfit_core::training::mask::{MaskRequest, accumulator_mask};
use cipherfit_core::{Input, IntegerGraph, LayerSpec, Linear, LookupSpec, Output};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};

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
    let simulator = Simulator::new(digits());
    let codes: Vec<u16> = (0..64 * ROWS).map(|at| u16::try_from(at % 8).unwrap_or(0)).collect();
    let x: Vec<f32> = codes.iter().map(|&code| f32::from(code)).collect();
    let mut group = criterion.benchmark_group("simulate");
    group.throughput(Throughput::Elements(ROWS as u64));
    let mut accumulators = vec![0; 10 * ROWS];
    let mut values = vec![0.0; 10 * ROWS];
    for path in Path::ALL.into_iter().filter(|path| path.is_available()) {
        let exact = Options { noise: None, n_threads: 1.try_into().ok(), path: Some(path) };
        let noisy = Options { noise: Noise::new(0.01, 0).ok(), ..exact };
        for (name, options) in [("exact", exact), ("noisy", noisy)] {
            group.bench_function(format!("{path:?}, codes, {name}"), |bencher| {
                bencher.iter(|| {
                    simulator.simulate_into(black_box(&codes), &mut accumulators, options)
                });
            });
        }
        group.bench_function(format!("{path:?}, run"), |bencher| {
            bencher.iter(|| simulator.run_into(black_box(&x), &mut values, exact));
        });
    }
    group.finish();
}

/// Building a graph proves every interval; a certificate then only gathers them.
fn prove(criterion: &mut Criterion) {
    let graph = digits();
    criterion.bench_function("prove", |bencher| bencher.iter(|| black_box(&graph).prove(Some(10))));
    let n = 4096;
    let large = linear(n, n, 0);
    let input = Input::new(vec![1.0; n], vec![0; n], 3).expect("a quantizer");
    let output = Output::new(vec![1.0; n], vec![0.0; n]).expect("a dequantizer");
    let mut group = criterion.benchmark_group("layer of 4096 x 4096");
    group.sample_size(10);
    group.bench_function("prove", |bencher| {
        let layer = || vec![LayerSpec::Linear(large.clone())];
        bencher.iter_batched(
            || (input.clone(), layer(), output.clone()),
            |(input, layers, output)| IntegerGraph::from_layers(input, layers, output)?.prove(None),
            BatchSize::PerIteration,
        );
    });
    let weights: Vec<_> = (0..n * n).map(|at| weight(at, 0)).collect();
    group.bench_function("one pass over its weights", |bencher| {
        bencher
            .iter(|| black_box(&weights).iter().map(|weight| weight.unsigned_abs()).sum::<u64>());
    });
    let (low, high, mut mask) = (vec![0; n], vec![7; n], vec![false; n * n]);
    let request = MaskRequest {
        weights: &weights,
        low: &low,
        high: &high,
        n_accum_bits: 8,
        importance: None,
        reserve: 0,
    };
    group.bench_function("mask", |bencher| {
        bencher.iter(|| accumulator_mask(black_box(&request), &mut mask));
    });
    group.finish();
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
