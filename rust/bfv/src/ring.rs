//! Polynomials modulo `X^N + 1` and `q`, a prime or a product of two.
//!
//! A polynomial is one slice: its residues modulo the first prime, then those modulo the second. It
//! holds coefficients, or values of the number-theoretic transform (NTT); the caller knows which.
//! Arithmetic is `fhe-math`'s in its constant-time form.

use fhe_math::ntt::NttOperator;
use fhe_math::zq::Modulus;
use zeroize::Zeroizing;

use crate::error::Error;
use crate::sampling::Stream;

/// A polynomial that nobody but its owner may see.
pub type Secret = Zeroizing<Vec<u64>>;

/// The ring: its degree and its primes.
#[derive(Debug, Clone)]
pub struct Ring {
    degree: usize,
    primes: Vec<Prime>,
    modulus: u128,
    /// Inverse of the first prime modulo the second.
    inverse: u64,
}

#[derive(Debug, Clone)]
struct Prime {
    modulus: Modulus,
    transform: NttOperator,
}

/// Factors in the transformed domain, each with its quotient for Shoup's multiplication.
#[derive(Debug, Clone)]
pub struct Factors {
    values: Vec<u64>,
    quotients: Vec<u64>,
}

/// An integer as a factor: its residue modulo each prime, with the quotient.
#[derive(Debug, Clone, Copy)]
pub struct Scalar([(u64, u64); MAX_PRIMES]);

const MAX_PRIMES: usize = 2;

impl Ring {
    /// The ring of degree `degree` modulo one or two primes that are 1 modulo `2 degree`.
    ///
    /// # Errors
    /// If they are not.
    pub fn new(degree: usize, primes: &[u64]) -> Result<Self, Error> {
        let unsuitable = || Error::Internal(format!("{primes:?} don't suit degree {degree}"));
        let moduli = primes.iter().map(|&prime| {
            let modulus = Modulus::new(prime).map_err(|_| unsuitable())?;
            let transform = NttOperator::new(&modulus, degree).ok_or_else(unsuitable)?;
            Ok(Prime { modulus, transform })
        });
        let moduli = moduli.collect::<Result<Vec<_>, Error>>()?;
        let inverse = match moduli.as_slice() {
            [_] => 0,
            [first, second] => {
                let first = second.modulus.reduce(*first.modulus);
                second.modulus.inv(first).ok_or_else(unsuitable)?
            }
            _ => return Err(unsuitable()),
        };
        let modulus = primes.iter().map(|&prime| u128::from(prime)).product();
        Ok(Self { degree, primes: moduli, modulus, inverse })
    }

    /// `N`.
    pub const fn degree(&self) -> usize {
        self.degree
    }

    /// `q`.
    pub const fn modulus(&self) -> u128 {
        self.modulus
    }

    /// The primes.
    pub fn primes(&self) -> impl Iterator<Item = u64> {
        self.primes.iter().map(|prime| *prime.modulus)
    }

    /// Numbers that a polynomial takes.
    pub const fn length(&self) -> usize {
        self.degree * self.primes.len()
    }

    /// The polynomial 0.
    pub fn zero(&self) -> Vec<u64> {
        vec![0; self.length()]
    }

