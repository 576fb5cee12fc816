//! Messages as bytes: `MAGIC`, the version (`u16`), the kind (`u8`); then, of all but specs and
//! servers, the digest of the specs that the message belongs to; then its body. Integers are
//! little-endian.
//!
//! | kind | body |
//! |---|---|
//! | 1, specs | set of parameters, features, outputs, bits of a code, of a sum, of flooding, layouts, intervals of codes: postcard |
//! | 2, secret key | the seed of the ternary polynomial `s` |
//! | 3, public key | key name, seed of `k1`, `k0` |
//! | 4, encrypted rows | envelope, seed of all `c1`, then `c0` by blocks, by chunks of features |
//! | 5, encrypted sums | envelope, then by blocks, by groups of outputs: `c1'` and, row by row, the sums of `c0'` |
//! | 6, server | bits of flooding asked for, 255 for none (`u8`), the graph's bytes |
//!
//! An envelope is the key name, the layout (`u8`), the number of rows (`u32`) and whether it is one
//! row alone (`u8`). Polynomials are coefficients, in as many bits as their modulus has, low bits
//! first, and each polynomial begins at a byte: of rows and keys residues, prime after prime; of
//! sums whole coefficients, with low bits rounded away. A seed gives a polynomial by the key stream
//! of `ChaCha20` (RFC 8439), with SHA-256 of a label, a zero byte and the seed as key, and the
//! polynomial's number as nonce: 64-bit words, cut to the bits of the prime, those that are not
//! below it left out.
//!
//! Reading trusts nothing: the length that a head asks for is compared with the bytes that are
//! there before anything is reserved, and every number is compared with its bound.

use crate::error::MessageError;

/// What reading gives.
pub type MessageResult<T> = Result<T, MessageError>;

const MAGIC: &str = "cipherfit-bfv\n";
const VERSION: u16 = 1;

/// Bytes of a digest of specs, and of the name of a pair of keys.
pub const DIGEST_BYTES: usize = 16;

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Public parameters of a circuit.
    Specs = 1,
    /// A client's secret key.
    SecretKey = 2,
    /// A client's public key.
    PublicKey = 3,
    /// Encrypted rows.
    Request = 4,
    /// Their encrypted sums.
    Answer = 5,
    /// A server: the weights.
    Server = 6,
}

impl Kind {
    const ALL: [Self; 6] =
        [Self::Specs, Self::SecretKey, Self::PublicKey, Self::Request, Self::Answer, Self::Server];

    const fn name(self) -> &'static str {
        match self {
            Self::Specs => "specs",
            Self::SecretKey => "secret key",
            Self::PublicKey => "public key",
            Self::Request => "encrypted rows",
            Self::Answer => "encrypted sums",
            Self::Server => "server",
        }
    }
}

/// Bytes of the head of a message that belongs to specs.
pub const fn head_bytes() -> usize {
    MAGIC.len() + 3 + DIGEST_BYTES
}

/// A message being written.
#[derive(Debug)]
pub struct Writer {
    bytes: Vec<u8>,
    pending: u128,
    filled: u32,
}

impl Writer {
    /// A message without a digest.
    pub fn new(kind: Kind) -> Self {
        let mut bytes = MAGIC.as_bytes().to_vec();
        bytes.extend(VERSION.to_le_bytes());
        bytes.push(kind as u8);
        Self { bytes, pending: 0, filled: 0 }
    }

    /// A message that belongs to specs.
    pub fn of(kind: Kind, digest: &[u8; DIGEST_BYTES], capacity: usize) -> Self {
        let mut writer = Self::new(kind);
        writer.bytes.reserve_exact(capacity.saturating_sub(writer.bytes.len()));
        writer.bytes(digest);
        writer
    }

    /// Appends bytes.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Appends numbers of `width` bits each, low bits first, and fills the last byte up.
    pub fn packed(&mut self, width: u32, values: impl Iterator<Item = u128>) {
        for value in values {
            let mut remaining = width;
            let mut value = value;
            while remaining > 0 {
                let bits = remaining.min(64);
                self.push(value & (u128::MAX >> (128 - bits)), bits);
                value >>= bits;
                remaining -= bits;
            }
        }
        let left = self.filled.div_ceil(8) as usize;
        self.bytes.extend_from_slice(&self.pending.to_le_bytes()[..left]);
        (self.pending, self.filled) = (0, 0);
    }

    fn push(&mut self, value: u128, bits: u32) {
        self.pending |= value << self.filled;
        self.filled += bits;
        if self.filled >= 64 {
            self.bytes.extend_from_slice(&self.pending.to_le_bytes()[..8]);
            self.pending >>= 64;
            self.filled -= 64;
        }
    }

