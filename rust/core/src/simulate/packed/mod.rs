//! Blocks of rows with two sums in each 16-bit lane, since the proof says that they fit.
//!
//! A graph is prepared once (`program`), with its tables and its quantizer in the forms that kernels
//! read. `evaluation` takes blocks of rows through a `kernel`: that of plain loops (`portable`), or one
//! for the processor's vector instructions (`x86`).

mod evaluation;
mod kernel;
mod portable;
mod program;
mod quantizer;
mod table;
#[cfg(target_arch = "x86_64")]
mod x86;

pub(super) use evaluation::Scratch;
use portable::Portable;
pub(super) use program::Program;

use super::finish::Finish;
use super::job::Job;
use super::path::Path;
use super::source::Source;
use crate::error::InputError;

/// Evaluates the rows from `start` that `out` has room for with the kernel of `path`.
pub(super) fn evaluate<S: Source, F: Finish>(
    path: Path,
    job: Job<'_, S, F>,
    program: &Program,
    start: usize,
    out: &mut [F::Value],
    scratch: &mut Scratch,
) -> Result<(), InputError> {
    #[cfg(target_arch = "x86_64")]
    if let Some(result) = x86::evaluate(path, job, program, start, out, scratch) {
        return result;
    }
    evaluation::evaluate(Portable, job, program, start, out, scratch)
}
