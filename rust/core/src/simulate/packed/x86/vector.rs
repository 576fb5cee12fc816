//! The vector operations that the kernel is written in.

#![allow(unsafe_code, reason = "what needs instructions is called where they are proven")]

use crate::simulate::block::{Sums, TILE};
use crate::simulate::finish::Finish;
use crate::simulate::outputs::Runs;
use crate::simulate::packed::quantizer::{Arithmetic, FeatureConstants};
use crate::simulate::packed::table::{Bytes, Read, Table};

/// Lanes of four rows at most share a register.
pub(super) const MAX_ROWS: usize = 4;

/// A register of bytes, or of lanes of 16 bits, in sub-registers of 16 bytes.
///
/// One is only made from a proof that the processor has its instructions, and so proves it too; that
/// is why all of this is safe.
pub(super) trait Vector: Copy {
    /// Its bytes: a multiple of 16 that divides the rows of a block.
    const BYTES: usize;

    /// Rows whose bytes of sixteen columns fill it, one to a sub-register.
    const ROWS: usize = Self::BYTES / 16;

    /// How [`Vector::quantize`] adds.
    const ARITHMETIC: Arithmetic;

    /// The proof that the processor has its instructions.
    type Proof: Copy;

    /// The constants of sixteen features.
    type Constants: Copy;

    /// How it reads a table.
    fn read(table: &Table) -> &Read;

    /// The first [`Vector::BYTES`] bytes.
    fn load(proof: Self::Proof, from: &[u8]) -> Self;
    /// `value` in every byte.
    fn bytes(proof: Self::Proof, value: u8) -> Self;
    /// `value` in every lane of 16 bits.
    fn words(proof: Self::Proof, value: u16) -> Self;
    /// `value` in every lane of 32 bits.
    fn doubles(proof: Self::Proof, value: u32) -> Self;