    fn parts<'a>(
        &'a self,
        poly: &'a mut [u64],
    ) -> impl Iterator<Item = (&'a Prime, &'a mut [u64])> {
        self.primes.iter().zip(poly.chunks_exact_mut(self.degree))
    }

    /// Coefficients to values.
    pub fn forward(&self, poly: &mut [u64]) {
        self.parts(poly).for_each(|(prime, part)| prime.transform.forward(part));
    }

    /// Values to coefficients.
    pub fn backward(&self, poly: &mut [u64]) {
        self.parts(poly).for_each(|(prime, part)| prime.transform.backward(part));
    }

    /// `poly += other`.
    pub fn add(&self, poly: &mut [u64], other: &[u64]) {
        let others = other.chunks_exact(self.degree);
        self.parts(poly)
            .zip(others)
            .for_each(|((prime, part), other)| prime.modulus.add_vec(part, other));
    }

    /// `poly = other - poly`.
    pub fn subtract_from(&self, poly: &mut [u64], other: &[u64]) {
        for ((prime, part), other) in self.parts(poly).zip(other.chunks_exact(self.degree)) {
            prime.modulus.neg_vec(part);
            prime.modulus.add_vec(part, other);
        }
    }

    /// `poly *= other`, both as values.
    pub fn multiply(&self, poly: &mut [u64], other: &[u64]) {
        let others = other.chunks_exact(self.degree);
        self.parts(poly)
            .zip(others)
            .for_each(|((prime, part), other)| prime.modulus.mul_vec(part, other));
    }

    /// `sum += poly * factors`, all as values.
    pub fn multiply_add(&self, sum: &mut [u64], poly: &[u64], factors: &Factors) {
        let polys = poly.chunks_exact(self.degree);
        let values = factors.values.chunks_exact(self.degree);
        let quotients = factors.quotients.chunks_exact(self.degree);
        let others = polys.zip(values.zip(quotients));
        for ((prime, sums), (poly, (values, quotients))) in self.parts(sum).zip(others) {
            let factors = poly.iter().zip(values.iter().zip(quotients));
            for (sum, (&value, (&factor, &quotient))) in sums.iter_mut().zip(factors) {
                *sum = multiply_add(*sum, value, factor, quotient, *prime.modulus);
            }
        }
    }

    /// `sum += poly * scalar`, as values or as coefficients.
    pub fn scale_add(&self, sum: &mut [u64], poly: &[u64], scalar: Scalar) {
        let others = poly.chunks_exact(self.degree).zip(scalar.0);
        for ((prime, sums), (poly, (factor, quotient))) in self.parts(sum).zip(others) {
            for (sum, &value) in sums.iter_mut().zip(poly) {
                *sum = multiply_add(*sum, value, factor, quotient, *prime.modulus);
            }
        }
    }

    /// Adds an integer to one coefficient.
    pub fn add_to_coefficient(&self, poly: &mut [u64], index: usize, value: i128) {
        for (prime, part) in self.parts(poly) {
            let residue = residue(&prime.modulus, value);
            part[index] = prime.modulus.add(part[index], residue);
        }
    }

    /// The polynomial with these coefficients, whose magnitudes are below every prime; constant
    /// time.
    pub fn small(&self, coefficients: &[i64]) -> Secret {
        let mut poly = Zeroizing::new(self.zero());
        for (prime, part) in self.parts(&mut poly) {
            for (residue, &coefficient) in part.iter_mut().zip(coefficients) {
                let negative = (coefficient >> 63).cast_unsigned();
                *residue = coefficient.cast_unsigned().wrapping_add(negative & *prime.modulus);
            }
        }
        poly
    }

    /// The polynomial with these coefficients times `scale`.
    pub fn scaled(&self, coefficients: &[u16], scale: u128) -> Secret {
        let mut poly = Zeroizing::new(self.zero());
        for (prime, part) in self.parts(&mut poly) {
            for (residue, &coefficient) in part.iter_mut().zip(coefficients) {
                *residue = prime.modulus.reduce(coefficient.into());
            }
            let scale = prime.modulus.reduce_u128(scale);
            prime.modulus.scalar_mul_vec(part, scale);
        }
        poly
    }

    /// Factors from coefficients of any size.
    pub fn factors(&self, coefficients: &[i64]) -> Factors {
        let residues = self.primes.iter().map(|prime| prime.modulus.reduce_vec_i64(coefficients));
        let mut values = residues.collect::<Vec<_>>().concat();
        self.forward(&mut values);
        let parts = self.primes.iter().zip(values.chunks_exact(self.degree));
        let quotients = parts.map(|(prime, part)| prime.modulus.shoup_vec(part));
        Factors { quotients: quotients.collect::<Vec<_>>().concat(), values }
    }

    /// A factor from an integer.
    pub fn scalar(&self, value: i64) -> Scalar {
        let mut scalar = Scalar([(0, 0); MAX_PRIMES]);
        for (prime, factor) in self.primes.iter().zip(&mut scalar.0) {
            let residue = residue(&prime.modulus, value.into());
            *factor = (residue, prime.modulus.shoup(residue));
        }
        scalar
    }

    /// The uniform polynomial that stream `index` of a seed gives, as coefficients.
    pub fn uniform(&self, label: &str, seed: &[u8; 32], index: u64) -> Vec<u64> {
        let mut poly = self.zero();
        let mut stream = Stream::expand(label, seed, index);
        for (prime, part) in self.parts(&mut poly) {
            part.fill_with(|| stream.below(*prime.modulus));
        }
        poly
    }

    /// A coefficient as an integer in `[0, q)`.
    pub fn compose(&self, poly: &[u64], index: usize) -> u128 {
        let low = poly[index];
        let [first, second] = self.primes.as_slice() else { return low.into() };
        let modulus = &second.modulus;
        let difference = modulus.sub(poly[self.degree + index], modulus.reduce(low));
        let high = modulus.mul(difference, self.inverse);
        u128::from(low) + u128::from(*first.modulus) * u128::from(high)
    }

    /// Sets a coefficient to an integer in `[0, q)`.
    pub fn decompose(&self, poly: &mut [u64], index: usize, value: u128) {
        for (prime, part) in self.parts(poly) {
            part[index] = prime.modulus.reduce_u128(value);
        }
    }
}

/// `sum + value * factor` modulo a prime below `2^62`, by Shoup's quotient
/// `floor(factor 2^64 / prime)`; without branches.
#[inline]
const fn multiply_add(sum: u64, value: u64, factor: u64, quotient: u64, prime: u64) -> u64 {
    let quotient = ((value as u128 * quotient as u128) >> 64) as u64;
    // Below twice the prime, so that the total is below four times.
    let product = value.wrapping_mul(factor).wrapping_sub(quotient.wrapping_mul(prime));
    reduce_once(reduce_once(sum + product, 2 * prime), prime)
}

/// `value` in `[0, 2 bound)` to `[0, bound)`: what wraps is larger than what doesn't.
#[inline]
const fn reduce_once(value: u64, bound: u64) -> u64 {
    let reduced = value.wrapping_sub(bound);
    let wrapped = reduced >> 63;
    reduced.wrapping_add(wrapped.wrapping_neg() & bound)
}

fn residue(modulus: &Modulus, value: i128) -> u64 {
    let magnitude = modulus.reduce_u128(value.unsigned_abs());
    if value < 0 { modulus.neg(magnitude) } else { magnitude }
}
