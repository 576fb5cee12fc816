//! Noise stays within its proof, and the proof is tight.

use super::{Pair, graph};
use crate::client::decode;
use crate::parameters::Parameters;

#[test]
fn measured_noise_is_below_the_proven_bound() {
    let weights: Vec<i64> = (0..640).map(|at| (at * 7919) % 31 - 15).collect();
    let pair = Pair::new(&graph(64, 4, &weights));
    let codes: Vec<u16> = (0..64).map(|at| at % 16).collect();
    let request = pair.client.encrypt_row(&codes).unwrap();
    let mut largest = 0;
    for _ in 0..30 {
        let (envelope, seed, mut reader) = pair.open(&request);
        let mut run = pair.run(envelope.layout);
        run.flooding = 1;
        let grid = envelope.grid(pair.server.specs());
        let product = run.products(&mut reader, &seed, 0).unwrap().remove(0);
        let hidden = run.hide(product, 0..10, 1).unwrap();
        let phase = pair.phase(&hidden);
        for output in 0..10 {
            let row = &weights[output * 64..][..64];
            let sum = row.iter().zip(&codes).map(|(weight, &code)| weight * i64::from(code)).sum();
            largest = largest.max(pair.noise(&phase, grid.sum_of(0, output), sum).unsigned_abs());
        }
    }
    let bound = pair.server.noise().next().unwrap().hidden;
    assert!(u128::from(largest) <= bound, "{largest} > {bound}");
    assert!(
        u128::from(largest) * 1000 > bound,
        "the bound is of another order: {largest}, {bound}"
    );
}

/// Worst errors meet every coefficient of the weights' polynomials with its sign: 21 times their
/// sum.
#[test]
fn the_bound_counts_every_coefficient_that_errors_meet() {
    let weights: Vec<i64> = (0..640).map(|at| (at * 7919) % 31 - 15).collect();
    let pair = Pair::new(&graph(64, 4, &weights));
    let specs = pair.server.specs();
    for (grid, noise) in specs.grids().iter().zip(pair.server.noise()) {
        let of_group = |group| -> u64 {
            let chunks =
                (0..grid.chunks()).map(|chunk| pair.server.coefficients(grid, group, chunk));
            chunks.flatten().map(i64::unsigned_abs).sum()
        };
        let largest = (0..grid.groups()).map(of_group).max().unwrap();
        let degree = specs.parameters().degree() as u128;
        assert_eq!(noise.hidden, 21 * (u128::from(largest) + 2 * degree));
    }
}

#[test]
fn the_whole_budget_is_within_half_a_step() {
    let pair = Pair::new(&graph(128, 4, &[15; 1280]));
    for noise in pair.server.noise() {
        assert_eq!(noise.hidden + noise.rounding + noise.flooding, noise.limit);
        let bits = noise.statistical_bits(10);
        assert!((noise.hidden * 10) << bits <= 2 * noise.flooding);
        assert!((noise.hidden * 10) << (bits + 1) > 2 * noise.flooding);
        assert!(bits >= u32::from(pair.server.specs().flooding_bits()));
    }
}

#[test]
fn every_sum_survives_any_noise_below_half_a_step_and_none_more() {
    for set in Parameters::sets() {
        for sum_bits in 2..=63 {
            let Some(parameters) = Parameters::new(set, sum_bits).unwrap() else { continue };
            let modulus = parameters.ring().modulus();
            let half = 1_i128 << (parameters.scale_bits() - 1);
            let phase = |sum: i64, noise: i128| {
                let phase = (i128::from(sum) << parameters.scale_bits()) + noise;
                phase.rem_euclid(modulus.cast_signed()).cast_unsigned()
            };
            let read = |phase| decode(phase, modulus, parameters.scale_bits());
            let largest = i64::MAX >> (64 - sum_bits);
            for sum in [-largest, -1, 0, 1, largest] {
                for noise in [-half, -half + 1, 0, half - 1] {
                    assert_eq!(read(phase(sum, noise)), sum, "{set} {sum_bits}");
                    assert_eq!(read(phase(sum, noise) + modulus), sum, "{set} {sum_bits}");
                }
                assert_ne!(read(phase(sum, half)), sum, "{set} {sum_bits}");
            }
        }
    }
}
