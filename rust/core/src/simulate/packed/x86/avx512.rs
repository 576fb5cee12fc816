//! AVX-512 F, BW, DQ and VL, with VBMI or without.

#![allow(clippy::wildcard_imports, reason = "the intrinsics' names say where they are from")]

use std::arch::x86_64::*;

use super::super::quantizer::{Arithmetic, BEYOND, MIDDLE, ROUNDING};
use super::super::table::{Bytes, Read, Table};
use super::emission;
use super::vector::{MAX_ROWS, Vector};
use crate::simulate::block::Sums;
use crate::simulate::finish::Finish;
use crate::simulate::outputs::Runs;

/// 64 bytes; `VBMI` says whether byte permutes may be used.
#[derive(Clone, Copy)]
pub(super) struct Zmm<const VBMI: bool>(__m512i);

/// Constants of sixteen features.
#[derive(Clone, Copy)]
pub(super) struct Constants {
    below: __m512,
    above: __m512,
    /// Bits of what a value [`MIDDLE`] below code 0 is rounded to.
    base: __m512i,
}

// SAFETY, for all of this file: the instructions are those of the type's instruction set and memory is
// accessed as the trait says, both of which are the caller's to ensure.
impl<const VBMI: bool> Vector for Zmm<VBMI> {
    const BYTES: usize = 64;
    const ARITHMETIC: Arithmetic = Arithmetic::Fused;
    type Constants = Constants;

    #[inline(always)]
    fn read(table: &Table) -> &Read {
        if VBMI { &table.permuted } else { &table.shuffled }
    }

