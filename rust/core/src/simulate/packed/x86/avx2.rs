//! AVX2 and FMA.

#![allow(clippy::wildcard_imports, reason = "the intrinsics' names say where they are from")]

use std::arch::x86_64::*;

use super::super::quantizer::{Arithmetic, BEYOND, MIDDLE, ROUNDING};
use super::super::table::{Bytes, Read, Table};
use super::vector::{MAX_ROWS, Vector};

/// 32 bytes.
#[derive(Clone, Copy)]
pub(super) struct Ymm(__m256i);

/// Constants of sixteen features, in two halves.
#[derive(Clone, Copy)]
pub(super) struct Constants([Half; 2]);

#[derive(Clone, Copy)]
struct Half {
    below: __m256,
    above: __m256,
    /// Bits of what a value [`MIDDLE`] below code 0 is rounded to.
    base: __m256i,
}

impl Half {
    /// # Safety
    /// As [`Vector`].
    #[inline(always)]
    unsafe fn new(below: *const f32, above: *const f32, floor: *const f32) -> Self {
        unsafe {
            Self {
                below: _mm256_loadu_ps(below),
                above: _mm256_loadu_ps(above),
                base: _mm256_sub_epi32(
                    _mm256_loadu_si256(floor.cast()),
                    _mm256_set1_epi32(MIDDLE.into()),
                ),
            }
        }
    }
}

// SAFETY, for all of this file: the instructions are those of the type's instruction set and memory is
// accessed as the trait says, both of which are the caller's to ensure.
impl Vector for Ymm {
    const BYTES: usize = 32;
    const ARITHMETIC: Arithmetic = Arithmetic::Fused;
    type Constants = Constants;

    #[inline(always)]
    fn read(table: &Table) -> &Read {
        &table.shuffled
    }

