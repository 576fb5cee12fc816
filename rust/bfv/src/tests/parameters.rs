//! Parameters are those of the standard.

use crate::parameters::{Parameters, STANDARD};
use crate::sampling::ERROR_BOUND;

/// Table 1 of the standard: 128 bits of classical security, ternary secrets.
const TABLE: [(usize, u32); 5] = [(1024, 27), (2048, 54), (4096, 109), (8192, 218), (16384, 438)];

#[test]
fn no_modulus_is_larger_than_the_standard_allows() {
    assert_eq!(STANDARD, TABLE);
    for set in Parameters::sets() {
        let parameters = Parameters::new(set, 2).unwrap().unwrap();
        let degree = parameters.degree();
        let (_, allowed) = TABLE.into_iter().find(|&(each, _)| each == degree).unwrap();
        assert!(parameters.modulus_bits() <= allowed, "{degree}: {}", parameters.modulus_bits());
        assert_eq!(parameters.modulus_bits(), parameters.ring().modulus().ilog2() + 1);
    }
    assert_eq!(Parameters::sets().count(), 5);
}

#[test]
fn errors_are_as_wide_as_the_standard_asks() {
    let variance = f64::from(ERROR_BOUND) / 2.0;
    assert!(variance.sqrt() >= 8.0 / std::f64::consts::TAU.sqrt());
}

#[test]
fn primes_split_and_are_prime() {
    for set in Parameters::sets() {
        let parameters = Parameters::new(set, 2).unwrap().unwrap();
        for prime in parameters.ring().primes() {
            assert_eq!(prime % (2 * parameters.degree() as u64), 1);
            assert!(is_prime(prime));
        }
    }
}

/// Miller-Rabin with the bases that decide every 64-bit number.
fn is_prime(number: u64) -> bool {
    let twos = (number - 1).trailing_zeros();
    let power = |base: u64, mut exponent: u64| {
        let (mut result, mut base) = (1, u128::from(base));
        let modulus = u128::from(number);
        while exponent > 0 {
            if exponent & 1 == 1 {
                result = result * base % modulus;
            }
            base = base * base % modulus;
            exponent >>= 1;
        }
        u64::try_from(result).unwrap()
    };
    [2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37].into_iter().all(|base| {
        let odd = (number - 1) >> twos;
        power(base, odd) == 1 || (0..twos).any(|two| power(base, odd << two) == number - 1)
    })
}
