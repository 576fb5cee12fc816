//! Evaluation of a graph on batches: exact, or with TFHE's own errors.
//!
//! `evaluate` shares rows out among threads and chooses a kernel. Most graphs are prepared once
//! (`program`) for the packed kernels, which keep two sums in a 16-bit lane because the proof says
//! that they fit: `packed` takes blocks of rows through a `kernel`, `portable` or for the processor's
//! vector instructions (`x86`). Wider graphs go through `lanes`, a few rows through `rows`.

#![allow(
    clippy::inline_always,
    reason = "what a kernel calls is compiled for its instructions only where it is inlined"
)]

mod dispatch;
mod finish;
mod lane;
mod lanes;
mod noise;
mod packed;
mod path;
mod rows;
mod source;

use std::num::NonZeroUsize;

use dispatch::{CHUNK, Job};
use finish::{Accumulators, Values};
pub use noise::Noise;
pub(crate) use packed::program::Program;
pub use path::Path;
use source::{Codes, Reals};

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

impl IntegerGraph {
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
        let width = self.n_features();
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
                    self.input().quantize_row(row, values, codes)?;
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
        let rows = rows_of("codes", codes.len(), self.n_features())?;
        check_out(out.len(), rows, self.n_outputs())?;
        let errors = options.noise.and_then(|noise| noise.errors(self));
        let source = Codes { graph: self, codes };
        let job = Job { graph: self, source, errors: errors.as_ref(), finish: Accumulators };
        job.run(rows, out, options.path, options.n_threads)
    }

    /// Real values of output accumulators, row by row.
    ///
    /// # Errors
    /// If a length is not that of whole rows.
    pub fn dequantize_into(&self, accumulators: &[i64], out: &mut [f64]) -> Result<(), InputError> {
        let width = self.n_outputs();
        let rows = rows_of("accumulators", accumulators.len(), width)?;
        check_out(out.len(), rows, width)?;
        let rows = accumulators.chunks_exact(width);
        for (values, accumulators) in out.chunks_exact_mut(width).zip(rows) {
            for (output, (value, &accumulator)) in values.iter_mut().zip(accumulators).enumerate() {
                *value = self.output().dequantize(output, accumulator);
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
        let rows = rows_of("X", x.len(), self.n_features())?;
        check_out(out.len(), rows, self.n_outputs())?;
        let errors = options.noise.and_then(|noise| noise.errors(self));
        let (source, finish) = (Reals { graph: self, x }, Values(self.output()));
        let job = Job { graph: self, source, errors: errors.as_ref(), finish };
        job.run(rows, out, options.path, options.n_threads)
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
