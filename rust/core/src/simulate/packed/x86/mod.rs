//! The packed kernel in vector instructions of x86-64.

#![allow(unsafe_code, reason = "what needs instructions is called where they are proven")]

mod avx2;
mod avx512;
mod emission;
mod load;
mod load_column;
mod memory;
mod read;
mod simd;
mod vector;

use avx2::Ymm;
use avx512::Zmm;
use simd::Simd;

use super::evaluation::{self, Scratch};
use super::program::Program;
use crate::error::InputError;
use crate::simulate::finish::Finish;
use crate::simulate::instructions::{Avx2, Avx512, Avx512Vbmi};
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
    Some(match path {
        Path::Avx2 => avx2(Avx2::detect()?, job, program, start, out, scratch),
        Path::Avx512 => avx512(Avx512::detect()?, job, program, start, out, scratch),
        Path::Avx512Vbmi => avx512_vbmi(Avx512Vbmi::detect()?, job, program, start, out, scratch),
        _ => return None,
    })
}

/// All that is called here is inlined, so that it is compiled for the same instructions. What is passed
/// is known not to overlap only if it isn't passed within something else.
macro_rules! evaluate_with {
    ($name:ident, $proof:ty, $vector:ty, $features:literal) => {
        fn $name<S: Source, F: Finish>(
            proof: $proof,
            job: Job<'_, S, F>,
            program: &Program,
            start: usize,
            out: &mut [F::Value],
            scratch: &mut Scratch,
        ) -> Result<(), InputError> {
            #[target_feature(enable = $features)]
            fn with_instructions<S: Source, F: Finish>(
                proof: $proof,
                job: Job<'_, S, F>,
                program: &Program,
                start: usize,
                out: &mut [F::Value],
                scratch: &mut Scratch,
            ) -> Result<(), InputError> {
                evaluation::evaluate(Simd::<$vector>::new(proof), job, program, start, out, scratch)
            }
            // SAFETY: the proof is of the instructions that the function needs.
            unsafe { with_instructions(proof, job, program, start, out, scratch) }
        }
    };
}

evaluate_with!(avx2, Avx2, Ymm, "avx2,fma");
evaluate_with!(avx512, Avx512, Zmm<false>, "avx2,fma,avx512f,avx512bw,avx512dq,avx512vl");
evaluate_with!(
    avx512_vbmi,
    Avx512Vbmi,
    Zmm<true>,
    "avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi"
);
