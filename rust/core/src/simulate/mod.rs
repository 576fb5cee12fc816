//! Evaluation of a graph on batches: exact, or with TFHE's own errors.
//!
//! A [`Simulator`] holds a graph with what is prepared of it. `dispatch` shares the rows of a `job` out
//! among threads and chooses a way for them. Most graphs go through the `packed` kernels, wider ones
//! through `lanes`, a few rows through `rows`.

#![cfg_attr(
    not(target_arch = "x86_64"),
    allow(dead_code, unused_variables, reason = "some is for vector instructions alone")
)]
#![allow(
    clippy::inline_always,
    reason = "what a kernel calls is compiled for its instructions only where it is inlined"
)]

mod block;
mod dispatch;
mod finish;
#[cfg(target_arch = "x86_64")]
mod instructions;
mod job;
mod lanes;
mod noise;
mod numbers;
mod outputs;
mod packed;
mod path;
mod prefetch;
mod rows;
mod source;

use std::num::NonZeroUsize;
use std::sync::{Arc, OnceLock};

use block::BLOCK;
use dispatch::CHUNK;
use finish::{Accumulators, Values};
use job::Job;
pub use noise::Noise;
pub use numbers::Numbers;
use packed::Program;
pub use path::Path;
use source::{Codes, Columns, Reals, Singles, Source};

use crate::error::InputError;
use crate::graph::IntegerGraph;
use crate::graph::input::Real;
use crate::parallel::{for_each_chunk, threads_for};

/// How to simulate.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Options {
    /// Errors of lookups; none for the exact result.
    pub noise: Option<Noise>,
    /// Threads to use; by default as many as there are cores and enough rows for.
    pub n_threads: Option<NonZeroUsize>,
    /// The way to evaluate; by default the fastest. One that the machine lacks, or that can't hold the
    /// graph's integers, gives way to one that can.
    pub path: Option<Path>,
}

/// A graph with what kernels need of it, prepared when it is first used. A clone shares both.
#[derive(Debug, Clone)]
pub struct Simulator {
    graph: IntegerGraph,
    /// None if the packed kernels can't evaluate the graph.
    program: Arc<OnceLock<Option<Program>>>,
}

impl Simulator {
    /// A simulator of `graph`; prepares nothing yet.
    #[must_use]
    pub fn new(graph: IntegerGraph) -> Self {
        Self { graph, program: Arc::default() }
    }

    /// The graph.
    #[must_use]
    pub const fn graph(&self) -> &IntegerGraph {
        &self.graph
    }

    /// Codes of the rows of `x`, row by row: [`crate::graph::input`] has the formula.
    ///
    /// # Errors
    /// If a length is not that of whole rows, or a value is NaN or infinite.
    pub fn quantize_into<T: Real>(
        &self,
        x: &[T],
        codes: &mut [u16],
        n_threads: Option<NonZeroUsize>,
    ) -> Result<(), InputError> {
        let width = self.graph.n_features();
        let rows = rows_of("X", x.len(), width)?;
        check_out(codes.len(), rows, width)?;
        let threads = threads_for(n_threads, x.len());
        for_each_chunk(
            codes,
            CHUNK * width,
            threads,
            || (),
            |chunk, codes, ()| {
                let rows = x[chunk * CHUNK * width..].chunks_exact(width);
                for (row, (values, codes)) in
                    (chunk * CHUNK..).zip(rows.zip(codes.chunks_exact_mut(width)))
                {
                    self.graph.input().quantize_row(row, values, codes)?;
                }
                Ok(())
            },
        )
    }

    /// Output accumulators for the rows of `codes`, row by row.
    ///
    /// # Errors
    /// If a length is not that of whole rows, or a code is above the quantizer's largest.
    pub fn simulate_into(
        &self,
        codes: &[u16],
        out: &mut [i64],
        options: Options,
    ) -> Result<(), InputError> {
        let rows = rows_of("codes", codes.len(), self.graph.n_features())?;
        check_out(out.len(), rows, self.graph.n_outputs())?;
        let graph = &self.graph;
        let errors = options.noise.and_then(|noise| noise.errors(graph));
        let source = Codes { graph, codes };
        let job = Job { graph, source, errors: errors.as_ref(), finish: Accumulators };
        job.run(|| self.program(), rows, out, options.path, options.n_threads)
    }

    /// Real values of output accumulators, row by row.
    ///
    /// # Errors
    /// If a length is not that of whole rows.
    pub fn dequantize_into(&self, accumulators: &[i64], out: &mut [f64]) -> Result<(), InputError> {
        let width = self.graph.n_outputs();
        let rows = rows_of("accumulators", accumulators.len(), width)?;
        check_out(out.len(), rows, width)?;
        let rows = accumulators.chunks_exact(width);
        for (values, accumulators) in out.chunks_exact_mut(width).zip(rows) {
            for (output, (value, &accumulator)) in values.iter_mut().zip(accumulators).enumerate() {
                *value = self.graph.output().dequantize(output, accumulator);
            }
        }
        Ok(())
    }