    #[inline(always)]
    unsafe fn load(from: *const u8) -> Self {
        unsafe { Self(_mm256_loadu_si256(from.cast())) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut u8) {
        unsafe { _mm256_storeu_si256(to.cast(), self.0) }
    }

    #[inline(always)]
    unsafe fn store_rows(self, to: *mut u8, stride: usize) {
        unsafe {
            _mm_storeu_si128(to.cast(), _mm256_castsi256_si128(self.0));
            _mm_storeu_si128(to.add(stride).cast(), _mm256_extracti128_si256::<1>(self.0));
        }
    }

    #[inline(always)]
    unsafe fn bytes(value: u8) -> Self {
        unsafe { Self(_mm256_set1_epi8(value.cast_signed())) }
    }

    #[inline(always)]
    unsafe fn words(value: u16) -> Self {
        unsafe { Self(_mm256_set1_epi16(value.cast_signed())) }
    }

    #[inline(always)]
    unsafe fn doubles(value: u32) -> Self {
        unsafe { Self(_mm256_set1_epi32(value.cast_signed())) }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        unsafe { Self(_mm256_add_epi16(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn multiply(self, other: Self) -> Self {
        unsafe { Self(_mm256_mullo_epi16(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn shift_right(self, bits: u8) -> Self {
        unsafe { Self(_mm256_srl_epi16(self.0, _mm_cvtsi32_si128(bits.into()))) }
    }

    #[inline(always)]
    unsafe fn to_high_bytes(self) -> Self {
        unsafe { Self(_mm256_slli_epi16::<8>(self.0)) }
    }

    #[inline(always)]
    unsafe fn and(self, other: Self) -> Self {
        unsafe { Self(_mm256_and_si256(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn or(self, other: Self) -> Self {
        unsafe { Self(_mm256_or_si256(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn is_zero(self) -> bool {
        unsafe { _mm256_testz_si256(self.0, self.0) != 0 }
    }

    #[inline(always)]
    unsafe fn add_bytes(self, other: Self) -> Self {
        unsafe { Self(_mm256_adds_epu8(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn subtract_bytes(self, other: Self) -> Self {
        unsafe { Self(_mm256_subs_epu8(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn add_words(self, other: Self) -> Self {
        unsafe { Self(_mm256_adds_epu16(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn subtract_words(self, other: Self) -> Self {
        unsafe { Self(_mm256_subs_epu16(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn min_bytes(self, other: Self) -> Self {
        unsafe { Self(_mm256_min_epu8(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn ordered(self) -> Self {
        unsafe { Self(_mm256_xor_si256(self.0, _mm256_set1_epi8(i8::MIN))) }
    }

    #[inline(always)]
    unsafe fn step_bytes(self, x: Self, before: Self, delta: Self) -> Self {
        unsafe {
            let beyond = _mm256_cmpgt_epi8(x.0, before.0);
            Self(_mm256_add_epi8(self.0, _mm256_and_si256(beyond, delta.0)))
        }
    }

    #[inline(always)]
    unsafe fn step_words(self, x: Self, at: Self, delta: Self) -> Self {
        unsafe {
            let beyond = _mm256_cmpeq_epi16(_mm256_max_epu16(x.0, at.0), x.0);
            Self(_mm256_add_epi16(self.0, _mm256_and_si256(beyond, delta.0)))
        }
    }

    #[inline(always)]
    unsafe fn unpack_low(self, other: Self) -> Self {
        unsafe { Self(_mm256_unpacklo_epi8(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn unpack_high(self, other: Self) -> Self {
        unsafe { Self(_mm256_unpackhi_epi8(self.0, other.0)) }
    }

    /// One shuffle reads 16 entries; it gives zero for the indexes of other entries, whose highest
    /// bit the saturated sum sets.
    #[inline(always)]
    unsafe fn look_up(self, table: &Bytes) -> Self {
        unsafe {
            let mut read = _mm256_setzero_si256();
            for part in 0..=table.last / 16 {
                let entries = table.entries.as_ptr().add(16 * usize::from(part));
                let entries = _mm256_broadcastsi128_si256(_mm_loadu_si128(entries.cast()));
                let first = _mm256_set1_epi8((16 * part).cast_signed());
                let index = _mm256_xor_si256(self.0, first);
                let index = _mm256_adds_epu8(index, _mm256_set1_epi8(0x70));
                read = _mm256_or_si256(read, _mm256_shuffle_epi8(entries, index));
            }
            Self(read)
        }
    }

    #[inline(always)]
    unsafe fn constants(below: *const f32, above: *const f32, floor: *const f32) -> Constants {
        unsafe {
            Constants([
                Half::new(below, above, floor),
                Half::new(below.add(8), above.add(8), floor.add(8)),
            ])
        }
    }

    #[inline(always)]
    unsafe fn quantize<const EXACT: bool>(
        rows: [*const f32; MAX_ROWS],
        Constants([low, high]): Constants,
    ) -> (Self, Self) {
        unsafe {
            let (a_low, unsure_0) = distances::<EXACT>(rows[0], low);
            let (a_high, unsure_1) = distances::<EXACT>(rows[0].add(8), high);
            let (b_low, unsure_2) = distances::<EXACT>(rows[1], low);
            let (b_high, unsure_3) = distances::<EXACT>(rows[1].add(8), high);
            let first = _mm256_packs_epi32(a_low, a_high);
            let second = _mm256_packs_epi32(b_low, b_high);
            let beyond = _mm256_set1_epi16(BEYOND.cast_signed());
            let mut doubt = _mm256_and_si256(_mm256_or_si256(first, second), beyond);
            if !EXACT {
                let unsure_a = _mm256_or_si256(unsure_0, unsure_1);
                let unsure_b = _mm256_or_si256(unsure_2, unsure_3);
                doubt = _mm256_or_si256(doubt, _mm256_or_si256(unsure_a, unsure_b));
            }
            let middle = _mm256_set1_epi16(MIDDLE);
            let (first, second) =
                (_mm256_sub_epi16(first, middle), _mm256_sub_epi16(second, middle));
            // Packs work within 16 bytes, so each of these gets four features of four halves.
            let packed = _mm256_packus_epi16(first, second);
            let order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
            (Self(_mm256_permutevar8x32_epi32(packed, order)), Self(doubt))
        }
    }

    #[inline(always)]
    unsafe fn narrow(rows: [*const u16; MAX_ROWS], max: u16) -> (Self, bool) {
        unsafe {
            let max = _mm256_set1_epi16(max.cast_signed());
            let (a, b) = (_mm256_loadu_si256(rows[0].cast()), _mm256_loadu_si256(rows[1].cast()));
            let highest = _mm256_max_epu16(_mm256_max_epu16(a, b), max);
            let beyond = _mm256_movemask_epi8(_mm256_cmpeq_epi16(highest, max)) != -1;
            let packed = _mm256_packus_epi16(_mm256_min_epu16(a, max), _mm256_min_epu16(b, max));
            (Self(_mm256_permute4x64_epi64::<0b11_01_10_00>(packed)), beyond)
        }
    }
}

/// Distances of eight rounded values from [`MIDDLE`] below code 0 and, unless `EXACT`, bits that are
/// zero where both factors agree.
///
/// # Safety
/// As [`Vector`].
#[inline(always)]
unsafe fn distances<const EXACT: bool>(row: *const f32, constants: Half) -> (__m256i, __m256i) {
    unsafe {
        let (x, rounding) = (_mm256_loadu_ps(row), _mm256_set1_ps(ROUNDING));
        let step = _mm256_castps_si256(_mm256_fmadd_ps(x, constants.below, rounding));
        let distance = _mm256_sub_epi32(step, constants.base);
        if EXACT {
            return (distance, step);
        }
        let other = _mm256_castps_si256(_mm256_fmadd_ps(x, constants.above, rounding));
        (distance, _mm256_xor_si256(step, other))
    }
}
