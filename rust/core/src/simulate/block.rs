//! The rows that are evaluated together, and how their codes and sums lie in memory.

/// Rows of a block: enough to amortize reading the weights, few enough that the codes of a layer
/// stay in the nearest cache.
pub(super) const BLOCK: usize = 256;

/// Columns that are loaded or turned into rows at a time.
pub(super) const TILE: usize = 16;

/// One byte for each row of a block: the codes of one feature or neuron.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Column(pub(super) [u8; BLOCK]);

impl Column {
    pub(super) const ZERO: Self = Self([0; BLOCK]);

    /// The lanes of two rows each.
    pub(super) fn lanes(&self) -> &[[u8; 2]] {
        self.0.as_chunks().0
    }
}

/// What noise adds to the sums of a neuron, and what it then takes away; the result stays between the
/// sum's minimum and its maximum.
#[derive(Clone, Copy)]
pub(super) struct Shift {
    pub(super) up: Column,
    pub(super) down: Column,
}

impl Shift {
    pub(super) const NONE: Self = Self { up: Column::ZERO, down: Column::ZERO };
}

/// Sixteen columns, row by row.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Tile(pub(super) [[u8; 16]; BLOCK]);

impl Tile {
    pub(super) const ZERO: Self = Self([[0; 16]; BLOCK]);
}

/// Sums of neurons, counted from their minimum: low and high bytes, padded to whole tiles.
pub(super) struct Planes {
    pub(super) low: Vec<Column>,
    pub(super) high: Vec<Column>,
}

impl Planes {
    pub(super) fn new(n: usize) -> Self {
        let columns = vec![Column::ZERO; n.next_multiple_of(16)];
        Self { low: columns.clone(), high: columns }
    }

    /// The sum of one neuron in one row.
    pub(super) fn sum(&self, neuron: usize, row: usize) -> u16 {
        u16::from_le_bytes([self.low[neuron].0[row], self.high[neuron].0[row]])
    }
}

/// A block's rows of one type: `values[row * width + column]`.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a, T> {
    pub(super) values: &'a [T],
    pub(super) width: usize,
}

impl<'a, T: Copy + Default> Rows<'a, T> {
    pub(super) fn len(&self) -> usize {
        self.values.len() / self.width
    }

    /// Sixteen values of each row, from one column on.
    #[inline(always)]
    pub(super) fn beginning_at(self, first: usize) -> impl Iterator<Item = &'a [T; TILE]> {
        let values =
            move |row: &'a [T]| row[first..].first_chunk().expect("as many columns from the first");
        self.values.chunks_exact(self.width).map(values)
    }

    /// The rows of a block, widened with zeros to at least [`TILE`] columns in `padded`.
    #[inline(always)]
    pub(super) fn padded(self, padded: &'a mut Option<[[T; TILE]; BLOCK]>) -> Self {
        if self.width >= TILE {
            return self;
        }
        let padded = padded.insert([[T::default(); TILE]; BLOCK]);
        for (padded, row) in padded.iter_mut().zip(self.values.chunks_exact(self.width)) {
            padded[..self.width].copy_from_slice(row);
        }
        let rows = self.len().min(BLOCK);
        Rows { values: padded[..rows].as_flattened(), width: TILE }
    }
}

/// Sums of at most sixteen neurons, row by row: low bytes and, unless all are zero, high ones.
#[derive(Clone, Copy)]
pub(super) struct Sums<'a> {
    pub(super) low: &'a Tile,
    pub(super) high: Option<&'a Tile>,
}