    #[inline(always)]
    unsafe fn load(from: *const u8) -> Self {
        unsafe { Self(_mm512_loadu_si512(from.cast())) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut u8) {
        unsafe { _mm512_storeu_si512(to.cast(), self.0) }
    }

    #[inline(always)]
    unsafe fn store_rows(self, to: *mut u8, stride: usize) {
        unsafe {
            _mm_storeu_si128(to.cast(), _mm512_castsi512_si128(self.0));
            _mm_storeu_si128(to.add(stride).cast(), _mm512_extracti32x4_epi32::<1>(self.0));
            _mm_storeu_si128(to.add(2 * stride).cast(), _mm512_extracti32x4_epi32::<2>(self.0));
            _mm_storeu_si128(to.add(3 * stride).cast(), _mm512_extracti32x4_epi32::<3>(self.0));
        }
    }

    #[inline(always)]
    unsafe fn bytes(value: u8) -> Self {
        unsafe { Self(_mm512_set1_epi8(value.cast_signed())) }
    }

    #[inline(always)]
    unsafe fn words(value: u16) -> Self {
        unsafe { Self(_mm512_set1_epi16(value.cast_signed())) }
    }

    #[inline(always)]
    unsafe fn doubles(value: u32) -> Self {
        unsafe { Self(_mm512_set1_epi32(value.cast_signed())) }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        unsafe { Self(_mm512_add_epi16(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn multiply(self, other: Self) -> Self {
        unsafe { Self(_mm512_mullo_epi16(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn shift_right(self, bits: u8) -> Self {
        unsafe { Self(_mm512_srl_epi16(self.0, _mm_cvtsi32_si128(bits.into()))) }
    }

    #[inline(always)]
    unsafe fn to_high_bytes(self) -> Self {
        unsafe { Self(_mm512_slli_epi16::<8>(self.0)) }
    }

    #[inline(always)]
    unsafe fn and(self, other: Self) -> Self {
        unsafe { Self(_mm512_and_si512(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn or(self, other: Self) -> Self {
        unsafe { Self(_mm512_or_si512(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn is_zero(self) -> bool {
        unsafe { _mm512_test_epi32_mask(self.0, self.0) == 0 }
    }

    #[inline(always)]
    unsafe fn add_bytes(self, other: Self) -> Self {
        unsafe { Self(_mm512_adds_epu8(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn subtract_bytes(self, other: Self) -> Self {
        unsafe { Self(_mm512_subs_epu8(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn add_words(self, other: Self) -> Self {
        unsafe { Self(_mm512_adds_epu16(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn subtract_words(self, other: Self) -> Self {
        unsafe { Self(_mm512_subs_epu16(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn min_bytes(self, other: Self) -> Self {
        unsafe { Self(_mm512_min_epu8(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn ordered(self) -> Self {
        self
    }

    #[inline(always)]
    unsafe fn step_bytes(self, x: Self, before: Self, delta: Self) -> Self {
        unsafe {
            let beyond = _mm512_cmpgt_epu8_mask(x.0, before.0);
            Self(_mm512_mask_add_epi8(self.0, beyond, self.0, delta.0))
        }
    }

    #[inline(always)]
    unsafe fn step_words(self, x: Self, at: Self, delta: Self) -> Self {
        unsafe {
            let beyond = _mm512_cmpge_epu16_mask(x.0, at.0);
            Self(_mm512_mask_add_epi16(self.0, beyond, self.0, delta.0))
        }
    }

    #[inline(always)]
    unsafe fn unpack_low(self, other: Self) -> Self {
        unsafe { Self(_mm512_unpacklo_epi8(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn unpack_high(self, other: Self) -> Self {
        unsafe { Self(_mm512_unpackhi_epi8(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn look_up(self, table: &Bytes) -> Self {
        unsafe { Self(if VBMI { permute(self.0, table) } else { shuffle(self.0, table) }) }
    }

    #[inline(always)]
    unsafe fn constants(below: *const f32, above: *const f32, floor: *const f32) -> Constants {
        unsafe {
            Constants {
                below: _mm512_loadu_ps(below),
                above: _mm512_loadu_ps(above),
                base: _mm512_sub_epi32(
                    _mm512_loadu_si512(floor.cast()),
                    _mm512_set1_epi32(MIDDLE.into()),
                ),
            }
        }
    }

    #[inline(always)]
    unsafe fn quantize<const EXACT: bool>(
        rows: [*const f32; MAX_ROWS],
        constants: Constants,
    ) -> (Self, Self) {
        unsafe {
            let (a, unsure_a) = distances::<EXACT>(rows[0], constants);
            let (b, unsure_b) = distances::<EXACT>(rows[1], constants);
            let (c, unsure_c) = distances::<EXACT>(rows[2], constants);
            let (d, unsure_d) = distances::<EXACT>(rows[3], constants);
            let (first, second) = (_mm512_packs_epi32(a, b), _mm512_packs_epi32(c, d));
            let beyond = _mm512_set1_epi16(BEYOND.cast_signed());
            let mut doubt = _mm512_and_si512(_mm512_or_si512(first, second), beyond);
            if !EXACT {
                let unsure = _mm512_or_si512(unsure_a, _mm512_or_si512(unsure_b, unsure_c));
                doubt = _mm512_or_si512(doubt, _mm512_or_si512(unsure, unsure_d));
            }
            let middle = _mm512_set1_epi16(MIDDLE);
            let (first, second) =
                (_mm512_sub_epi16(first, middle), _mm512_sub_epi16(second, middle));
            // Packs work within 16 bytes, so each of these gets four features of all rows.
            let packed = _mm512_packus_epi16(first, second);
            let order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
            (Self(_mm512_permutexvar_epi32(order, packed)), Self(doubt))
        }
    }

    #[inline(always)]
    unsafe fn narrow(rows: [*const u16; MAX_ROWS], max: u16) -> (Self, bool) {
        unsafe {
            let first = load_two(rows[0], rows[1]);
            let second = load_two(rows[2], rows[3]);
            let max = _mm512_set1_epi16(max.cast_signed());
            let beyond = _mm512_cmpgt_epu16_mask(_mm512_max_epu16(first, second), max) != 0;
            let (first, second) = (_mm512_min_epu16(first, max), _mm512_min_epu16(second, max));
            let order = _mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7);
            let packed = _mm512_packus_epi16(first, second);
            (Self(_mm512_permutexvar_epi64(order, packed)), beyond)
        }
    }

    #[inline(always)]
    unsafe fn emit<F: Finish>(runs: &Runs, sums: Sums<'_>, groups: usize, to: *mut u8) -> bool {
        if !VBMI {
            return false;
        }
        unsafe { emission::emit::<F>(runs, sums, groups, to) };
        true
    }
}

/// Distances of sixteen rounded values from [`MIDDLE`] below code 0 and, unless `EXACT`, bits that are
/// zero where both factors agree.
///
/// # Safety
/// As [`Vector`].
#[inline(always)]
unsafe fn distances<const EXACT: bool>(
    row: *const f32,
    constants: Constants,
) -> (__m512i, __m512i) {
    unsafe {
        let (x, rounding) = (_mm512_loadu_ps(row), _mm512_set1_ps(ROUNDING));
        let step = _mm512_castps_si512(_mm512_fmadd_ps(x, constants.below, rounding));
        let distance = _mm512_sub_epi32(step, constants.base);
        if EXACT {
            return (distance, step);
        }
        let other = _mm512_castps_si512(_mm512_fmadd_ps(x, constants.above, rounding));
        (distance, _mm512_xor_si512(step, other))
    }
}

/// Sixteen codes at each pointer.
///
/// # Safety
/// As [`Vector`].
#[inline(always)]
unsafe fn load_two(first: *const u16, second: *const u16) -> __m512i {
    unsafe {
        let first = _mm512_castsi256_si512(_mm256_loadu_si256(first.cast()));
        _mm512_inserti64x4::<1>(first, _mm256_loadu_si256(second.cast()))
    }
}

/// One permute reads 64 entries or, from two registers, 128.
///
/// # Safety
/// As [`Vector`], with VBMI.
#[inline(always)]
unsafe fn permute(indexes: __m512i, table: &Bytes) -> __m512i {
    unsafe {
        let entries = table.entries.as_ptr();
        let first = _mm512_load_si512(entries.cast());
        if table.last < 64 {
            return _mm512_permutexvar_epi8(indexes, first);
        }
        let second = _mm512_load_si512(entries.add(64).cast());
        let low = _mm512_permutex2var_epi8(first, indexes, second);
        if table.last < 128 {
            return low;
        }
        let third = _mm512_load_si512(entries.add(128).cast());
        let fourth = _mm512_load_si512(entries.add(192).cast());
        let high = _mm512_permutex2var_epi8(third, indexes, fourth);
        _mm512_mask_blend_epi8(_mm512_movepi8_mask(indexes), low, high)
    }
}

/// One shuffle reads 16 entries; it gives zero for the indexes of other entries, whose highest bit
/// the saturated sum sets.
///
/// # Safety
/// As [`Vector`].
#[inline(always)]
unsafe fn shuffle(indexes: __m512i, table: &Bytes) -> __m512i {
    unsafe {
        let mut read = _mm512_setzero_si512();
        for part in 0..=table.last / 16 {
            let entries = table.entries.as_ptr().add(16 * usize::from(part));
            let entries = _mm512_broadcast_i32x4(_mm_loadu_si128(entries.cast()));
            let first = _mm512_set1_epi8((16 * part).cast_signed());
            let index = _mm512_xor_si512(indexes, first);
            let index = _mm512_adds_epu8(index, _mm512_set1_epi8(0x70));
            read = _mm512_or_si512(read, _mm512_shuffle_epi8(entries, index));
        }
        read
    }
}
