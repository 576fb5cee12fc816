//! The packed kernel in vector instructions of x86-64.

mod avx2;
mod avx512;
mod emission;
mod load;
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
        // SAFETY: the processor has the instructions that the function enables.
        Path::Avx2 if path.is_available() => unsafe { avx2(job, program, start, out, scratch) },
        // SAFETY: as above.
        Path::Avx512 if path.is_available() => unsafe { avx512(job, program, start, out, scratch) },
        // SAFETY: as above.
        Path::Avx512Vbmi if path.is_available() => unsafe {
            avx512_vbmi(job, program, start, out, scratch)
        },
        _ => return None,
    })
}

/// All that is called here is inlined, so that it is compiled for the same instructions.
macro_rules! evaluate_with {
    ($name:ident, $vector:ty, $features:literal) => {
        #[target_feature(enable = $features)]
        fn $name<S: Source, F: Finish>(
            job: Job<'_, S, F>,
            program: &Program,
            start: usize,
            out: &mut [F::Value],
            scratch: &mut Scratch,
        ) -> Result<(), InputError> {
            // SAFETY: this function has the vector's instructions.
            let kernel = unsafe { Simd::<$vector>::new() };
            evaluation::evaluate(kernel, job, program, start, out, scratch)
        }
    };
}

evaluate_with!(avx2, Ymm, "avx2,fma");
evaluate_with!(avx512, Zmm<false>, "avx2,fma,avx512f,avx512bw,avx512dq,avx512vl");
evaluate_with!(avx512_vbmi, Zmm<true>, "avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi");
