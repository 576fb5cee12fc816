//! Rows spread over threads, and the one place where a kernel is chosen for them.

use std::num::NonZeroUsize;

use super::finish::Finish;
use super::noise::Errors;
use super::packed::kernel::BLOCK;
use super::packed::portable::Portable;
use super::packed::program::Program;
use super::path::Path;
use super::source::Source;
use super::{lanes, packed, rows};
use crate::error::InputError;
use crate::graph::IntegerGraph;
use crate::parallel::{for_each_chunk, threads_for};

/// Rows that a thread takes at a time.
pub(super) const CHUNK: usize = 4 * BLOCK;

/// Up to so many rows are evaluated one by one.
const FEW_ROWS: usize = 5;

/// What to evaluate.
#[derive(Clone, Copy)]
pub(super) struct Job<'a, S, F> {
    pub(super) graph: &'a IntegerGraph,
    pub(super) source: S,
    /// Errors of lookups.
    pub(super) errors: Option<&'a Errors>,
    pub(super) finish: F,
}

/// A kernel with the space it works in.
enum Worker<'a> {
    Rows(rows::Scratch),
    Lanes(lanes::Scratch),
    Packed(Path, &'a Program, packed::Scratch),
}

impl<S: Source, F: Finish> Job<'_, S, F> {
    /// Stores the results of `rows` rows in `out`.
    pub(super) fn run(
        self,
        rows: usize,
        out: &mut [F::Value],
        path: Option<Path>,
        n_threads: Option<NonZeroUsize>,
    ) -> Result<(), InputError> {
        let path = path.filter(|path| path.is_available());
        let path = path.unwrap_or_else(|| if rows <= FEW_ROWS { Path::Rows } else { Path::best() });
        let threads = threads_for(n_threads, rows.saturating_mul(self.steps_per_row(path)));
        for_each_chunk(
            out,
            CHUNK * self.graph.n_outputs(),
            threads,
            || self.worker(path),
            |chunk, out, worker| self.run_chunk(chunk * CHUNK, out, worker),
        )
    }

    fn worker(&self, path: Path) -> Worker<'_> {
        if path == Path::Rows {
            return Worker::Rows(rows::Scratch::new(self.graph));
        }
        match self.graph.program() {
            Some(program) if path != Path::Lanes => {
                Worker::Packed(path, program, packed::Scratch::new(self.graph))
            }
            _ => Worker::Lanes(lanes::Scratch::new(self.graph)),
        }
    }

    fn run_chunk(
        self,
        start: usize,
        out: &mut [F::Value],
        worker: &mut Worker<'_>,
    ) -> Result<(), InputError> {
        match worker {
            Worker::Rows(scratch) => rows::evaluate(self, start, out, scratch),
            Worker::Lanes(scratch) => lanes::evaluate(self, start, out, scratch),
            #[cfg(target_arch = "x86_64")]
            Worker::Packed(
                path @ (Path::Sse2 | Path::Avx2 | Path::Avx512 | Path::Avx512Vbmi),
                program,
                scratch,
            ) => super::packed::x86::evaluate(*path, self, program, start, out, scratch),
            Worker::Packed(_, program, scratch) => {
                packed::evaluate(Portable, self, program, start, out, scratch)
            }
        }
    }

    /// Rough cost of a row in elementary steps.
    fn steps_per_row(&self, path: Path) -> usize {
        let nonzeros: usize =
            self.graph.linears().map(crate::graph::linear::Linear::n_nonzeros).sum();
        let steps = self.graph.n_features() + nonzeros + self.graph.n_lookups();
        if matches!(path, Path::Rows | Path::Lanes) { steps } else { steps.div_ceil(4) }
    }
}
