//! What encrypted rows and their sums begin with: whose they are, and how many.

use crate::error::MessageError;
use crate::keys::KeyName;
use crate::layout::Grid;
use crate::specs::{MAX_ROWS, Specs};
use crate::wire::{DIGEST_BYTES, Reader, Writer, check};

/// Bytes of an envelope.
pub const ENVELOPE_BYTES: usize = DIGEST_BYTES + 6;

/// Whose rows, in which layout, and how many. All of it is public.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Envelope {
    /// The keys that rows are encrypted under.
    pub name: KeyName,
    /// Position in [`Specs::grids`].
    pub layout: usize,
    /// How many.
    pub rows: usize,
    /// Whether it is one row alone, not a matrix of one row.
    pub is_row: bool,
}

impl Envelope {
    /// Appends this envelope.
    pub fn write(&self, writer: &mut Writer) {
        writer.bytes(&self.name);
        // Both are bounded: by the number of layouts of specs, and by the most rows of a request.
        writer.bytes(&[u8::try_from(self.layout).unwrap_or(u8::MAX)]);
        writer.bytes(&u32::try_from(self.rows).unwrap_or(u32::MAX).to_le_bytes());
        writer.bytes(&[self.is_row.into()]);
    }

    /// Reads an envelope that fits these specs.
    ///
    /// # Errors
    /// If it doesn't.
    pub fn read(specs: &Specs, reader: &mut Reader<'_>) -> Result<Self, MessageError> {
        let name = reader.array()?;
        let [layout] = reader.array()?;
        let rows = u32::from_le_bytes(reader.array()?) as usize;
        let [is_row] = reader.array()?;
        check("layout", layout.into(), 0, specs.grids().len() as u128 - 1)?;
        check("rows", rows as u128, 0, MAX_ROWS as u128)?;
        check("single row", is_row.into(), 0, u128::from(rows == 1))?;
        Ok(Self { name, layout: layout.into(), rows, is_row: is_row == 1 })
    }

    /// Its layout.
    pub fn grid<'a>(&self, specs: &'a Specs) -> &'a Grid {
        &specs.grids()[self.layout]
    }
}
