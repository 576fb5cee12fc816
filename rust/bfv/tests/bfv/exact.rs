//! Decrypted sums are the sums, whatever the sizes.

use crate::common::{Layer, Pair};

fn holds(layer: &Layer, flooding_bits: Option<i64>, rows: usize) {
    let pair = Pair::new(&layer.graph(), flooding_bits).unwrap();
    let mut codes = layer.random_rows(1, rows);
    codes.extend(layer.witnesses().iter().take(40 * layer.n_features));
    codes.extend(vec![0; layer.n_features]);
    codes.extend(vec![layer.max_code(); layer.n_features]);
    assert_eq!(pair.round_trip(&codes).unwrap(), layer.sums(&codes));
    let row = &codes[..layer.n_features];
    assert_eq!(pair.round_trip(row).unwrap(), layer.sums(row));
}

#[test]
fn sums_are_exact_for_every_size_of_head() {
    for (seed, (n_features, n_outputs)) in (0..).zip([
        (1, 1),
        (1, 300),
        (2, 1),
        (3, 5),
        (64, 10),
        (128, 10),
        (300, 7),
        (784, 10),
        (2048, 1),
        (2049, 3),
        (5000, 1),
        (600, 300),
        (4, 2),
    ]) {
        holds(&Layer::random(seed, (n_features, n_outputs), 4, 15), None, 3);
    }
}

#[test]
fn sums_are_exact_for_every_number_of_rows() {
    let layer = Layer::random(7, (13, 6), 5, 31);
    let pair = Pair::new(&layer.graph(), None).unwrap();
    for rows in [0, 1, 2, 3, 5, 26, 27, 60, 157, 158, 400, 2047, 2048, 2049, 5000] {
        let codes = layer.random_rows(rows, usize::try_from(rows).unwrap());
        assert_eq!(pair.round_trip(&codes).unwrap(), layer.sums(&codes), "{rows} rows");
    }
}

#[test]
fn sums_are_exact_with_the_widest_weights_and_codes() {
    for (n_features, n_outputs, flooding) in
        [(5000, 2, None), (5000, 2, Some(40)), (200, 30, Some(40))]
    {
        let mut layer = Layer::random(3, (n_features, n_outputs), 16, 1 << 15);
        for weight in layer.weights.iter_mut().take(n_features) {
            *weight = 1 << 15;
        }
        holds(&layer, flooding, 2);
    }
}

#[test]
fn flooding_as_asked_takes_a_larger_ring() {
    let layer = Layer::random(5, (128, 10), 4, 15);
    let small = Pair::new(&layer.graph(), None).unwrap();
    let large = Pair::new(&layer.graph(), Some(40)).unwrap();
    println!("{} {}", small.client.specs().flooding_bits(), large.client.specs().flooding_bits());
    println!("{:?}", small.client.specs().grids());
    println!("{:?}", small.client.specs().parameters().dropped_bits());
    assert_eq!(small.client.specs().parameters().degree(), 2048);
    assert_eq!(large.client.specs().parameters().degree(), 4096);
    let codes = layer.random_rows(1, 3);
    assert_eq!(large.round_trip(&codes).unwrap(), layer.sums(&codes));
}
