//! What a client that knows its keys and its own errors can't see.

use super::{Pair, graph};

const WEIGHTS: [i64; 6] = [90, -37, 0, 64, -100, 5];
const REQUESTS: u16 = 6;

/// Each weight estimated from noise: `sum(error * noise) / sum(error^2)`, over many rows.
fn estimated_weights(flooding: Option<u128>) -> Vec<f64> {
    let pair = Pair::new(&graph(WEIGHTS.len(), 4, &WEIGHTS));
    let rows = pair.server.specs().parameters().degree();
    let (mut products, mut squares) = (vec![0.0; WEIGHTS.len()], vec![0.0; WEIGHTS.len()]);
    for request in 0..REQUESTS {
        let codes: Vec<_> = (0..rows * WEIGHTS.len())
            .map(|at| u16::try_from(at * 7 + usize::from(request)).map_or(3, |code| code % 16))
            .collect();
        let encrypted = pair.client.encrypt(&codes).unwrap();
        let (envelope, seed, mut reader) = pair.open(&encrypted);
        assert!(envelope.grid(pair.server.specs()).is_scalar());
        let feature = |feature| {
            codes.iter().skip(feature).step_by(WEIGHTS.len()).map(|&code| code.into()).collect()
        };
        let messages: Vec<Vec<i64>> = (0..WEIGHTS.len()).map(feature).collect();
        let errors = pair.errors(&encrypted, &messages);
        assert!(errors.iter().flatten().all(|error| error.abs() <= 21));
        let mut run = pair.run(envelope.layout);
        run.flooding = flooding.unwrap_or(run.flooding);
        let product = run.products(&mut reader, &seed, 0).unwrap().remove(0);
        let hidden = run.hide(product, 0..1, rows).unwrap();
        let phase = pair.phase(&hidden);
        let sum = |row: usize| -> i64 {
            messages.iter().zip(WEIGHTS).map(|(codes, weight)| codes[row] * weight).sum()
        };
        let noise: Vec<_> = (0..rows).map(|row| pair.noise(&phase, row, sum(row))).collect();
        for row in 0..rows {
            for (feature, errors) in errors.iter().enumerate() {
                #[expect(clippy::cast_precision_loss, reason = "an estimate")]
                let (error, noise) = (errors[row] as f64, noise[row] as f64);
                products[feature] += error * noise;
                squares[feature] += error * error;
            }
        }
    }
    products.iter().zip(&squares).map(|(product, square)| product / square).collect()
}

fn largest_miss(estimates: &[f64]) -> f64 {
    let misses = estimates
        .iter()
        .zip(WEIGHTS)
        .map(|(estimate, weight)| (estimate - f64::from(i32::try_from(weight).unwrap())).abs());
    misses.fold(0.0, f64::max)
}

#[test]
fn noise_betrays_weights_without_flooding_and_not_with_it() {
    assert!(largest_miss(&estimated_weights(Some(1))) < 15.0, "the attack works");
    assert!(largest_miss(&estimated_weights(None)) > 1e4, "flooding stops it");
}

/// How far the highest four bits of numbers modulo `modulus` are from even, in standard deviations
/// of the chi-square distribution with 15 degrees of freedom.
fn unevenness(values: &[u128], modulus: u128) -> f64 {
    let mut counts = [0.0; 16];
    for value in values {
        counts[usize::try_from(value * 16 / modulus).unwrap()] += 1.0;
    }
    let expected = f64::from(u32::try_from(values.len()).unwrap()) / 16.0;
    let chi_square: f64 =
        counts.iter().map(|count: &f64| (count - expected).powi(2) / expected).sum();
    (chi_square - 15.0) / 30.0_f64.sqrt()
}

#[test]
fn masks_are_not_the_clients_times_the_weights() {
    let pair = Pair::new(&graph(8, 4, &[1, -2, 3, -4, 5, -6, 7, -8]));
    let ring = pair.server.specs().parameters().ring();
    let request = pair.client.encrypt_row(&[9; 8]).unwrap();
    let product = || {
        let (envelope, seed, mut reader) = pair.open(&request);
        let run = pair.run(envelope.layout);
        (run.products(&mut reader, &seed, 0).unwrap().remove(0), envelope.layout)
    };
    let mut plain = product().0.mask;
    ring.backward(&mut plain);
    let hidden = || {
        let (product, layout) = product();
        pair.run(layout).hide(product, 0..1, 1).unwrap().mask
    };
    let modulus = ring.modulus();
    let difference = |left: &[u64], right: &[u64]| -> Vec<u128> {
        (0..ring.degree())
            .map(|at| (ring.compose(left, at) + modulus - ring.compose(right, at)) % modulus)
            .collect()
    };
    let (first, second) = (hidden(), hidden());
    for pair in [(&first, &plain), (&first, &second), (&first, &vec![0; ring.length()])] {
        assert!(unevenness(&difference(pair.0, pair.1), modulus) < 6.0);
    }
    // Without re-randomization, all three would be what this is: 0.
    assert!(unevenness(&difference(&plain, &plain), modulus) > 100.0);
}

#[test]
fn an_answer_holds_masks_and_sums_and_nothing_else() {
    let pair = Pair::new(&graph(128, 4, &[1; 1280]));
    let specs = pair.server.specs();
    let request = pair.client.encrypt_row(&[9; 128]).unwrap();
    let answer = pair.server.run(&request, &pair.key).unwrap();
    let bits = specs.parameters().rounded_bits() as usize;
    let head = crate::wire::head_bytes() + crate::envelope::ENVELOPE_BYTES;
    assert_eq!(answer.len(), head + bits * 2048 / 8 + (bits * 10).div_ceil(8));
}
