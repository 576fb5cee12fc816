//! The client: encrypts codes and decrypts sums.

use zeroize::Zeroizing;

use crate::envelope::Envelope;
use crate::error::Error;
use crate::guard::guarded;
use crate::keys::{SecretKey, write_polynomial};
use crate::layout::Grid;
use crate::ring::Secret;
use crate::sampling::{Stream, fresh_seed};
use crate::specs::{MAX_ROWS, Specs};
use crate::wire::{Kind, Reader, Writer};

/// Expands the uniform polynomials of a request.
pub(crate) const REQUEST_MASK: &str = "cipherfit-bfv request mask";

/// Decrypted sums.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sums {
    /// Row by row.
    pub values: Vec<i64>,
    /// Whether they are those of one row alone, not of a matrix of one row.
    pub is_row: bool,
}

/// Encrypts rows and decrypts their sums.
#[derive(Debug)]
pub struct Client {
    specs: Specs,
    key: SecretKey,
}

impl Client {
    /// A client with these keys.
    #[must_use]
    pub const fn new(specs: Specs, key: SecretKey) -> Self {
        Self { specs, key }
    }

    /// Public parameters.
    #[must_use]
    pub const fn specs(&self) -> &Specs {
        &self.specs
    }

    /// The secret key.
    #[must_use]
    pub const fn key(&self) -> &SecretKey {
        &self.key
    }

    /// Encrypts rows of codes, one after the other.
    ///
    /// # Errors
    /// If the codes are no rows, one is too large, or the system has no random bytes.
    pub fn encrypt(&self, codes: &[u16]) -> Result<Vec<u8>, Error> {
        let rows = self.rows_of(codes)?;
        guarded(|| self.encrypt_rows(codes, rows, false))
    }

    /// Encrypts one row of codes, whose answer is one row.
    ///
    /// # Errors
    /// If the codes are no row, one is too large, or the system has no random bytes.
    pub fn encrypt_row(&self, codes: &[u16]) -> Result<Vec<u8>, Error> {
        match self.rows_of(codes)? {
            1 => guarded(|| self.encrypt_rows(codes, 1, true)),
            _ => Err(Error::Shape { features: self.specs.n_features(), length: codes.len() }),
        }
    }

    fn encrypt_rows(&self, codes: &[u16], rows: usize, is_row: bool) -> Result<Vec<u8>, Error> {
        let specs = &self.specs;
        let ring = specs.parameters().ring();
        let name = *self.key.name();
        let envelope = Envelope { name, layout: specs.layout_of(rows), rows, is_row };
        let grid = envelope.grid(specs);
        // Public: it gives the uniform halves, which the server expands itself.
        let seed = fresh_seed()?;
        let mut errors = Stream::fresh()?;
        let mut writer = Writer::of(Kind::Request, specs.digest(), specs.request_bytes(rows));
        envelope.write(&mut writer);
        writer.bytes(seed.as_ref());
        let mut index = 0;
        for block in 0..grid.blocks(rows) {
            for chunk in 0..grid.chunks() {
                let mut message = self.message(codes, grid, grid.rows_of(block, rows), chunk);
                ring.add(&mut message, &ring.small(&errors.errors(ring.degree())));
                let body = self.key.mask(ring, &message, REQUEST_MASK, &seed, index);
                write_polynomial(&mut writer, ring, &body);
                index += 1;
            }
        }
        Ok(writer.finish())
    }

    fn rows_of(&self, codes: &[u16]) -> Result<usize, Error> {
        let features = self.specs.n_features();
        if !codes.len().is_multiple_of(features) {
            return Err(Error::Shape { features, length: codes.len() });
        }
        let rows = codes.len() / features;
        if rows > MAX_ROWS {
            return Err(Error::TooManyRows { rows, allowed: MAX_ROWS });
        }
        self.specs.check_codes(codes)?;
        Ok(rows)
    }

