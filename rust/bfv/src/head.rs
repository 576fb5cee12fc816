//! What is computed: one linear layer over codes.

use std::ops::Range;

use cipherfit_core::IntegerGraph;

use crate::error::Error;

/// `sums = weights @ codes + offset`, with codes in `[0, max_code]`.
#[derive(Debug, Clone)]
pub struct Head {
    graph: IntegerGraph,
    l1_norms: Vec<u128>,
    sum_bits: u32,
}

impl Head {
    /// The layer of a graph that has no lookups.
    ///
    /// # Errors
    /// If it has.
    pub fn new(graph: &IntegerGraph) -> Result<Self, Error> {
        let lookups: usize = graph.hidden().iter().map(|hidden| hidden.lookup.len()).sum();
        if lookups > 0 {
            return Err(Error::Lookups { lookups });
        }
        let norm = |output| {
            let (_, weights) = graph.head().row(output);
            weights.iter().map(|weight| u128::from(weight.unsigned_abs())).sum()
        };
        let l1_norms = (0..graph.n_outputs()).map(norm).collect();
        let intervals = graph.output_intervals().iter();
        let largest =
            intervals.map(|interval| interval.low.unsigned_abs().max(interval.high.unsigned_abs()));
        let magnitude_bits = u64::BITS - largest.max().unwrap_or(0).leading_zeros();
        Ok(Self { graph: graph.clone(), l1_norms, sum_bits: 1 + magnitude_bits.max(1) })
    }

    /// The graph.
    pub const fn graph(&self) -> &IntegerGraph {
        &self.graph
    }

    /// Features per row.
    pub fn n_features(&self) -> usize {
        self.graph.n_features()
    }

    /// Sums per row.
    pub fn n_outputs(&self) -> usize {
        self.graph.n_outputs()
    }

    /// The smallest `b` such that every sum is at most `2^(b - 1) - 1` in magnitude, as proven.
    pub const fn sum_bits(&self) -> u32 {
        self.sum_bits
    }

    /// Bits of a code.
    pub fn code_bits(&self) -> u8 {
        self.graph.input().n_bits().get()
    }

    /// The least and the largest code of each feature; none where all have all codes.
    pub fn codes(&self) -> Vec<(u16, u16)> {
        let input = self.graph.input();
        let intervals = input.codes().iter().filter(|_| !input.has_all_codes());
        intervals.map(|interval| (interval.low, interval.high)).collect()
    }

    /// The weights of an output that are not zero, for features in a range, each with its position
    /// in the range.
    pub fn weights(
        &self,
        output: usize,
        features: Range<usize>,
    ) -> impl Iterator<Item = (usize, i64)> {
        let (columns, weights) = self.graph.head().row(output);
        let position = move |&column: &u32| column as usize;
        let begin = columns.partition_point(|column| position(column) < features.start);
        let end = columns.partition_point(|column| position(column) < features.end);
        let columns =
            columns[begin..end].iter().map(move |column| position(column) - features.start);
        columns.zip(weights[begin..end].iter().copied())
    }

    /// What is added to a sum.
    pub fn offset(&self, output: usize) -> i64 {
        self.graph.head().offset()[output]
    }

    /// The largest L1 norm of the weights of `outputs` consecutive outputs.
    pub fn l1_norm(&self, outputs: usize) -> u128 {
        self.l1_norms.chunks(outputs).map(|group| group.iter().sum()).max().unwrap_or(0)
    }
}
