//! What a client has to know of a circuit: sizes, parameters and layouts, nothing of the weights.

use serde::{Deserialize, Serialize};

use cipherfit_core::graph::linear::MAX_WEIGHTS;

use crate::envelope::ENVELOPE_BYTES;
use crate::error::{Error, MessageError};
use crate::head::Head;
use crate::layout::{Grid, Layout};
use crate::parameters::{Parameters, SUM_BITS};
use crate::sampling::{SEED_BYTES, hash};
use crate::wire::{DIGEST_BYTES, Kind, Reader, Writer, check, head_bytes, packed_bytes};

/// More layouts than this are never needed.
const MAX_LAYOUTS: usize = 16;
/// The most rows of a request.
pub const MAX_ROWS: usize = 1 << 24;

/// Public parameters of a circuit.
///
/// Of the weights they tell how many there are, the bits of the largest sum that they can give,
/// and, by the bits of flooding and by the layouts, the magnitude of their L1 norm.
#[derive(Debug, Clone)]
pub struct Specs {
    stored: StoredSpecs,
    parameters: Parameters,
    grids: Vec<Grid>,
    digest: [u8; DIGEST_BYTES],
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct StoredSpecs {
    set: u8,
    n_features: u32,
    n_outputs: u32,
    code_bits: u8,
    sum_bits: u8,
    flooding_bits: u8,
    layouts: Vec<Layout>,
    /// The least and the largest code of each feature; none where all have all codes.
    codes: Vec<(u16, u16)>,
}

impl Specs {
    pub(crate) fn new(
        parameters: &Parameters,
        head: &Head,
        flooding_bits: u32,
        layouts: Vec<Layout>,
    ) -> Result<Self, Error> {
        let narrow = |size| u32::try_from(size).unwrap_or(u32::MAX);
        StoredSpecs {
            set: parameters.set(),
            n_features: narrow(head.n_features()),
            n_outputs: narrow(head.n_outputs()),
            code_bits: head.code_bits(),
            sum_bits: u8::try_from(parameters.sum_bits()).unwrap_or(u8::MAX),
            flooding_bits: u8::try_from(flooding_bits).unwrap_or(u8::MAX),
            layouts,
            codes: head.codes(),
        }
        .validate()
    }

    /// Reads specs.
    ///
    /// # Errors
    /// If the bytes are none, or name parameters that are not in use.
    pub fn from_bytes(message: &[u8]) -> Result<Self, Error> {
        let reader = Reader::new(Kind::Specs, message)?;
        let damaged = |error: postcard::Error| MessageError::Damaged { reason: error.to_string() };
        let (stored, rest): (StoredSpecs, _) =
            postcard::take_from_bytes(reader.rest()).map_err(damaged)?;
        if !rest.is_empty() {
            let reason = format!("{} bytes follow after the end", rest.len());
            return Err(MessageError::Damaged { reason }.into());
        }
        stored.validate()
    }

    /// These specs as bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.stored.to_bytes()
    }

    /// Ring, modulus and scale.
    #[must_use]
    pub const fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// Features per row.
    #[must_use]
    pub const fn n_features(&self) -> usize {
        self.stored.n_features as usize
    }

    /// Sums per row.
    #[must_use]
    pub const fn n_outputs(&self) -> usize {
        self.stored.n_outputs as usize
    }

    /// The largest code.
    #[must_use]
    pub const fn max_code(&self) -> u16 {
        u16::MAX >> (16 - self.stored.code_bits)
    }

    /// Integers as codes.
    ///
    /// # Errors
    /// If one is no code.
    pub fn codes_from(&self, values: &[i64]) -> Result<Vec<u16>, Error> {
        let code = |(at, &value): (usize, &i64)| match u16::try_from(value) {
            Ok(code) => Ok(code),
            Err(_) => Err(self.no_code(at, value)),
        };
        let codes: Vec<_> = values.iter().enumerate().map(code).collect::<Result<_, _>>()?;
        self.check_codes(&codes)?;
        Ok(codes)
    }

    /// That rows hold codes that sums were proven for.
    ///
    /// # Errors
    /// If one isn't.
    pub(crate) fn check_codes(&self, codes: &[u16]) -> Result<(), Error> {
        let max = self.max_code();
        let intervals = &self.stored.codes;
        let outside = if intervals.is_empty() {
            codes.iter().position(|&code| code > max)
        } else {
            let mut pairs = codes.iter().zip(intervals.iter().cycle());
            pairs.position(|(&code, &(low, high))| code < low || code > high)
        };
        outside.map_or(Ok(()), |at| Err(self.no_code(at, codes[at].into())))
    }

    fn no_code(&self, at: usize, value: i64) -> Error {
        let (row, column) = (at / self.n_features(), at % self.n_features());
        let all = (0, self.max_code());
        let (low, high) = self.stored.codes.get(column).copied().unwrap_or(all);
        Error::CodeOutOfRange { row, column, value, low, high }
    }

    /// Statistical bits with which a row's answer hides the weights; see the crate's documentation.
    #[must_use]
    pub const fn flooding_bits(&self) -> u8 {
        self.stored.flooding_bits
    }

