//! Results of sums with byte permutes of AVX-512 VBMI, eight at a time in the order in which they are
//! stored, across rows.

#![allow(unsafe_code, reason = "every use says why it is sound")]
#![allow(clippy::wildcard_imports, reason = "the intrinsics' names say where they are from")]

use std::arch::x86_64::*;

use super::memory::{load_512, store_512};
use crate::simulate::block::{BLOCK, Sums, Tile};
use crate::simulate::finish::Finish;
use crate::simulate::outputs::{OutputGroup, Run, Runs};

/// Runs whose constants stay in registers.
const MAX_RUNS: usize = 5;

/// `2^52`, whose bits an integer below `2^52` can be put into: the result is their sum.
const POWER: f64 = 4_503_599_627_370_496.0;

/// Makes the results of as many groups of rows as `out` has room for, in as few passes over the sums as
/// registers allow, each with as many runs; returns how many rows those are.
#[inline]
#[target_feature(enable = "avx512bw,avx512vbmi")]
pub(super) fn emit<F: Finish>(
    Runs { rows, runs }: &Runs,
    sums: Sums<'_>,
    out: &mut [F::Value],
) -> usize {
    let (n_runs, out) = (runs.len(), out.as_chunks_mut().0);
    let groups = out.len() / n_runs;
    let each = n_runs.div_ceil(n_runs.div_ceil(MAX_RUNS));
    for (pass, part) in runs.chunks(each).enumerate() {
        let emission = Emission { sums, rows: *rows, groups, first: each * pass, n_runs };
        match part.len() {
            1 => emission.emit::<F, 1>(part, out),
            2 => emission.emit::<F, 2>(part, out),
            3 => emission.emit::<F, 3>(part, out),
            4 => emission.emit::<F, 4>(part, out),
            _ => emission.emit::<F, MAX_RUNS>(part, out),
        }
    }
    groups * rows
}

/// Results to make of sums.
struct Emission<'a> {
    sums: Sums<'a>,
    /// Rows of a group.
    rows: usize,
    groups: usize,
    /// The first run of a group that is made, of so many.
    first: usize,
    n_runs: usize,
}

impl Emission<'_> {
    /// Makes the first `N` of `runs` for each group.
    #[inline]
    #[target_feature(enable = "avx512bw,avx512vbmi")]
    fn emit<F: Finish, const N: usize>(&self, runs: &[Run], out: &mut [[F::Value; 8]]) {
        let runs = runs.first_chunk().expect("as many runs");
        // One loop for all would test which it is at each step. In a group of four rows, as even numbers
        // of outputs have, every run begins with the first.
        match (self.sums.high, self.rows) {
            (None, 4) => self.emit_as::<F, N, false, true>(runs, out),
            (Some(_), 4) => self.emit_as::<F, N, true, true>(runs, out),
            (None, _) => self.emit_as::<F, N, false, false>(runs, out),
            (Some(_), _) => self.emit_as::<F, N, true, false>(runs, out),
        }
    }

    /// The same of sums of 16 bits if `WIDE`, else of 8, where runs are of four rows if `FOUR`.
    #[inline]
    #[target_feature(enable = "avx512bw,avx512vbmi")]
    fn emit_as<F: Finish, const N: usize, const WIDE: bool, const FOUR: bool>(
        &self,
        runs: &[Run; N],
        out: &mut [[F::Value; 8]],
    ) {
        let (zero, power) = (_mm512_setzero_si512(), _mm512_set1_pd(POWER));
        let (mut places, mut low) = ([zero; N], [zero; N]);
        let (mut low_steps, mut scale, mut offset) = ([power; N], [power; N], [power; N]);
        for (at, run) in runs.iter().enumerate() {
            assert!(run.first + 4 <= self.rows, "a run's rows are in its group");
            debug_assert!(!FOUR || run.first == 0);
            let OutputGroup { low: lows, low_steps: steps, .. } = &run.group;
            places[at] = load_512(&run.places);
            low[at] = load_512(lows);
            low_steps[at] = _mm512_sub_pd(_mm512_castsi512_pd(load_512(steps)), power);
            scale[at] = _mm512_castsi512_pd(load_512(&run.group.scale));
            offset[at] = _mm512_castsi512_pd(load_512(&run.group.offset));
        }
        let start = if F::REAL { _mm512_castpd_si512(power) } else { zero };
        let (low_rows, high_rows) = (self.sums.low, self.sums.high.unwrap_or(self.sums.low));
        // Tests in the loop would take registers that constants are in.
        assert!(self.groups * self.rows <= BLOCK, "groups are within a tile");
        assert!(self.groups * self.n_runs <= out.len(), "results are within those asked for");
        assert!(self.first + N <= self.n_runs, "runs are within a group");
        for group in 0..self.groups {
            let first = group * self.n_runs + self.first;
            // SAFETY: these runs' results are within a group, and so many groups within `out`.
            let out: &mut [[F::Value; 8]; N] = unsafe { &mut *out.as_mut_ptr().add(first).cast() };
            for (at, run) in runs.iter().enumerate() {
                let four = |tile: &Tile| {
                    let first = if FOUR { 4 * group } else { group * self.rows + run.first };
                    // SAFETY: a run's rows are within its group, and so many groups within a tile.
                    load_512::<[u8; 16], 4>(unsafe { &*tile.0.as_ptr().add(first).cast() })
                };
                let lowest = 0x0101_0101_0101_0101;
                let sums = four(low_rows);
                let mut sum = _mm512_mask_permutexvar_epi8(start, lowest, places[at], sums);
                if WIDE {
                    let places = _mm512_slli_epi64::<8>(places[at]);
                    let sums = four(high_rows);
                    sum = _mm512_mask_permutexvar_epi8(sum, lowest << 1, places, sums);
                }
                let result = if F::REAL {
                    // Exact, as below 2^52.
                    let accumulator = _mm512_add_pd(_mm512_castsi512_pd(sum), low_steps[at]);
                    let product = _mm512_mul_pd(accumulator, scale[at]);
                    _mm512_castpd_si512(_mm512_add_pd(product, offset[at]))
                } else {
                    _mm512_add_epi64(sum, low[at])
                };
                store_512(result, as_integers::<F>(&mut out[at]));
            }
        }
    }
}

/// Results as integers of the same bits.
#[inline(always)]
fn as_integers<F: Finish>(results: &mut [F::Value; 8]) -> &mut [i64; 8] {
    const { assert!(size_of::<F::Value>() == size_of::<i64>(), "results have 64 bits") };
    const { assert!(align_of::<F::Value>() == align_of::<i64>(), "which are as aligned") };
    // SAFETY: a result is an f64 if `F::REAL`, else an i64; any bits are one, and no reference is left.
    unsafe { &mut *std::ptr::from_mut(results).cast() }
}
