//! Arithmetic against its naive definition.

use crate::parameters::Parameters;
use crate::ring::Ring;
use crate::sampling::Stream;

fn rings() -> impl Iterator<Item = Ring> {
    Parameters::sets().map(|set| Parameters::new(set, 2).unwrap().unwrap().ring().clone())
}

/// One coefficient of the product modulo `X^N + 1`, from integers.
fn coefficient(left: &[i64], right: &[i64], at: usize, modulus: i128) -> i128 {
    let term = |index: usize| {
        let other = (at + left.len() - index) % left.len();
        let sign = if index > at { -1 } else { 1 };
        sign * i128::from(left[index]) * i128::from(right[other])
    };
    (0..left.len()).map(term).sum::<i128>().rem_euclid(modulus)
}

#[test]
fn products_are_negacyclic() {
    for ring in rings() {
        let mut stream = Stream::fresh().unwrap();
        let left = stream.errors(ring.degree());
        let right: Vec<i64> =
            (0..ring.degree()).map(|_| stream.below(1 << 40).cast_signed() - (1 << 39)).collect();
        let mut poly = ring.small(&left).to_vec();
        ring.forward(&mut poly);
        let mut product = ring.zero();
        ring.multiply_add(&mut product, &poly, &ring.factors(&right));
        ring.backward(&mut product);
        let modulus = ring.modulus().cast_signed();
        for at in [0, 1, 500, ring.degree() - 1] {
            let expected = coefficient(&left, &right, at, modulus);
            assert_eq!(ring.compose(&product, at).cast_signed(), expected);
        }
    }
}

#[test]
fn sums_of_products_by_integers_are_exact() {
    for ring in rings() {
        let left = Stream::fresh().unwrap().errors(ring.degree());
        let poly = ring.small(&left);
        let mut sum = ring.zero();
        let scalars = [i64::MAX, i64::MIN, -1, 0, 1, 12_345];
        for scalar in scalars {
            ring.scale_add(&mut sum, &poly, ring.scalar(scalar));
        }
        let factor: i128 = scalars.into_iter().map(i128::from).sum();
        for at in 0..ring.degree() {
            let expected = (i128::from(left[at]) * factor).rem_euclid(ring.modulus().cast_signed());
            assert_eq!(ring.compose(&sum, at).cast_signed(), expected);
        }
    }
}

#[test]
fn integers_survive_their_residues() {
    for ring in rings() {
        let mut stream = Stream::fresh().unwrap();
        let mut poly = ring.zero();
        for at in 0..ring.degree() {
            let value = stream.below_u128(ring.modulus());
            ring.decompose(&mut poly, at, value);
            assert_eq!(ring.compose(&poly, at), value);
        }
        ring.decompose(&mut poly, 0, 5);
        ring.add_to_coefficient(&mut poly, 0, -7);
        assert_eq!(ring.compose(&poly, 0), ring.modulus() - 2);
    }
}