    /// Constants of sixteen features.
    fn constants(proof: Self::Proof, features: FeatureConstants<'_>) -> Self::Constants;

    /// Quantizes the first [`Vector::ROWS`] rows of sixteen values: codes, a row to a sub-register, and
    /// bits that are zero where none is in doubt.
    ///
    /// If `EXACT` only one factor a feature is used, which must be right. Values far from their codes
    /// are in doubt, as are those that two factors round differently.
    fn quantize<const EXACT: bool>(
        proof: Self::Proof,
        rows: [&[f32; TILE]; MAX_ROWS],
        constants: Self::Constants,
    ) -> (Self, Self);

    /// The first [`Vector::ROWS`] rows of sixteen codes, as bytes where they are at most `max`, a row
    /// to a sub-register. True if one is larger; it counts as `max`.
    fn narrow(proof: Self::Proof, rows: [&[u16; TILE]; MAX_ROWS], max: u16) -> (Self, bool);

    /// Makes results of sums in `out` for whole groups of rows, and returns of how many rows; none if
    /// it has no fast way to do so.
    #[inline(always)]
    fn emit<F: Finish>(_: Self::Proof, _: &Runs, _: Sums<'_>, _: &mut [F::Value]) -> usize {
        0
    }

    /// Stores it in the first [`Vector::BYTES`] bytes.
    fn store(self, to: &mut [u8]);
    /// Stores each sub-register sixteen rows after the one before it, the first in the row `at`.
    fn store_rows(self, rows: &mut [[u8; 16]], at: usize);

    /// Sum of 16-bit lanes, modulo `2^16`.
    fn add(self, other: Self) -> Self;
    /// Product of 16-bit lanes, modulo `2^16`.
    fn multiply(self, other: Self) -> Self;
    /// 16-bit lanes shifted right by as many bits.
    fn shift_right(self, bits: u8) -> Self;
    /// 16-bit lanes, each byte moved up by one, zeros below.
    fn to_high_bytes(self) -> Self;
    /// Bitwise and.
    fn and(self, other: Self) -> Self;
    /// Bitwise or.
    fn or(self, other: Self) -> Self;
    /// Whether no bit is set.
    fn is_zero(self) -> bool;
    /// The lesser of bytes.
    fn min_bytes(self, other: Self) -> Self;
    /// Sum of bytes, at most 255.
    fn add_bytes(self, other: Self) -> Self;
    /// Difference of bytes, at least 0.
    fn subtract_bytes(self, other: Self) -> Self;
    /// Sum of 16-bit lanes, at most 65,535.
    fn add_words(self, other: Self) -> Self;
    /// Difference of 16-bit lanes, at least 0.
    fn subtract_words(self, other: Self) -> Self;
    /// Bytes in the order that [`Vector::step_bytes`] compares them in.
    fn ordered(self) -> Self;
    /// `self + delta`, byte by byte, modulo 256, where `x > before`, both ordered; else `self`.
    fn step_bytes(self, x: Self, before: Self, delta: Self) -> Self;
    /// The same with 16-bit lanes.
    fn step_words(self, x: Self, at: Self, delta: Self) -> Self;

    /// Within each sub-register, the low eight bytes of both, in turn.
    fn unpack_low(self, other: Self) -> Self;
    /// Within each sub-register, the high eight bytes of both, in turn.
    fn unpack_high(self, other: Self) -> Self;

    /// The entries at these indexes, all at most `table.last`.
    fn look_up(self, table: &Bytes) -> Self;
}

/// Methods of [`Vector`] by functions of the same names that need instructions, so that intrinsics are
/// safe in them; they are inlined as intrinsics are. They may need no others than the proof is of.
macro_rules! operations {
    () => {
        operations! { from proof:
            fn load(from: &[u8]) -> Self;
            fn bytes(value: u8) -> Self;
            fn words(value: u16) -> Self;
            fn doubles(value: u32) -> Self;
            fn constants(features: FeatureConstants<'_>) -> Self::Constants;
            fn narrow(rows: [&[u16; TILE]; MAX_ROWS], max: u16) -> (Self, bool);
        }
        operations! { from register:
            fn store(self, to: &mut [u8]);
            fn store_rows(self, rows: &mut [[u8; 16]], at: usize);
            fn add(self, other: Self) -> Self;
            fn multiply(self, other: Self) -> Self;
            fn shift_right(self, bits: u8) -> Self;
            fn to_high_bytes(self) -> Self;
            fn and(self, other: Self) -> Self;
            fn or(self, other: Self) -> Self;
            fn is_zero(self) -> bool;
            fn min_bytes(self, other: Self) -> Self;
            fn add_bytes(self, other: Self) -> Self;
            fn subtract_bytes(self, other: Self) -> Self;
            fn add_words(self, other: Self) -> Self;
            fn subtract_words(self, other: Self) -> Self;
            fn ordered(self) -> Self;
            fn step_bytes(self, x: Self, before: Self, delta: Self) -> Self;
            fn step_words(self, x: Self, at: Self, delta: Self) -> Self;
            fn unpack_low(self, other: Self) -> Self;
            fn unpack_high(self, other: Self) -> Self;
            fn look_up(self, table: &Bytes) -> Self;
        }

        #[inline(always)]
        fn quantize<const EXACT: bool>(
            _: Self::Proof,
            rows: [&[f32; TILE]; MAX_ROWS],
            constants: Self::Constants,
        ) -> (Self, Self) {
            // SAFETY: the proof is of the instructions that the function needs.
            unsafe { Self::quantize::<EXACT>(rows, constants) }
        }
    };
    (from proof: $(fn $name:ident($($argument:ident: $type:ty),*) -> $result:ty;)+) => {$(
        #[inline(always)]
        fn $name(_: Self::Proof, $($argument: $type),*) -> $result {
            // SAFETY: the proof is of the instructions that the function needs.
            unsafe { Self::$name($($argument),*) }
        }
    )+};
    (from register:
     $(fn $name:ident($self:ident $(, $argument:ident: $type:ty)*) $(-> $result:ty)?;)+) => {$(
        #[inline(always)]
        fn $name($self $(, $argument: $type)*) $(-> $result)? {
            // SAFETY: a register is only made where the instructions are proven.
            unsafe { Self::$name($self $(, $argument)*) }
        }
    )+};
}
pub(super) use operations;

/// The sums of a neuron, in 16-bit lanes: of the even rows, and of the odd ones.
pub(super) type Wide<V, const N: usize> = ([V; N], [V; N]);

/// The low bytes, a row to a byte.
#[inline(always)]
pub(super) fn low_bytes<V: Vector, const N: usize>(
    proof: V::Proof,
    (even, odd): Wide<V, N>,
) -> [V; N] {
    let mut bytes = even;
    for at in 0..N {
        bytes[at] = even[at].and(V::words(proof, 255)).or(odd[at].to_high_bytes());
    }
    bytes
}

/// Transposes the sixteen by sixteen bytes of each sub-register: byte `j` of register `i` becomes byte
/// `i` of register `j`.
#[inline(always)]
pub(super) fn transpose<V: Vector>(matrix: [V; 16]) -> [V; 16] {
    interleave(interleave(interleave(interleave(matrix))))
}

/// A perfect shuffle of all bytes in the same sub-register of sixteen registers. A loop might not be
/// unrolled, and then keep them in memory.
#[inline(always)]
fn interleave<V: Vector>(
    [a0, a1, a2, a3, a4, a5, a6, a7, b0, b1, b2, b3, b4, b5, b6, b7]: [V; 16],
) -> [V; 16] {
    [
        a0.unpack_low(b0),
        a0.unpack_high(b0),
        a1.unpack_low(b1),
        a1.unpack_high(b1),
        a2.unpack_low(b2),
        a2.unpack_high(b2),
        a3.unpack_low(b3),
        a3.unpack_high(b3),
        a4.unpack_low(b4),
        a4.unpack_high(b4),
        a5.unpack_low(b5),
        a5.unpack_high(b5),
        a6.unpack_low(b6),
        a6.unpack_high(b6),
        a7.unpack_low(b7),
        a7.unpack_high(b7),
    ]
}
