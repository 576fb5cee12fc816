//! Rows spread over threads.
//!
//! Helpers are threads of a pool that outlives the call, as they are quicker to wake than to start.
//! They don't survive `fork`, and a forked child (a `DataLoader` worker, a `joblib` process) that left
//! work to them would wait forever; so a pool belongs to the process that made it, and another process
//! makes its own.

use std::cell::Cell;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use std::{process, thread};

use rayon::{ThreadPool, ThreadPoolBuilder, Yield};

/// Elementary steps (a multiply-add, a table read) that outweigh waking a thread, several times.
const WORK_PER_THREAD: usize = 1 << 19;

/// How long threads wait for each other before they sleep: about as long as waking them may take.
const LINGER: Duration = Duration::from_micros(200);

/// How many threads to use for `work` elementary steps: as many as asked for, else as many as there
/// are cores and enough work for.
pub(crate) fn threads_for(requested: Option<NonZeroUsize>, work: usize) -> usize {
    match requested {
        Some(threads) => threads.get(),
        None if work < 2 * WORK_PER_THREAD => 1,
        None => cores().min(work / WORK_PER_THREAD),
    }
}

/// Asking the system reads files, which takes longer than a small batch does.
fn cores() -> usize {
    static CORES: OnceLock<usize> = OnceLock::new();
    *CORES.get_or_init(|| thread::available_parallelism().map_or(1, NonZeroUsize::get))
}

/// Runs `task(index, chunk, scratch)` on every chunk of `chunk_len` items of `out`.
///
/// Chunks are handed out in order, and a failure keeps those after it from starting; so the error
/// returned is that of the first chunk that fails, whatever the number of threads.
pub(crate) fn for_each_chunk<O: Send, S, E: Send>(
    out: &mut [O],
    chunk_len: usize,
    n_threads: usize,
    scratch: impl Fn() -> S + Sync,
    task: impl Fn(usize, &mut [O], &mut S) -> Result<(), E> + Sync,
) -> Result<(), E> {
    let n_chunks = out.len().div_ceil(chunk_len);
    let queue = Mutex::new(out.chunks_mut(chunk_len).enumerate());
    let failure: Mutex<Option<(usize, E)>> = Mutex::new(None);
    let work = || {
        let mut scratch = scratch();
        loop {
            let next = lock(&queue).next();
            let Some((index, chunk)) = next else { return };
            if let Err(error) = task(index, chunk, &mut scratch) {
                lock(&queue).by_ref().for_each(drop);
                let mut failure = lock(&failure);
                if failure.as_ref().is_none_or(|(first, _)| index < *first) {
                    *failure = Some((index, error));
                }
                return;
            }
        }
    };
    let finished = AtomicUsize::new(0);
    let helpers = n_threads.min(n_chunks).saturating_sub(1);
    match (helpers > 0).then(pool).flatten() {
        None => work(),
        Some(pool) => pool.in_place_scope(|scope| {
            for _ in 0..helpers {
                scope.spawn(|_| {
                    // Once it has finished, as little as possible is left to do.
                    rayon::spawn(linger);
                    work();
                    finished.fetch_add(1, Ordering::Release);
                });
            }
            work();
            await_all(&finished, helpers);
        }),
    }
    match failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some((_, error)) => Err(error),
        None => Ok(()),
    }
}

/// Waits without sleeping, as helpers finish at about the same time, but not for long.
fn await_all(finished: &AtomicUsize, helpers: usize) {
    let start = Instant::now();
    while finished.load(Ordering::Acquire) < helpers && start.elapsed() < LINGER {
        thread::yield_now();
    }
    // For the end of their tasks.
    thread::yield_now();
}

/// Looks for more work, for calls often follow each other; other threads of the system go first.
fn linger() {
    thread_local! {
        static LINGERS: Cell<bool> = const { Cell::new(false) };
    }
    // What it finds may end in this function again, once for every call.
    if LINGERS.replace(true) {
        return;
    }
    let mut idle_since = Instant::now();
    while idle_since.elapsed() < LINGER {
        if let Some(Yield::Executed) = rayon::yield_now() {
            idle_since = Instant::now();
        } else {
            thread::yield_now();
        }
    }
    LINGERS.set(false);
}

/// The threads of this process; none if they can't be started.
fn pool() -> Option<Arc<ThreadPool>> {
    static POOL: Mutex<Option<(u32, Arc<ThreadPool>)>> = Mutex::new(None);
    // Starting threads takes less than a millisecond. A child that was forked just then finds the
    // lock taken for good, and does without.
    let mut pool = (0..100).find_map(|_| {
        let pool = POOL.try_lock();
        if pool.is_err() {
            thread::sleep(Duration::from_millis(1));
        }
        pool.ok()
    })?;
    if let Some((owner, pool)) = &*pool
        && *owner == process::id()
    {
        return Some(Arc::clone(pool));
    }
    // The caller works too: one more thread would look for work on a core that has some.
    let builder = ThreadPoolBuilder::new().num_threads(cores().saturating_sub(1).max(1));
    let started = Arc::new(builder.thread_name(|at| format!("cipherfit-{at}")).build().ok()?);
    // What another process started can't be stopped from this one.
    std::mem::forget(pool.replace((process::id(), Arc::clone(&started))));
    Some(started)
}

/// Nothing panics while holding these locks, so poisoning carries no meaning.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use super::for_each_chunk;

    #[test]
    fn the_first_chunk_that_fails_is_reported_even_if_it_fails_last() {
        let later_failed = AtomicBool::new(false);
        let task = |index, _: &mut [u8], (): &mut ()| {
            if index == 1 {
                later_failed.store(true, Ordering::SeqCst);
            } else {
                while !later_failed.load(Ordering::SeqCst) {
                    std::thread::sleep(Duration::from_millis(1));
                }
                // Time for the other thread to report its failure.
                std::thread::sleep(Duration::from_millis(50));
            }
            Err(index)
        };
        assert_eq!(for_each_chunk(&mut [0; 2], 1, 2, || (), task), Err(0));
    }

    #[test]
    fn any_number_of_calls_may_follow_each_other() {
        // Each takes some of a helper's stack if it begins within the one before it.
        for _ in 0..50_000 {
            let task = |_: usize, chunk: &mut [u8], (): &mut ()| -> Result<(), ()> {
                chunk.fill(1);
                Ok(())
            };
            let mut done = [0_u8; 4];
            assert_eq!(for_each_chunk(&mut done, 1, 2, || (), task), Ok(()));
            assert_eq!(done, [1; 4]);
        }
    }

    #[test]
    fn every_chunk_is_done_once_whatever_the_threads() {
        for n_threads in 0..5 {
            let mut counts = [0_u8; 103];
            let task = |index: usize, chunk: &mut [u8], (): &mut ()| -> Result<(), ()> {
                for (at, count) in (index * 10..).zip(chunk) {
                    *count += u8::try_from(at).unwrap_or(0) + 1;
                }
                Ok(())
            };
            assert_eq!(for_each_chunk(&mut counts, 10, n_threads, || (), task), Ok(()));
            assert!(counts.iter().zip(1..).all(|(&count, at)| count == at));
        }
    }
}
