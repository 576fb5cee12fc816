//! Codes that tables give for sums, in registers.

use super::super::table::{Bytes, Step};
use super::simd::Wide;
use super::vector::Vector;

/// # Safety
/// As [`Vector`].
#[inline(always)]
pub(super) unsafe fn read_steps<V: Vector, const N: usize>(
    sums: [V; N],
    base: u8,
    steps: &[Step],
) -> [V; N] {
    // SAFETY: the caller's.
    unsafe {
        let (mut codes, mut ordered) = ([V::bytes(base); N], sums);
        for sum in &mut ordered {
            *sum = sum.ordered();
        }
        for step in steps {
            let before = V::bytes((step.at - 1).to_le_bytes()[0]).ordered();
            let delta = V::bytes(step.delta);
            for (code, sum) in codes.iter_mut().zip(ordered) {
                *code = code.step_bytes(sum, before, delta);
            }
        }
        codes
    }
}

/// # Safety
/// As [`Vector`].
#[inline(always)]
pub(super) unsafe fn read_wide_steps<V: Vector, const N: usize>(
    (even, odd): Wide<V, N>,
    base: u8,
    steps: &[Step],
) -> [V; N] {
    // SAFETY: the caller's.
    unsafe {
        let (mut evens, mut odds) = ([V::words(base.into()); N], [V::words(base.into()); N]);
        for step in steps {
            let (least, delta) = (V::words(step.at), V::words(step.delta.into()));
            for at in 0..N {
                evens[at] = evens[at].step_words(even[at], least, delta);
                odds[at] = odds[at].step_words(odd[at], least, delta);
            }
        }
        low_bytes((evens, odds))
    }
}

/// # Safety
/// As [`Vector`]; all sums must be in the table.
#[inline(always)]
pub(super) unsafe fn read_bytes<V: Vector, const N: usize>(
    mut sums: [V; N],
    table: &Bytes,
) -> [V; N] {
    for sum in &mut sums {
        // SAFETY: the caller's.
        *sum = unsafe { sum.look_up(table) };
    }
    sums
}

/// # Safety
/// As [`Vector`].
#[inline(always)]
pub(super) unsafe fn read_wide_bytes<V: Vector, const N: usize>(
    (mut even, mut odd): Wide<V, N>,
    table: &Bytes,
) -> [V; N] {
    // SAFETY: the caller's.
    unsafe {
        let half = V::words(table.half);
        for at in 0..N {
            even[at] = even[at].add(half).shift_right(table.lsbs);
            odd[at] = odd[at].add(half).shift_right(table.lsbs);
        }
        read_bytes(low_bytes((even, odd)), table)
    }
}

/// The low bytes, a row to a byte.
///
/// # Safety
/// As [`Vector`].
#[inline(always)]
pub(super) unsafe fn low_bytes<V: Vector, const N: usize>((even, odd): Wide<V, N>) -> [V; N] {
    // SAFETY: the caller's.
    unsafe {
        let mut bytes = even;
        for at in 0..N {
            bytes[at] = even[at].and(V::words(255)).or(odd[at].to_high_bytes());
        }
        bytes
    }
}
