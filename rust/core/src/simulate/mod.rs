//! Evaluation of a graph on batches: exact, or with TFHE's own errors.
//!
//! Rows are cut into chunks that threads share (`parallel`) and chunks into blocks, which `block`
//! evaluates. Its `evaluate` is the one place where a kernel is chosen.

mod block;
mod lane;
mod noise;

use std::num::NonZeroUsize;

use block::{BLOCK, Block};
use lane::Plan;
pub use noise::Noise;

use crate::error::InputError;
use crate::graph::IntegerGraph;
use crate::input::Real;
use crate::parallel::{for_each_chunk, threads_for};

/// Rows that a thread takes at a time.
const CHUNK: usize = 4 * BLOCK;

/// How to simulate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Options {
    /// Errors of lookups; none for the exact result.
    pub noise: Option<Noise>,
    /// Threads to use; by default as many as there are cores and enough rows for.
    pub n_threads: Option<NonZeroUsize>,
}

impl IntegerGraph {
    /// Codes of the rows of `x`, row by row: [`crate::input`] has the formula.
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
        let (width, max) = (self.n_features(), self.input().max_code());
        let rows = rows_of("codes", codes.len(), width)?;
        // Codes are checked in the copy that is evaluated, so that a caller who writes to them
        // meanwhile can get a wrong result but not an index outside a table.
        let load = |row: usize, copy: &mut [u16]| {
            copy.copy_from_slice(&codes[row * width..][..width]);
            match copy.iter().position(|&code| code > max) {
                None => Ok(()),
                Some(column) => {
                    let value = copy[column].into();
                    Err(InputError::CodeOutOfRange { row, column, value, max })
                }
            }
        };
        self.evaluate(rows, load, |_, accumulator| accumulator, out, options)
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

    /// Quantizes, simulates exactly and dequantizes the rows of `x`, without storing codes.
    ///
    /// # Errors
    /// If a length is not that of whole rows, or a value is NaN or infinite.
    pub fn run_into<T: Real>(
        &self,
        x: &[T],
        out: &mut [f64],
        n_threads: Option<NonZeroUsize>,
    ) -> Result<(), InputError> {
        let width = self.n_features();
        let rows = rows_of("X", x.len(), width)?;
        let load = |row: usize, codes: &mut [u16]| {
            self.input().quantize_row(row, &x[row * width..][..width], codes)
        };
        let finish = |output, accumulator| self.output().dequantize(output, accumulator);
        self.evaluate(rows, load, finish, out, Options { noise: None, n_threads })
    }

    /// Evaluates `rows` rows, whose codes `load` gives, and stores what `finish` makes of them.
    fn evaluate<O: Send>(
        &self,
        rows: usize,
        load: impl Fn(usize, &mut [u16]) -> Result<(), InputError> + Sync,
        finish: impl Fn(usize, i64) -> O + Sync,
        out: &mut [O],
        options: Options,
    ) -> Result<(), InputError> {
        let width = self.n_outputs();
        check_out(out.len(), rows, width)?;
        let plan = Plan::new(self);
        let noise = options.noise.filter(|noise| !noise.is_silent());
        let threads = threads_for(options.n_threads, rows.saturating_mul(self.steps_per_row()));
        let scratch = || (Block::new(self), vec![0; self.n_features()]);
        for_each_chunk(out, CHUNK * width, threads, scratch, |chunk, out, (block, codes)| {
            let starts = (chunk * CHUNK..).step_by(BLOCK);
            for (start, out) in starts.zip(out.chunks_mut(BLOCK * width)) {
                let rows = out.len() / width;
                for row in 0..rows {
                    load(start + row, codes)?;
                    block.set_row(row, codes);
                }
                let noise = noise.map(|noise| (noise, start as u64));
                block.evaluate(self, &plan, rows, noise, |output, accumulators| {
                    for (row, &accumulator) in out.chunks_exact_mut(width).zip(accumulators) {
                        row[output] = finish(output, accumulator);
                    }
                });
            }
            Ok(())
        })
    }

    /// Rough cost of a row in elementary steps.
    fn steps_per_row(&self) -> usize {
        let nonzeros: usize = self.linears().map(crate::ops::Linear::n_nonzeros).sum();
        self.n_features() + nonzeros + self.n_lookups()
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
