//! SSE2, which every x86-64 has.

#![allow(clippy::wildcard_imports, reason = "the intrinsics' names say where they are from")]

use std::arch::x86_64::*;

use super::super::quantizer::{Arithmetic, BEYOND, MIDDLE, ROUNDING};
use super::super::table::{Bytes, Read, Table};
use super::vector::{MAX_ROWS, Vector};

/// 16 bytes.
#[derive(Clone, Copy)]
pub(super) struct Xmm(__m128i);

/// Constants of sixteen features, in four quarters.
#[derive(Clone, Copy)]
pub(super) struct Constants([Quarter; 4]);

#[derive(Clone, Copy)]
struct Quarter {
    below: __m128,
    above: __m128,
    /// Bits of what a value [`MIDDLE`] below code 0 is rounded to.
    base: __m128i,
}

// SAFETY, for all of this file: the instructions are those of the type's instruction set and memory is
// accessed as the trait says, both of which are the caller's to ensure.
impl Vector for Xmm {
    const BYTES: usize = 16;
    const ARITHMETIC: Arithmetic = Arithmetic::RoundedTwice;
    type Constants = Constants;

    #[inline(always)]
    fn read(table: &Table) -> &Read {
        &table.compared
    }

    #[inline(always)]
    unsafe fn load(from: *const u8) -> Self {
        unsafe { Self(_mm_loadu_si128(from.cast())) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut u8) {
        unsafe { _mm_storeu_si128(to.cast(), self.0) }
    }

    #[inline(always)]
    unsafe fn store_rows(self, to: *mut u8, _stride: usize) {
        unsafe { self.store(to) }
    }

    #[inline(always)]
    unsafe fn bytes(value: u8) -> Self {
        unsafe { Self::doubles(u32::from(value) * 0x0101_0101) }
    }

    #[inline(always)]
    unsafe fn words(value: u16) -> Self {
        unsafe { Self::doubles(u32::from(value) * 0x1_0001) }
    }

    #[inline(always)]
    unsafe fn doubles(value: u32) -> Self {
        unsafe { Self(_mm_set1_epi32(value.cast_signed())) }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        unsafe { Self(_mm_add_epi16(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn multiply(self, other: Self) -> Self {
        unsafe { Self(_mm_mullo_epi16(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn shift_right(self, bits: u8) -> Self {
        unsafe { Self(_mm_srl_epi16(self.0, _mm_cvtsi32_si128(bits.into()))) }
    }

    #[inline(always)]
    unsafe fn to_high_bytes(self) -> Self {
        unsafe { Self(_mm_slli_epi16::<8>(self.0)) }
    }

    #[inline(always)]
    unsafe fn and(self, other: Self) -> Self {
        unsafe { Self(_mm_and_si128(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn or(self, other: Self) -> Self {
        unsafe { Self(_mm_or_si128(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn is_zero(self) -> bool {
        unsafe { _mm_movemask_epi8(_mm_cmpeq_epi8(self.0, _mm_setzero_si128())) == 0xffff }
    }

    #[inline(always)]
    unsafe fn add_bytes(self, other: Self) -> Self {
        unsafe { Self(_mm_adds_epu8(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn subtract_bytes(self, other: Self) -> Self {
        unsafe { Self(_mm_subs_epu8(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn add_words(self, other: Self) -> Self {
        unsafe { Self(_mm_adds_epu16(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn subtract_words(self, other: Self) -> Self {
        unsafe { Self(_mm_subs_epu16(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn min_bytes(self, other: Self) -> Self {
        unsafe { Self(_mm_min_epu8(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn ordered(self) -> Self {
        unsafe { Self(_mm_xor_si128(self.0, _mm_set1_epi8(i8::MIN))) }
    }

    #[inline(always)]
    unsafe fn step_bytes(self, x: Self, before: Self, delta: Self) -> Self {
        unsafe {
            let beyond = _mm_cmpgt_epi8(x.0, before.0);
            Self(_mm_add_epi8(self.0, _mm_and_si128(beyond, delta.0)))
        }
    }

    #[inline(always)]
    unsafe fn step_words(self, x: Self, at: Self, delta: Self) -> Self {
        unsafe {
            let missing = _mm_subs_epu16(at.0, x.0);
            let beyond = _mm_cmpeq_epi16(missing, _mm_setzero_si128());
            Self(_mm_add_epi16(self.0, _mm_and_si128(beyond, delta.0)))
        }
    }

    #[inline(always)]
    unsafe fn unpack_low(self, other: Self) -> Self {
        unsafe { Self(_mm_unpacklo_epi8(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn unpack_high(self, other: Self) -> Self {
        unsafe { Self(_mm_unpackhi_epi8(self.0, other.0)) }
    }

    /// Entry by entry: there is no shuffle by a register.
    #[inline(always)]
    unsafe fn look_up(self, table: &Bytes) -> Self {
        let mut bytes = [0; Self::BYTES];
        unsafe { self.store(bytes.as_mut_ptr()) };
        let entries = bytes.map(|index| table.entries[usize::from(index)]);
        unsafe { Self::load(entries.as_ptr()) }
    }

    #[inline(always)]
    unsafe fn constants(below: *const f32, above: *const f32, floor: *const f32) -> Constants {
        Constants([0, 4, 8, 12].map(|at| unsafe {
            Quarter {
                below: _mm_loadu_ps(below.add(at)),
                above: _mm_loadu_ps(above.add(at)),
                base: _mm_sub_epi32(
                    _mm_loadu_si128(floor.add(at).cast()),
                    _mm_set1_epi32(MIDDLE.into()),
                ),
            }
        }))
    }

    #[inline(always)]
    unsafe fn quantize<const EXACT: bool>(
        rows: [*const f32; MAX_ROWS],
        Constants([first, second, third, fourth]): Constants,
    ) -> (Self, Self) {
        unsafe {
            let (a, unsure_a) = distances::<EXACT>(rows[0], first);
            let (b, unsure_b) = distances::<EXACT>(rows[0].add(4), second);
            let (c, unsure_c) = distances::<EXACT>(rows[0].add(8), third);
            let (d, unsure_d) = distances::<EXACT>(rows[0].add(12), fourth);
            let (low, high) = (_mm_packs_epi32(a, b), _mm_packs_epi32(c, d));
            let beyond = _mm_set1_epi16(BEYOND.cast_signed());
            let mut doubt = _mm_and_si128(_mm_or_si128(low, high), beyond);
            if !EXACT {
                let unsure_low = _mm_or_si128(unsure_a, unsure_b);
                let unsure_high = _mm_or_si128(unsure_c, unsure_d);
                doubt = _mm_or_si128(doubt, _mm_or_si128(unsure_low, unsure_high));
            }
            let middle = _mm_set1_epi16(MIDDLE);
            let (low, high) = (_mm_sub_epi16(low, middle), _mm_sub_epi16(high, middle));
            (Self(_mm_packus_epi16(low, high)), Self(doubt))
        }
    }

    #[inline(always)]
    unsafe fn narrow(rows: [*const u16; MAX_ROWS], max: u16) -> (Self, bool) {
        unsafe {
            let max = _mm_set1_epi16(max.cast_signed());
            let low = _mm_loadu_si128(rows[0].cast());
            let high = _mm_loadu_si128(rows[0].add(8).cast());
            let (excess_low, excess_high) = (_mm_subs_epu16(low, max), _mm_subs_epu16(high, max));
            let low = _mm_sub_epi16(low, excess_low);
            let high = _mm_sub_epi16(high, excess_high);
            let fits = Self(_mm_or_si128(excess_low, excess_high)).is_zero();
            (Self(_mm_packus_epi16(low, high)), !fits)
        }
    }
}

/// Distances of four rounded values from [`MIDDLE`] below code 0 and, unless `EXACT`, bits that are
/// zero where both factors agree.
///
/// # Safety
/// As [`Vector`].
#[inline(always)]
unsafe fn distances<const EXACT: bool>(
    values: *const f32,
    constants: Quarter,
) -> (__m128i, __m128i) {
    unsafe {
        let (x, rounding) = (_mm_loadu_ps(values), _mm_set1_ps(ROUNDING));
        let step = _mm_castps_si128(_mm_add_ps(_mm_mul_ps(x, constants.below), rounding));
        let distance = _mm_sub_epi32(step, constants.base);
        if EXACT {
            return (distance, step);
        }
        let other = _mm_castps_si128(_mm_add_ps(_mm_mul_ps(x, constants.above), rounding));
        (distance, _mm_xor_si128(step, other))
    }
}
