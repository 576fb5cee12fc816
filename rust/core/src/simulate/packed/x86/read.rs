//! Codes that tables give for sums, in registers.

use super::vector::{Vector, Wide, low_bytes};
use crate::simulate::packed::table::{Bytes, Step};

#[inline(always)]
pub(super) fn read_steps<V: Vector, const N: usize>(
    proof: V::Proof,
    sums: [V; N],
    base: u8,
    steps: &[Step],
) -> [V; N] {
    let (mut codes, mut ordered) = ([V::bytes(proof, base); N], sums);
    for sum in &mut ordered {
        *sum = sum.ordered();
    }
    for step in steps {
        let before = V::bytes(proof, (step.at - 1).to_le_bytes()[0]).ordered();
        let delta = V::bytes(proof, step.delta);
        for (code, sum) in codes.iter_mut().zip(ordered) {
            *code = code.step_bytes(sum, before, delta);
        }
    }
    codes
}

#[inline(always)]
pub(super) fn read_wide_steps<V: Vector, const N: usize>(
    proof: V::Proof,
    (even, odd): Wide<V, N>,
    base: u8,
    steps: &[Step],
) -> [V; N] {
    let (mut evens, mut odds) =
        ([V::words(proof, base.into()); N], [V::words(proof, base.into()); N]);
    for step in steps {
        let (least, delta) = (V::words(proof, step.at), V::words(proof, step.delta.into()));
        for at in 0..N {
            evens[at] = evens[at].step_words(even[at], least, delta);
            odds[at] = odds[at].step_words(odd[at], least, delta);
        }
    }
    low_bytes(proof, (evens, odds))
}

/// All sums must be in the table.
#[inline(always)]
pub(super) fn read_bytes<V: Vector, const N: usize>(mut sums: [V; N], table: &Bytes) -> [V; N] {
    for sum in &mut sums {
        *sum = sum.look_up(table);
    }
    sums
}

#[inline(always)]
pub(super) fn read_wide_bytes<V: Vector, const N: usize>(
    proof: V::Proof,
    (mut even, mut odd): Wide<V, N>,
    table: &Bytes,
) -> [V; N] {
    let half = V::words(proof, table.half);
    for at in 0..N {
        even[at] = even[at].add(half).shift_right(table.lsbs);
        odd[at] = odd[at].add(half).shift_right(table.lsbs);
    }
    read_bytes(low_bytes(proof, (even, odd)), table)
}
