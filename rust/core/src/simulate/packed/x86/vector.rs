//! The vector operations that the kernel is written in.

use super::super::quantizer::Arithmetic;
use super::super::table::{Bytes, Read, Table};
use crate::simulate::block::Sums;
use crate::simulate::finish::Finish;
use crate::simulate::outputs::Runs;

/// Lanes of four rows at most share a register.
pub(super) const MAX_ROWS: usize = 4;

/// A register of bytes, or of lanes of 16 bits, in sub-registers of 16 bytes.
///
/// # Safety
/// All methods need the instruction set of the implementing type, and pointers to as many values as
/// they say.
pub(super) trait Vector: Copy {
    /// Its bytes: a multiple of 16 that divides the rows of a block.
    const BYTES: usize;

    /// Rows whose bytes of sixteen columns fill it, one to a sub-register.
    const ROWS: usize = Self::BYTES / 16;

    /// How [`Vector::quantize`] adds.
    const ARITHMETIC: Arithmetic;

    /// The constants of sixteen features.
    type Constants: Copy;

    /// How it reads a table.
    fn read(table: &Table) -> &Read;

    /// [`Vector::BYTES`] bytes at `from`.
    unsafe fn load(from: *const u8) -> Self;
    /// Stores [`Vector::BYTES`] bytes at `to`.
    unsafe fn store(self, to: *mut u8);
    /// Stores each sub-register `stride` bytes after the one before it.
    unsafe fn store_rows(self, to: *mut u8, stride: usize);

    /// `value` in every byte.
    unsafe fn bytes(value: u8) -> Self;
    /// `value` in every lane of 16 bits.
    unsafe fn words(value: u16) -> Self;
    /// `value` in every lane of 32 bits.
    unsafe fn doubles(value: u32) -> Self;

    /// Sum of 16-bit lanes, modulo `2^16`.
    unsafe fn add(self, other: Self) -> Self;
    /// Product of 16-bit lanes, modulo `2^16`.
    unsafe fn multiply(self, other: Self) -> Self;
    /// 16-bit lanes shifted right by as many bits.
    unsafe fn shift_right(self, bits: u8) -> Self;
    /// 16-bit lanes, each byte moved up by one, zeros below.
    unsafe fn to_high_bytes(self) -> Self;
    /// Bitwise and.
    unsafe fn and(self, other: Self) -> Self;
    /// Bitwise or.
    unsafe fn or(self, other: Self) -> Self;
    /// Whether no bit is set.
    unsafe fn is_zero(self) -> bool;
    /// The lesser of bytes.
    unsafe fn min_bytes(self, other: Self) -> Self;
    /// Sum of bytes, at most 255.
    unsafe fn add_bytes(self, other: Self) -> Self;
    /// Difference of bytes, at least 0.
    unsafe fn subtract_bytes(self, other: Self) -> Self;
    /// Sum of 16-bit lanes, at most 65,535.
    unsafe fn add_words(self, other: Self) -> Self;
    /// Difference of 16-bit lanes, at least 0.
    unsafe fn subtract_words(self, other: Self) -> Self;
    /// Bytes in the order that [`Vector::step_bytes`] compares them in.
    unsafe fn ordered(self) -> Self;
    /// `self + delta`, byte by byte, modulo 256, where `x > before`, both ordered; else `self`.
    unsafe fn step_bytes(self, x: Self, before: Self, delta: Self) -> Self;
    /// The same with 16-bit lanes.
    unsafe fn step_words(self, x: Self, at: Self, delta: Self) -> Self;

    /// Within each sub-register, the low eight bytes of both, in turn.
    unsafe fn unpack_low(self, other: Self) -> Self;
    /// Within each sub-register, the high eight bytes of both, in turn.
    unsafe fn unpack_high(self, other: Self) -> Self;

    /// The entries at these indexes, all at most `table.last`.
    unsafe fn look_up(self, table: &Bytes) -> Self;

    /// Constants of the sixteen features from those pointed at.
    unsafe fn constants(below: *const f32, above: *const f32, floor: *const f32)
    -> Self::Constants;

    /// Quantizes sixteen values at each of the first [`Vector::ROWS`] pointers: codes, a row to a
    /// sub-register, and bits that are zero where none is in doubt.
    ///
    /// If `EXACT` only one factor a feature is used, which must be right. Values far from their codes
    /// are in doubt, as are those that two factors round differently.
    unsafe fn quantize<const EXACT: bool>(
        rows: [*const f32; MAX_ROWS],
        constants: Self::Constants,
    ) -> (Self, Self);

    /// Sixteen codes at each of the first [`Vector::ROWS`] pointers, as bytes where they are at most
    /// `max`, a row to a sub-register. True if one is larger; it counts as `max`.
    unsafe fn narrow(rows: [*const u16; MAX_ROWS], max: u16) -> (Self, bool);

    /// Stores the results of `groups` groups of rows at `to`, which must have room for them. False if
    /// it has no fast way to do so.
    #[inline(always)]
    unsafe fn emit<F: Finish>(_runs: &Runs, _sums: Sums<'_>, _groups: usize, _to: *mut u8) -> bool {
        false
    }
}

/// Transposes the sixteen by sixteen bytes of each sub-register: byte `j` of register `i` becomes byte
/// `i` of register `j`.
///
/// # Safety
/// As [`Vector`].
#[inline(always)]
pub(super) unsafe fn transpose<V: Vector>(matrix: [V; 16]) -> [V; 16] {
    // SAFETY: the caller's.
    unsafe { interleave(interleave(interleave(interleave(matrix)))) }
}

/// A perfect shuffle of all bytes in the same sub-register of sixteen registers. A loop might not be
/// unrolled, and then keep them in memory.
///
/// # Safety
/// As [`Vector`].
#[inline(always)]
unsafe fn interleave<V: Vector>(
    [a0, a1, a2, a3, a4, a5, a6, a7, b0, b1, b2, b3, b4, b5, b6, b7]: [V; 16],
) -> [V; 16] {
    // SAFETY: the caller's.
    unsafe {
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
}