    /// The message.
    pub fn finish(self) -> Vec<u8> {
        self.bytes
    }
}

/// Bytes that `count` numbers of `width` bits take.
pub const fn packed_bytes(width: u32, count: usize) -> usize {
    (width as usize * count).div_ceil(8)
}

/// A message being read.
#[derive(Debug)]
pub struct Reader<'a> {
    kind: Kind,
    total: usize,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads the head of a message of this kind.
    ///
    /// # Errors
    /// If the bytes are none.
    pub fn new(kind: Kind, message: &'a [u8]) -> Result<Self, MessageError> {
        let rest = message
            .strip_prefix(MAGIC.as_bytes())
            .ok_or(MessageError::Magic { expected: MAGIC })?;
        let mut reader = Self { kind, total: message.len(), rest };
        let got = u16::from_le_bytes(reader.array()?);
        if got != VERSION {
            return Err(MessageError::Version { got, supported: VERSION });
        }
        let [got] = reader.array()?;
        let got = Kind::ALL.into_iter().find(|kind| *kind as u8 == got);
        if got == Some(kind) {
            return Ok(reader);
        }
        let got = got.map_or("an unknown kind of message", Kind::name);
        Err(MessageError::Kind { expected: kind.name(), got })
    }

    /// Reads the head of a message that belongs to these specs.
    ///
    /// # Errors
    /// If the bytes are none.
    pub fn of(
        kind: Kind,
        digest: &[u8; DIGEST_BYTES],
        message: &'a [u8],
    ) -> Result<Self, MessageError> {
        let mut reader = Self::new(kind, message)?;
        if reader.array()? != *digest {
            return Err(MessageError::OtherParameters { kind: kind.name() });
        }
        Ok(reader)
    }

    /// The next bytes.
    ///
    /// # Errors
    /// If there are fewer.
    pub fn array<const LENGTH: usize>(&mut self) -> Result<[u8; LENGTH], MessageError> {
        let (array, rest) = self.rest.split_first_chunk().ok_or_else(|| self.too_short(LENGTH))?;
        self.rest = rest;
        Ok(*array)
    }

    /// All that is left.
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// That exactly `length` bytes are left.
    ///
    /// # Errors
    /// If not.
    pub fn expect(&self, length: usize) -> Result<(), MessageError> {
        if self.rest.len() == length {
            return Ok(());
        }
        Err(self.too_short(length))
    }

    fn too_short(&self, needed: usize) -> MessageError {
        let before = self.total - self.rest.len();
        let expected = before.saturating_add(needed);
        MessageError::Length { kind: self.kind.name(), expected, got: self.total }
    }

    /// The next `count` numbers of `width` bits, at most 126, each at most `max`.
    ///
    /// # Errors
    /// If there are fewer, one is larger, or bits that fill the last byte up are not 0.
    pub fn packed(
        &mut self,
        width: u32,
        count: usize,
        max: u128,
        mut take: impl FnMut(usize, u128),
    ) -> Result<(), MessageError> {
        let length = packed_bytes(width, count);
        let (bytes, rest) =
            self.rest.split_at_checked(length).ok_or_else(|| self.too_short(length))?;
        self.rest = rest;
        let mut bits = Bits { bytes, pending: 0, filled: 0 };
        for index in 0..count {
            let value = bits.next(width);
            check("coefficient", value, 0, max)?;
            take(index, value);
        }
        check("padding", bits.pending, 0, 0)
    }
}

struct Bits<'a> {
    bytes: &'a [u8],
    pending: u128,
    filled: u32,
}

impl Bits<'_> {
    fn next(&mut self, width: u32) -> u128 {
        if width > 64 {
            let low = self.take(64);
            return low | self.take(width - 64) << 64;
        }
        self.take(width)
    }

    fn take(&mut self, width: u32) -> u128 {
        if self.filled < width {
            let (chunk, rest) = self.bytes.split_at(self.bytes.len().min(8));
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.pending |= u128::from(u64::from_le_bytes(word)) << self.filled;
            self.filled += 64;
            self.bytes = rest;
        }
        let value = self.pending & (u128::MAX >> (128 - width));
        self.pending >>= width;
        self.filled -= width;
        value
    }
}

/// That a number is in its interval.
///
/// # Errors
/// If not.
pub const fn check(
    name: &'static str,
    value: u128,
    low: u128,
    high: u128,
) -> Result<(), MessageError> {
    if low <= value && value <= high {
        return Ok(());
    }
    Err(MessageError::Range { name, value, low, high })
}
