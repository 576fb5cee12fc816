//! Results of sums with byte permutes of AVX-512 VBMI, eight at a time in the order in which they are
//! stored, across rows.

#![allow(clippy::wildcard_imports, reason = "the intrinsics' names say where they are from")]

use std::arch::x86_64::*;

use crate::simulate::block::Sums;
use crate::simulate::finish::Finish;
use crate::simulate::outputs::{Run, Runs};

/// Runs whose constants stay in registers.
const MAX_RUNS: usize = 5;

/// `2^52`, whose bits an integer below `2^52` can be put into: the result is their sum.
const POWER: f64 = 4_503_599_627_370_496.0;

/// Stores the results of `groups` groups of rows at `to`, in as few passes over the sums as registers
/// allow, each with as many runs.
///
/// # Safety
/// The processor must have AVX-512 F, BW and VBMI, and there must be room for the results.
#[inline(always)]
pub(super) unsafe fn emit<F: Finish>(
    Runs { rows, runs }: &Runs,
    sums: Sums<'_>,
    groups: usize,
    to: *mut u8,
) {
    let each = runs.len().div_ceil(runs.len().div_ceil(MAX_RUNS));
    for (pass, part) in runs.chunks(each).enumerate() {
        let emission = Emission { sums, rows: *rows, groups, stride: 64 * runs.len() };
        let to = to.wrapping_add(64 * each * pass);
        // SAFETY: the caller's.
        unsafe {
            match part.len() {
                1 => emission.emit::<F, 1>(part, to),
                2 => emission.emit::<F, 2>(part, to),
                3 => emission.emit::<F, 3>(part, to),
                4 => emission.emit::<F, 4>(part, to),
                _ => emission.emit::<F, MAX_RUNS>(part, to),
            }
        }
    }
}

/// Results to make of sums.
struct Emission<'a> {
    sums: Sums<'a>,
    /// Rows of a group.
    rows: usize,
    groups: usize,
    /// Bytes of a group's results.
    stride: usize,
}

impl Emission<'_> {
    /// Stores the first `N` of `runs` for each group.
    ///
    /// # Safety
    /// As [`emit`]; there must be as many runs.
    #[inline(always)]
    unsafe fn emit<F: Finish, const N: usize>(&self, runs: &[Run], to: *mut u8) {
        // SAFETY: the caller's.
        unsafe {
            // One loop for both would test which it is at each step.
            match self.sums.high {
                None => self.emit_as::<F, N, false>(runs, to),
                Some(_) => self.emit_as::<F, N, true>(runs, to),
            }
        }
    }

    /// The same of sums of 16 bits if `WIDE`, else of 8.
    ///
    /// # Safety
    /// The same.
    #[inline(always)]
    unsafe fn emit_as<F: Finish, const N: usize, const WIDE: bool>(
        &self,
        runs: &[Run],
        to: *mut u8,
    ) {
        // SAFETY: the caller's; a group's rows, and the four from a run's first, are within a tile.
        unsafe {
            let (zero, power) = (_mm512_setzero_si512(), _mm512_set1_pd(POWER));
            let (mut places, mut low) = ([zero; N], [zero; N]);
            let (mut low_steps, mut scale, mut offset) = ([power; N], [power; N], [power; N]);
            for (at, run) in runs.iter().enumerate().take(N) {
                let Run { group, places: place, .. } = run;
                places[at] = _mm512_loadu_si512(place.as_ptr().cast());
                low[at] = _mm512_loadu_si512(group.low.as_ptr().cast());
                low_steps[at] = _mm512_sub_pd(_mm512_loadu_pd(group.low_steps.as_ptr()), power);
                scale[at] = _mm512_loadu_pd(group.scale.as_ptr());
                offset[at] = _mm512_loadu_pd(group.offset.as_ptr());
            }
            let start = if F::REAL { _mm512_castpd_si512(power) } else { zero };
            let low_rows = self.sums.low.0.as_ptr();
            let high_rows = self.sums.high.map_or(low_rows, |high| high.0.as_ptr());
            for group in 0..self.groups {
                for at in 0..N {
                    let first = group * self.rows + runs[at].first;
                    let sums = _mm512_loadu_si512(low_rows.add(first).cast());
                    let lowest = 0x0101_0101_0101_0101;
                    let mut sum = _mm512_mask_permutexvar_epi8(start, lowest, places[at], sums);
                    if WIDE {
                        let sums = _mm512_loadu_si512(high_rows.add(first).cast());
                        let places = _mm512_slli_epi64::<8>(places[at]);
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
                    _mm512_storeu_si512(to.add(group * self.stride + 64 * at).cast(), result);
                }
            }
        }
    }
}
