//! Rows spread over threads, and the one place where a way to evaluate them is chosen.

use std::num::NonZeroUsize;

use super::block::BLOCK;
use super::finish::Finish;
use super::job::Job;
use super::packed::{self, Program};
use super::path::Path;
use super::source::Source;
use super::{lanes, rows};
use crate::error::InputError;
use crate::parallel::{for_each_chunk, threads_for};

/// Rows that a thread takes at a time.
pub(super) const CHUNK: usize = 4 * BLOCK;

/// Up to so many rows are evaluated one by one.
const FEW_ROWS: usize = 5;

/// A kernel with the space it works in.
enum Worker<'a> {
    Rows(rows::Scratch),
    Lanes(lanes::Scratch),
    Packed(Path, &'a Program, packed::Scratch),
}

impl<S: Source, F: Finish> Job<'_, S, F> {
    /// Stores the results of `rows` rows in `out`; `program` is the graph prepared for packed kernels,
    /// which is asked for only where it is used.
    pub(super) fn run<'p>(
        self,
        program: impl Fn() -> Option<&'p Program> + Sync,
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
            || self.worker(path, &program),
            |chunk, out, worker| self.run_chunk(chunk * CHUNK, out, worker),
        )
    }

    fn worker<'p>(&self, path: Path, program: impl Fn() -> Option<&'p Program>) -> Worker<'p> {
        if path == Path::Rows {
            return Worker::Rows(rows::Scratch::new(self.graph));
        }
        match (path != Path::Lanes).then(program).flatten() {
            Some(program) => Worker::Packed(path, program, packed::Scratch::new(self.graph)),
            None => Worker::Lanes(lanes::Scratch::new(self.graph)),
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
            Worker::Packed(path, program, scratch) => {
                packed::evaluate(*path, self, program, start, out, scratch)
            }
        }
    }

    /// Rough cost of a row in elementary steps.
    fn steps_per_row(&self, path: Path) -> usize {
        let linears = self.graph.evaluated().map(|stage| stage.linear);
        let (mut nonzeros, mut lookups) = (0, 0);
        for linear in linears {
            nonzeros += linear.n_nonzeros();
            lookups += linear.n_outputs();
        }
        let steps = self.graph.n_features() + nonzeros + lookups;
        if matches!(path, Path::Rows | Path::Lanes) { steps } else { steps.div_ceil(4) }
    }
}