    /// Where rows, features and outputs may sit.
    #[must_use]
    pub fn grids(&self) -> &[Grid] {
        &self.grids
    }

    pub(crate) const fn digest(&self) -> &[u8; DIGEST_BYTES] {
        &self.digest
    }

    /// Position of the layout that is the fastest for so many rows.
    #[must_use]
    pub fn layout_of(&self, rows: usize) -> usize {
        let layouts = self.grids.iter().enumerate();
        layouts.min_by_key(|(_, grid)| grid.cost(rows)).map_or(0, |(index, _)| index)
    }

    /// Bytes of a public key.
    #[must_use]
    pub fn public_key_bytes(&self) -> usize {
        head_bytes() + DIGEST_BYTES + SEED_BYTES + self.polynomial_bytes()
    }

    /// Bytes of the encryption of so many rows.
    #[must_use]
    pub fn request_bytes(&self, rows: usize) -> usize {
        let grid = self.grids[self.layout_of(rows)];
        head_bytes() + ENVELOPE_BYTES + SEED_BYTES + self.request_body_bytes(&grid, rows)
    }

    /// Bytes of the answer to so many rows.
    #[must_use]
    pub fn answer_bytes(&self, rows: usize) -> usize {
        self.answer_bytes_in(&self.grids[self.layout_of(rows)], rows)
    }

    pub(crate) fn answer_bytes_in(&self, grid: &Grid, rows: usize) -> usize {
        head_bytes() + ENVELOPE_BYTES + self.answer_body_bytes(grid, rows)
    }

    pub(crate) fn request_body_bytes(&self, grid: &Grid, rows: usize) -> usize {
        grid.blocks(rows).saturating_mul(grid.chunks()).saturating_mul(self.polynomial_bytes())
    }

    pub(crate) fn answer_body_bytes(&self, grid: &Grid, rows: usize) -> usize {
        let width = self.parameters.rounded_bits();
        let masks = packed_bytes(width, self.parameters.degree());
        let of_block = |rows: usize| -> usize {
            let groups = (0..grid.groups()).map(|group| grid.outputs_of(group).len());
            groups.map(|outputs| masks + packed_bytes(width, rows * outputs)).sum()
        };
        let (whole, rest) = (rows / grid.rows, rows % grid.rows);
        let rest = if rest > 0 { of_block(rest) } else { 0 };
        whole.saturating_mul(of_block(grid.rows)).saturating_add(rest)
    }

    pub(crate) fn polynomial_bytes(&self) -> usize {
        let ring = self.parameters.ring();
        ring.primes().map(|prime| packed_bytes(bits_of(prime), ring.degree())).sum()
    }
}

impl StoredSpecs {
    fn to_bytes(&self) -> Vec<u8> {
        let mut writer = Writer::new(Kind::Specs);
        // Writing numbers to memory has no way to fail.
        writer.bytes(&postcard::to_allocvec(self).unwrap_or_default());
        writer.finish()
    }

    /// That intervals of codes are those of all features, or none.
    fn check_codes(&self) -> Result<(), MessageError> {
        if self.codes.is_empty() {
            return Ok(());
        }
        let (count, features) = (self.codes.len() as u128, u128::from(self.n_features));
        check("intervals of codes", count, features, features)?;
        let max = u128::from(u16::MAX >> (16 - self.code_bits));
        self.codes
            .iter()
            .try_for_each(|&(low, high)| check("largest code", high.into(), low.into(), max))
    }

    fn validate(self) -> Result<Specs, Error> {
        check("code_bits", self.code_bits.into(), 1, 16)?;
        let (low, high) = (*SUM_BITS.start(), *SUM_BITS.end());
        check("sum_bits", self.sum_bits.into(), low.into(), high.into())?;
        check("layouts", self.layouts.len() as u128, 1, MAX_LAYOUTS as u128)?;
        let size = u128::from(self.n_features) * u128::from(self.n_outputs);
        check("weights", size, 1, MAX_WEIGHTS as u128)?;
        self.check_codes()?;
        let Some(parameters) = Parameters::new(self.set, self.sum_bits.into())? else {
            let reason = format!("no parameters {} for {} bits", self.set, self.sum_bits);
            return Err(MessageError::Damaged { reason }.into());
        };
        let grid = |layout| {
            let grid = Grid::new(
                parameters.degree(),
                self.n_features as usize,
                self.n_outputs as usize,
                layout,
            );
            let reason = || format!("a layout of {layout:?} doesn't fit");
            grid.ok_or_else(|| MessageError::Damaged { reason: reason() })
        };
        let grids = self.layouts.iter().copied().map(grid).collect::<Result<_, _>>()?;
        let mut digest = [0; DIGEST_BYTES];
        digest.copy_from_slice(&hash("cipherfit-bfv specs", &self.to_bytes())[..DIGEST_BYTES]);
        Ok(Specs { stored: self, parameters, grids, digest })
    }
}

/// Bits of a residue modulo a prime.
pub(crate) const fn bits_of(prime: u64) -> u32 {
    u64::BITS - prime.leading_zeros()
}