    /// Codes times the scale, at their coefficients.
    fn message(
        &self,
        codes: &[u16],
        grid: &Grid,
        rows: std::ops::Range<usize>,
        chunk: usize,
    ) -> Secret {
        let parameters = self.specs.parameters();
        let mut coefficients = Zeroizing::new(vec![0; parameters.degree()]);
        let features = grid.features_of(chunk);
        for (position, row) in rows.enumerate() {
            let start = row * grid.n_features;
            let from = &codes[start + features.start..start + features.end];
            coefficients[grid.start_of(position)..][..from.len()].copy_from_slice(from);
        }
        parameters.ring().scaled(&coefficients, 1 << parameters.scale_bits())
    }

    /// Decrypts an answer.
    ///
    /// # Errors
    /// If the bytes are no answer for these specs and keys.
    pub fn decrypt(&self, answer: &[u8]) -> Result<Sums, Error> {
        let specs = &self.specs;
        let mut reader = Reader::of(Kind::Answer, specs.digest(), answer)?;
        let envelope = Envelope::read(specs, &mut reader)?;
        let (grid, rows) = (envelope.grid(specs), envelope.rows);
        reader.expect(specs.answer_body_bytes(grid, rows))?;
        if envelope.name != *self.key.name() {
            return Err(Error::OtherKeys { what: "answer", other: "client's secret key" });
        }
        let mut values = vec![0; rows * grid.n_outputs];
        guarded(|| {
            for block in 0..grid.blocks(rows) {
                let rows = grid.rows_of(block, rows);
                for group in 0..grid.groups() {
                    self.decrypt_part(&mut reader, grid, rows.clone(), group, &mut values)?;
                }
            }
            Ok(())
        })?;
        Ok(Sums { values, is_row: envelope.is_row })
    }

    /// Reads one ciphertext of an answer, and sets its sums.
    fn decrypt_part(
        &self,
        reader: &mut Reader<'_>,
        grid: &Grid,
        rows: std::ops::Range<usize>,
        group: usize,
        sums: &mut [i64],
    ) -> Result<(), Error> {
        let parameters = self.specs.parameters();
        let ring = parameters.ring();
        let (width, max) = (parameters.rounded_bits(), parameters.max_rounded());
        let dropped = parameters.dropped_bits();
        let mut phase = Zeroizing::new(ring.zero());
        reader.packed(width, ring.degree(), max, |index, value| {
            ring.decompose(&mut phase, index, value << dropped);
        })?;
        ring.forward(&mut phase);
        ring.multiply(&mut phase, self.key.polynomial());
        ring.backward(&mut phase);
        let outputs = grid.outputs_of(group);
        reader.packed(width, rows.len() * outputs.len(), max, |index, value| {
            let (row, output) = (index / outputs.len(), index % outputs.len());
            let masked = ring.compose(&phase, grid.sum_of(row, output));
            let body = (value << dropped) % ring.modulus();
            let sum = decode(masked + body, ring.modulus(), parameters.scale_bits());
            sums[(rows.start + row) * grid.n_outputs + outputs.start + output] = sum;
        })?;
        Ok(())
    }
}

/// The multiple of the scale that is nearest to a phase modulo `q`, which is centered first;
/// `phase` is below `2q`. Without branches: sums are the client's alone.
pub(crate) fn decode(phase: u128, modulus: u128, scale_bits: u32) -> i64 {
    let (phase, modulus) = (phase.cast_signed(), modulus.cast_signed());
    let turns = i128::from(phase > modulus / 2) + i128::from(phase > modulus + modulus / 2);
    let half = 1_i128 << scale_bits >> 1;
    let sum = (phase - turns * modulus + half) >> scale_bits;
    // q / scale is below 2^64 for every phase.
    #[expect(clippy::cast_possible_truncation, reason = "at most 64 bits")]
    let sum = sum as i64;
    sum
}
