//! Sparse integer weights and one clear offset per neuron.

use crate::error::GraphDefect;

/// The most weights, pruned ones included, that a layer may have: as many as a dense `i64` copy of
/// 2 GiB holds, so that a few stored bytes can't ask for more.
pub const MAX_WEIGHTS: usize = 1 << 28;

/// `acc = weights @ codes + offset`, stored by rows without zeros (CSR).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Linear {
    n_inputs: usize,
    /// `row_ends[neuron]` is one past the neuron's last entry in `columns` and `weights`.
    row_ends: Vec<u32>,
    columns: Vec<u32>,
    weights: Vec<i64>,
    offset: Vec<i64>,
}

impl Linear {
    /// A layer from a dense matrix of `offset.len()` rows and `n_inputs` columns, row by row.
    ///
    /// # Errors
    /// If the layer is empty or too large, or `weights` has not one entry per neuron and input.
    pub fn from_dense(
        n_inputs: usize,
        weights: &[i64],
        offset: Vec<i64>,
    ) -> Result<Self, GraphDefect> {
        let expected = check_size(n_inputs, offset.len())?;
        if weights.len() != expected {
            return Err(GraphDefect::Length { name: "weights", expected, got: weights.len() });
        }
        let mut linear = Self {
            n_inputs,
            row_ends: Vec::with_capacity(offset.len()),
            columns: Vec::new(),
            weights: Vec::new(),
            offset,
        };
        for row in weights.chunks_exact(n_inputs) {
            for (column, &weight) in (0..).zip(row) {
                if weight != 0 {
                    linear.columns.push(column);
                    linear.weights.push(weight);
                }
            }
            linear.row_ends.push(index_u32(linear.weights.len()));
        }
        Ok(linear)
    }

    /// The layer whose accumulators are its inputs.
    pub(crate) fn identity(n: usize) -> Self {
        Self {
            n_inputs: n,
            row_ends: (1..=index_u32(n)).collect(),
            columns: (0..index_u32(n)).collect(),
            weights: vec![1; n],
            offset: vec![0; n],
        }
    }

    /// A layer from its stored rows.
    ///
    /// # Errors
    /// If sizes don't agree, or a row is not sorted by column, in range and free of zeros.
    pub(crate) fn from_sparse(
        n_inputs: usize,
        row_ends: Vec<u32>,
        columns: Vec<u32>,
        weights: Vec<i64>,
        offset: Vec<i64>,
    ) -> Result<Self, GraphDefect> {
        check_size(n_inputs, offset.len())?;
        let length = |name, expected, got| {
            if expected == got {
                return Ok(());
            }
            Err(GraphDefect::Length { name, expected, got })
        };
        length("row_ends", offset.len(), row_ends.len())?;
        length("columns", weights.len(), columns.len())?;
        let last = row_ends.last().map_or(0, |&end| end as usize);
        length("weights", last, weights.len())?;
        let mut start = 0;
        for (neuron, &end) in row_ends.iter().enumerate() {
            let row = columns.get(start..end as usize);
            let sorted = row.is_some_and(|row| {
                row.is_sorted_by(|left, right| left < right)
                    && row.last().is_none_or(|&column| (column as usize) < n_inputs)
            });
            if !sorted || weights[start..end as usize].contains(&0) {
                return Err(GraphDefect::Sparse { neuron });
            }
            start = end as usize;
        }
        Ok(Self { n_inputs, row_ends, columns, weights, offset })
    }

    /// Number of inputs.
    #[must_use]
    pub const fn n_inputs(&self) -> usize {
        self.n_inputs
    }

    /// Number of neurons.
    #[must_use]
    pub const fn n_outputs(&self) -> usize {
        self.offset.len()
    }

    /// Number of weights that are not zero.
    #[must_use]
    pub const fn n_nonzeros(&self) -> usize {
        self.weights.len()
    }

    /// One integer per neuron, added to its accumulator.
    #[must_use]
    pub fn offset(&self) -> &[i64] {
        &self.offset
    }

    /// Input columns and weights of one neuron, by ascending column.
    #[must_use]
    pub fn row(&self, neuron: usize) -> (&[u32], &[i64]) {
        let start = neuron.checked_sub(1).map_or(0, |before| self.row_ends[before] as usize);
        let end = self.row_ends[neuron] as usize;
        (&self.columns[start..end], &self.weights[start..end])
    }

    /// The weights as a dense matrix, row by row.
    #[must_use]
    pub fn to_dense(&self) -> Vec<i64> {
        let mut dense = vec![0; self.n_inputs * self.n_outputs()];
        for (neuron, row) in dense.chunks_exact_mut(self.n_inputs).enumerate() {
            let (columns, weights) = self.row(neuron);
            for (&column, &weight) in columns.iter().zip(weights) {
                row[column as usize] = weight;
            }
        }
        dense
    }

    pub(crate) fn row_ends(&self) -> &[u32] {
        &self.row_ends
    }

    pub(crate) fn columns(&self) -> &[u32] {
        &self.columns
    }

    pub(crate) fn weights(&self) -> &[i64] {
        &self.weights
    }
}

fn check_size(n_inputs: usize, n_outputs: usize) -> Result<usize, GraphDefect> {
    if n_inputs == 0 || n_outputs == 0 {
        return Err(GraphDefect::Empty { name: "weights" });
    }
    match n_inputs.checked_mul(n_outputs) {
        Some(size) if size <= MAX_WEIGHTS => Ok(size),
        _ => Err(GraphDefect::TooLarge { n_outputs, n_inputs, allowed: MAX_WEIGHTS }),
    }
}

/// Never saturates: [`check_size`] bounds every count by [`MAX_WEIGHTS`].
fn index_u32(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
