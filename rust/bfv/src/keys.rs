//! A client's keys.

use std::fmt;

use zeroize::Zeroizing;

use crate::error::Error;
use crate::ring::{Ring, Secret};
use crate::sampling::{SEED_BYTES, Seed, Stream, fresh_seed, hash};
use crate::specs::{Specs, bits_of};
use crate::wire::{DIGEST_BYTES, Kind, MessageResult, Reader, Writer};

/// What names a pair of keys, and tells nothing of them.
pub(crate) type KeyName = [u8; DIGEST_BYTES];

const SECRET: &str = "cipherfit-bfv secret key";
const NAME: &str = "cipherfit-bfv key name";
const PUBLIC_SEED: &str = "cipherfit-bfv public seed";
const PUBLIC_ERROR: &str = "cipherfit-bfv public error";
/// Expands the uniform polynomial of a public key.
const PUBLIC_MASK: &str = "cipherfit-bfv public mask";

/// What decrypts: a ternary polynomial, drawn from a seed. Wiped when dropped, and never shown.
pub struct SecretKey {
    seed: Seed,
    name: KeyName,
    /// As values.
    polynomial: Secret,
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SecretKey(..)")
    }
}

impl SecretKey {
    /// A new one.
    ///
    /// # Errors
    /// If the system has no random bytes.
    pub fn generate(specs: &Specs) -> Result<Self, Error> {
        Ok(Self::from_seed(specs.parameters().ring(), fresh_seed()?))
    }

    /// Reads what [`SecretKey::to_bytes`] wrote.
    ///
    /// # Errors
    /// If the bytes are no secret key for these specs.
    pub fn from_bytes(specs: &Specs, message: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::of(Kind::SecretKey, specs.digest(), message)?;
        reader.expect(SEED_BYTES)?;
        Ok(Self::from_seed(specs.parameters().ring(), Zeroizing::new(reader.array()?)))
    }

    /// The key as bytes, which decrypt all that was ever encrypted under it: they are secret.
    #[must_use]
    pub fn to_bytes(&self, specs: &Specs) -> Zeroizing<Vec<u8>> {
        let mut writer = Writer::of(Kind::SecretKey, specs.digest(), 128);
        writer.bytes(self.seed.as_ref());
        Zeroizing::new(writer.finish())
    }

    fn from_seed(ring: &Ring, seed: Seed) -> Self {
        let trits = Stream::expand(SECRET, &seed, 0).ternary(ring.degree());
        let mut polynomial = ring.small(&trits);
        ring.forward(&mut polynomial);
        let mut name = KeyName::default();
        name.copy_from_slice(&hash(NAME, seed.as_ref())[..DIGEST_BYTES]);
        Self { seed, name, polynomial }
    }

    pub(crate) const fn name(&self) -> &KeyName {
        &self.name
    }

    /// As values.
    pub(crate) fn polynomial(&self) -> &[u64] {
        &self.polynomial
    }

    /// The public key as bytes: `(-(a s) + e, a)`, `a` as a seed. The same each time.
    #[must_use]
    pub fn public_key(&self, specs: &Specs) -> Vec<u8> {
        let ring = specs.parameters().ring();
        let public = hash(PUBLIC_SEED, self.seed.as_ref());
        let error = Stream::expand(PUBLIC_ERROR, &self.seed, 0).errors(ring.degree());
        let message = ring.small(&error);
        let body = self.mask(ring, &message, PUBLIC_MASK, &public, 0);
        let mut writer = Writer::of(Kind::PublicKey, specs.digest(), specs.public_key_bytes());
        writer.bytes(&self.name);
        writer.bytes(public.as_ref());
        write_polynomial(&mut writer, ring, &body);
        writer.finish()
    }

    /// `message - a s`, as coefficients, where `a` is stream `index` of a public seed.
    pub(crate) fn mask(
        &self,
        ring: &Ring,
        message: &Secret,
        label: &str,
        seed: &[u8; SEED_BYTES],
        index: u64,
    ) -> Vec<u64> {
        let mut body = ring.uniform(label, seed, index);
        ring.forward(&mut body);
        ring.multiply(&mut body, &self.polynomial);
        ring.backward(&mut body);
        ring.subtract_from(&mut body, message);
        body
    }
}

/// What re-randomizes answers, so that they hide the weights. Not secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    name: KeyName,
    digest: [u8; DIGEST_BYTES],
    body: Vec<u64>,
    mask: Vec<u64>,
}

impl PublicKey {
    /// Reads what [`SecretKey::public_key`] wrote.
    ///
    /// # Errors
    /// If the bytes are no public key for these specs.
    pub fn from_bytes(specs: &Specs, message: &[u8]) -> Result<Self, Error> {
        let ring = specs.parameters().ring();
        let mut reader = Reader::of(Kind::PublicKey, specs.digest(), message)?;
        reader.expect(DIGEST_BYTES + SEED_BYTES + specs.polynomial_bytes())?;
        let name = reader.array()?;
        let mut mask = ring.uniform(PUBLIC_MASK, &reader.array()?, 0);
        let mut body = read_polynomial(&mut reader, ring)?;
        ring.forward(&mut mask);
        ring.forward(&mut body);
        Ok(Self { name, digest: *specs.digest(), body, mask })
    }

    pub(crate) const fn name(&self) -> &KeyName {
        &self.name
    }

    pub(crate) const fn digest(&self) -> &[u8; DIGEST_BYTES] {
        &self.digest
    }

    /// Both polynomials, as values.
    pub(crate) fn polynomials(&self) -> (&[u64], &[u64]) {
        (&self.body, &self.mask)
    }
}

/// Appends residues, each in as many bits as its prime has.
pub(crate) fn write_polynomial(writer: &mut Writer, ring: &Ring, polynomial: &[u64]) {
    for (prime, part) in ring.primes().zip(polynomial.chunks_exact(ring.degree())) {
        writer.packed(bits_of(prime), part.iter().map(|&residue| residue.into()));
    }
}

/// Reads residues, each below its prime.
pub(crate) fn read_polynomial(reader: &mut Reader<'_>, ring: &Ring) -> MessageResult<Vec<u64>> {
    let mut polynomial = ring.zero();
    for (prime, part) in ring.primes().zip(polynomial.chunks_exact_mut(ring.degree())) {
        let max = u128::from(prime - 1);
        reader.packed(bits_of(prime), ring.degree(), max, |index, residue| {
            // Checked to be below the prime.
            #[expect(clippy::cast_possible_truncation, reason = "below the prime")]
            let residue = residue as u64;
            part[index] = residue;
        })?;
    }
    Ok(polynomial)
}
