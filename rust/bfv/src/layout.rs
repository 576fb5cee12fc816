//! Where rows, features and outputs sit in polynomials.
//!
//! A request is cut into blocks of `rows` rows; a block has one ciphertext for every `features`
//! features, and its answer one for every `outputs` outputs. Row `r` of a block has its feature `i`
//! at coefficient `r F P + i` (`F` features, `P` outputs), the weight of output `p` for feature `i`
//! is at `p F + F - 1 - i`, so their product has the sum of output `p` at `r F P + p F + F - 1`.
//!
//! No other product of a code and a weight falls there. Indices that meet there obey
//! `(r - r') F P + (p - p') F + (i - i') = 0` with `|i - i'| < F` and `|p - p'| < P`, so all three
//! differences are 0. Products from `X^N` on come back at the other end, at most at
//! `R F P + F - 2 - N <= F - 2`, below the first sum. One row of many features and many rows of one
//! feature each (codes times integers) are the two ends of this family.

use serde::{Deserialize, Serialize};

/// How many features a ciphertext of a request carries, and how many outputs one of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layout {
    /// `F`.
    pub features: u32,
    /// `P`.
    pub outputs: u32,
}

/// A layout together with the sizes of a circuit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grid {
    /// Features of a circuit.
    pub n_features: usize,
    /// Outputs of a circuit.
    pub n_outputs: usize,
    /// Features of a ciphertext.
    pub features: usize,
    /// Outputs of a ciphertext.
    pub outputs: usize,
    /// Rows of a ciphertext.
    pub rows: usize,
}

/// The most polynomials of weights that a layout may need, where another needs fewer.
const MAX_FACTORS: usize = 512;
/// What work costs, in products of two polynomials: measured at `N = 2048`.
const ENCRYPTION: usize = 15;
const ANSWER: usize = 19;

impl Grid {
    /// The grid of a layout that fits polynomials of degree `degree`.
    #[must_use]
    pub fn new(degree: usize, n_features: usize, n_outputs: usize, layout: Layout) -> Option<Self> {
        let (features, outputs) = (layout.features as usize, layout.outputs as usize);
        let stride = features.checked_mul(outputs)?;
        let rows = degree.checked_div(stride)?;
        let fits = rows > 0 && features <= n_features && outputs <= n_outputs;
        fits.then_some(Self { n_features, n_outputs, features, outputs, rows })
    }

    /// Ciphertexts of a block of a request.
    #[must_use]
    pub const fn chunks(&self) -> usize {
        self.n_features.div_ceil(self.features)
    }

    /// Ciphertexts of a block of an answer.
    #[must_use]
    pub const fn groups(&self) -> usize {
        self.n_outputs.div_ceil(self.outputs)
    }

    /// Blocks of `rows` rows.
    #[must_use]
    pub const fn blocks(&self, rows: usize) -> usize {
        rows.div_ceil(self.rows)
    }

    /// Rows of one block of `rows` rows.
    #[must_use]
    pub fn rows_of(&self, block: usize, rows: usize) -> std::ops::Range<usize> {
        block * self.rows..rows.min((block + 1) * self.rows)
    }

    /// Features of a chunk.
    #[must_use]
    pub fn features_of(&self, chunk: usize) -> std::ops::Range<usize> {
        chunk * self.features..self.n_features.min((chunk + 1) * self.features)
    }

    /// Outputs of a group.
    #[must_use]
    pub fn outputs_of(&self, group: usize) -> std::ops::Range<usize> {
        group * self.outputs..self.n_outputs.min((group + 1) * self.outputs)
    }

    /// Where a row begins.
    #[must_use]
    pub const fn start_of(&self, row: usize) -> usize {
        row * self.features * self.outputs
    }

    /// Where the sum of an output of a row is, both counted from their block's and group's first.
    #[must_use]
    pub const fn sum_of(&self, row: usize, output: usize) -> usize {
        self.start_of(row) + output * self.features + self.features - 1
    }

    /// Whether weights are single integers.
    #[must_use]
    pub const fn is_scalar(&self) -> bool {
        self.features == 1 && self.outputs == 1
    }

    fn factors(&self) -> usize {
        if self.is_scalar() { 0 } else { self.chunks() * self.groups() }
    }

    /// What `rows` rows cost, in products of two polynomials.
    #[must_use]
    pub const fn cost(&self, rows: usize) -> usize {
        let (chunks, groups) = (self.chunks(), self.groups());
        self.blocks(rows) * (chunks * ENCRYPTION + chunks * groups + groups * ANSWER)
    }
}

/// The layouts that are the fastest for some number of rows, among those that `allowed` admits: its
/// argument is the number of outputs of a ciphertext.
pub fn fastest(
    degree: usize,
    n_features: usize,
    n_outputs: usize,
    allowed: impl Fn(usize) -> bool,
) -> Vec<Layout> {
    let grids = sizes(n_features).into_iter().flat_map(|features| {
        let layouts = sizes(n_outputs).into_iter().map(move |outputs| Layout { features, outputs });
        layouts.filter_map(|layout| Grid::new(degree, n_features, n_outputs, layout))
    });
    let grids: Vec<_> = grids.filter(|grid| allowed(grid.outputs)).collect();
    let fewest = grids.iter().filter(|grid| !grid.is_scalar()).map(Grid::factors).min();
    let limit = fewest.unwrap_or(0).max(MAX_FACTORS);
    let affordable = grids.iter().filter(|grid| grid.factors() <= limit);
    let mut layouts = Vec::new();
    for rows in (0..=degree.ilog2()).map(|power| 1 << power) {
        if let Some(grid) = affordable.clone().min_by_key(|grid| grid.cost(rows)) {
            let layout = Layout { features: narrow(grid.features), outputs: narrow(grid.outputs) };
            if !layouts.contains(&layout) {
                layouts.push(layout);
            }
        }
    }
    layouts
}

/// `ceil(total / parts)` for every number of parts that gives another size.
fn sizes(total: usize) -> Vec<u32> {
    let mut sizes: Vec<_> = (1..=total).map(|parts| narrow(total.div_ceil(parts))).collect();
    sizes.dedup();
    sizes
}

/// Never saturates: sizes are below `MAX_WEIGHTS` of the core.
fn narrow(size: usize) -> u32 {
    u32::try_from(size).unwrap_or(u32::MAX)
}
