//! Random numbers: from the operating system, or expanded from a seed by `ChaCha20`.
//!
//! Nothing here keeps a state between calls or threads: every use begins with fresh bytes of the
//! operating system, so a forked process never repeats its parent's.

use chacha20::ChaCha20;
use chacha20::cipher::{KeyIvInit as _, StreamCipher as _};
use sha2::{Digest as _, Sha256};
use zeroize::{Zeroize as _, ZeroizeOnDrop, Zeroizing};

use crate::error::Error;

/// Bytes of a seed.
pub const SEED_BYTES: usize = 32;
/// Bits on either side of the centered binomial: a standard deviation of 3.24, as SEAL has it; the
/// standard asks for 3.19 at least.
pub const ERROR_BOUND: u32 = 21;

const BUFFER: usize = 1024;

/// A seed, wiped when dropped.
pub type Seed = Zeroizing<[u8; SEED_BYTES]>;

/// 32 bytes of the operating system.
///
/// # Errors
/// If the system has none.
pub fn fresh_seed() -> Result<Seed, Error> {
    let mut seed = Zeroizing::new([0; SEED_BYTES]);
    getrandom::fill(seed.as_mut()).map_err(|error| Error::Randomness(error.to_string()))?;
    Ok(seed)
}

/// SHA-256 of a label and some bytes: seeds of different uses never meet.
pub fn hash(label: &str, bytes: &[u8]) -> Seed {
    let digest = Sha256::new().chain_update(label.as_bytes()).chain_update([0]).chain_update(bytes);
    Zeroizing::new(digest.finalize().into())
}

/// The key stream of `ChaCha20` (RFC 8439) as random numbers; wiped when dropped.
pub struct Stream {
    cipher: ChaCha20,
    buffer: [u8; BUFFER],
    used: usize,
}

impl ZeroizeOnDrop for Stream {}

impl Drop for Stream {
    fn drop(&mut self) {
        self.buffer.zeroize();
    }
}

impl Stream {
    /// Stream number `index` of a seed; its key is the hash of label and seed.
    pub fn expand(label: &str, seed: &[u8; SEED_BYTES], index: u64) -> Self {
        let mut nonce = [0; 12];
        nonce[..8].copy_from_slice(&index.to_le_bytes());
        let key = hash(label, seed);
        let cipher = ChaCha20::new(&(*key).into(), &nonce.into());
        Self { cipher, buffer: [0; BUFFER], used: BUFFER }
    }

    /// A stream that nobody can repeat.
    ///
    /// # Errors
    /// If the system has no random bytes.
    pub fn fresh() -> Result<Self, Error> {
        Ok(Self::expand("cipherfit-bfv fresh", &*fresh_seed()?, 0))
    }

    /// The next 64 bits.
    pub fn next(&mut self) -> u64 {
        if self.used == BUFFER {
            self.buffer.fill(0);
            self.cipher.apply_keystream(&mut self.buffer);
            self.used = 0;
        }
        let mut word = [0; 8];
        word.copy_from_slice(&self.buffer[self.used..self.used + 8]);
        self.used += 8;
        u64::from_le_bytes(word)
    }

    /// Uniform in `[0, bound)`: low bits of each word, until they are below. What is thrown away is
    /// independent of what is kept.
    pub fn below(&mut self, bound: u64) -> u64 {
        let mask = u64::MAX >> (bound - 1).leading_zeros().min(63);
        loop {
            let value = self.next() & mask;
            if value < bound {
                return value;
            }
        }
    }

    /// Uniform in `[0, bound)`.
    pub fn below_u128(&mut self, bound: u128) -> u128 {
        let mask = u128::MAX >> (bound - 1).leading_zeros().min(127);
        loop {
            let value = (u128::from(self.next()) | u128::from(self.next()) << 64) & mask;
            if value < bound {
                return value;
            }
        }
    }

    /// `length` numbers that are -1, 0 or 1, each as often.
    pub fn ternary(&mut self, length: usize) -> Zeroizing<Vec<i64>> {
        let mut trits = Zeroizing::new(Vec::with_capacity(length));
        while trits.len() < length {
            let word = Zeroizing::new(self.next());
            let pairs = (0..32).map(|pair| (*word >> (2 * pair)) & 3).filter(|&pair| pair < 3);
            let missing = length - trits.len();
            trits.extend(pairs.take(missing).map(|pair| pair.cast_signed() - 1));
        }
        trits
    }

    /// `length` numbers of the centered binomial distribution on `[-21, 21]`.
    pub fn errors(&mut self, length: usize) -> Zeroizing<Vec<i64>> {
        const MASK: u64 = (1 << ERROR_BOUND) - 1;
        let mut error = || {
            let word = self.next();
            let (up, down) = (word & MASK, (word >> ERROR_BOUND) & MASK);
            i64::from(up.count_ones()) - i64::from(down.count_ones())
        };
        Zeroizing::new((0..length).map(|_| error()).collect())
    }
}
