//! The packed kernel in vector instructions of x86-64.

mod avx2;
mod avx512;
mod emission;
mod load;
mod memory;
mod read;
mod simd;
mod vector;

use avx2::Ymm;
use avx512::Zmm;
use simd::Simd;

use super::evaluation::{self, Scratch};
use super::kernel::Kernel;
use super::program::Program;
use crate::error::InputError;
use crate::simulate::finish::Finish;
use crate::simulate::instructions::{Avx2, Avx512, Avx512Vbmi, Task};
use crate::simulate::job::Job;
use crate::simulate::path::Path;
use crate::simulate::source::Source;

/// Evaluates on `path`, if it is one of these and the processor has its instructions.
pub(super) fn evaluate<S: Source, F: Finish>(
    path: Path,
    job: Job<'_, S, F>,
    program: &Program,
    start: usize,
    out: &mut [F::Value],
    scratch: &mut Scratch,
) -> Option<Result<(), InputError>> {
    let chunk = Chunk { job, program, start, out, scratch };
    match path {
        Path::Avx2 => {
            let proof = Avx2::detect()?;
            Some(proof.run(Evaluation { kernel: Simd::<Ymm>::new(proof), chunk }))
        }
        Path::Avx512 => {
            let proof = Avx512::detect()?;
            Some(proof.run(Evaluation { kernel: Simd::<Zmm<false>>::new(proof), chunk }))
        }
        Path::Avx512Vbmi => {
            let proof = Avx512Vbmi::detect()?;
            Some(proof.run(Evaluation { kernel: Simd::<Zmm<true>>::new(proof), chunk }))
        }
        _ => None,
    }
}

/// The rows that a thread takes at a time.
struct Chunk<'a, S, F: Finish> {
    job: Job<'a, S, F>,
    program: &'a Program,
    start: usize,
    out: &'a mut [F::Value],
    scratch: &'a mut Scratch,
}

/// Their evaluation by a kernel, to be compiled for its instructions.
struct Evaluation<'a, K, S, F: Finish> {
    kernel: K,
    chunk: Chunk<'a, S, F>,
}

impl<K: Kernel, S: Source, F: Finish> Task for Evaluation<'_, K, S, F> {
    type Output = Result<(), InputError>;

    #[inline(always)]
    fn run(self) -> Self::Output {
        let Chunk { job, program, start, out, scratch } = self.chunk;
        evaluation::evaluate(self.kernel, job, program, start, out, scratch)
    }
}