    /// Quantizes, simulates and dequantizes the rows of `x`, without storing codes.
    ///
    /// # Errors
    /// If a length is not that of whole rows, or a value is NaN or infinite.
    pub fn run_into<T: Real>(
        &self,
        x: &[T],
        out: &mut [f64],
        options: Options,
    ) -> Result<(), InputError> {
        let rows = rows_of("X", x.len(), self.graph.n_features())?;
        self.values_of(Reals { graph: &self.graph, x }, rows, out, options)
    }

    /// Codes of rows of numbers, row by row, which are taken in single precision: see [`Numbers`].
    ///
    /// # Errors
    /// If a length is not that of whole rows, or a number is not one of single precision.
    pub fn quantize_singles_into(
        &self,
        numbers: Numbers<'_>,
        codes: &mut [u16],
        n_threads: Option<NonZeroUsize>,
    ) -> Result<(), InputError> {
        let width = self.graph.n_features();
        let rows = rows_of("X", numbers.len(), width)?;
        check_out(codes.len(), rows, width)?;
        let source = Singles { graph: &self.graph, numbers };
        let threads = threads_for(n_threads, codes.len());
        for_each_chunk(
            codes,
            CHUNK * width,
            threads,
            || vec![0.0; width],
            |chunk, codes, singles| {
                (chunk * CHUNK..)
                    .zip(codes.chunks_exact_mut(width))
                    .try_for_each(|(row, codes)| source.quantize(row, singles, codes))
            },
        )
    }

    /// Quantizes, simulates and dequantizes rows of numbers, which are taken in single precision: see
    /// [`Numbers`].
    ///
    /// # Errors
    /// If a length is not that of whole rows, or a number is not one of single precision.
    pub fn run_singles_into(
        &self,
        numbers: Numbers<'_>,
        out: &mut [f64],
        options: Options,
    ) -> Result<(), InputError> {
        let rows = rows_of("X", numbers.len(), self.graph.n_features())?;
        self.values_of(Singles { graph: &self.graph, numbers }, rows, out, options)
    }

    /// Codes of rows that are given column by column, row by row: see [`Numbers`].
    ///
    /// # Errors
    /// If columns are not those of as many features, or have not as many values each, or a value is not
    /// one of single precision.
    pub fn quantize_columns_into(
        &self,
        columns: &[Numbers<'_>],
        codes: &mut [u16],
        n_threads: Option<NonZeroUsize>,
    ) -> Result<(), InputError> {
        let (rows, width) = (self.rows_of_columns(columns)?, self.graph.n_features());
        check_out(codes.len(), rows, width)?;
        let source = Columns { graph: &self.graph, columns };
        let threads = threads_for(n_threads, codes.len());
        for_each_chunk(
            codes,
            BLOCK * width,
            threads,
            || (),
            |block, codes, ()| source.quantize(block * BLOCK, codes),
        )
    }

    /// Quantizes, simulates and dequantizes rows that are given column by column: see [`Numbers`].
    ///
    /// # Errors
    /// If columns are not those of as many features, or have not as many values each, or a value is not
    /// one of single precision.
    pub fn run_columns_into(
        &self,
        columns: &[Numbers<'_>],
        out: &mut [f64],
        options: Options,
    ) -> Result<(), InputError> {
        let rows = self.rows_of_columns(columns)?;
        self.values_of(Columns { graph: &self.graph, columns }, rows, out, options)
    }

    /// Real values of the outputs of rows.
    fn values_of(
        &self,
        source: impl Source,
        rows: usize,
        out: &mut [f64],
        options: Options,
    ) -> Result<(), InputError> {
        let graph = &self.graph;
        check_out(out.len(), rows, graph.n_outputs())?;
        let errors = options.noise.and_then(|noise| noise.errors(graph));
        let job = Job { graph, source, errors: errors.as_ref(), finish: Values(graph.output()) };
        job.run(|| self.program(), rows, out, options.path, options.n_threads)
    }

    /// How many rows these columns are.
    fn rows_of_columns(&self, columns: &[Numbers<'_>]) -> Result<usize, InputError> {
        let (name, width) = ("columns", self.graph.n_features());
        let rows = columns.first().map_or(0, Numbers::len);
        let (expected, got) = if columns.len() != width {
            (format!("({width}, n)"), format!("{} columns", columns.len()))
        } else if let Some(other) = columns.iter().find(|column| column.len() != rows) {
            (format!("({width}, {rows})"), format!("a column of {} values", other.len()))
        } else {
            return Ok(rows);
        };
        Err(InputError::Shape { name, expected, got })
    }

    fn program(&self) -> Option<&Program> {
        self.program.get_or_init(|| Program::new(&self.graph)).as_ref()
    }
}

/// How many rows of `width` values `len` values are.
fn rows_of(name: &'static str, len: usize, width: usize) -> Result<usize, InputError> {
    if len.is_multiple_of(width) {
        return Ok(len / width);
    }
    let (expected, got) = (format!("(n, {width})"), format!("{len} values"));
    Err(InputError::Shape { name, expected, got })
}

fn check_out(len: usize, rows: usize, width: usize) -> Result<(), InputError> {
    if rows.checked_mul(width) == Some(len) {
        return Ok(());
    }
    let (expected, got) = (format!("({rows}, {width})"), format!("{len} values"));
    Err(InputError::Shape { name: "out", expected, got })
}
