//! AVX2 and FMA.

#![allow(unsafe_code, reason = "what needs instructions is called where they are proven")]
#![allow(clippy::wildcard_imports, reason = "the intrinsics' names say where they are from")]

use std::arch::x86_64::*;

use super::memory::{load_128, load_256, store_128, store_256};
use super::vector::{MAX_ROWS, Vector, operations};
use crate::simulate::block::TILE;
use crate::simulate::instructions::Avx2;
use crate::simulate::packed::quantizer::{Arithmetic, BEYOND, FeatureConstants, MIDDLE, ROUNDING};
use crate::simulate::packed::table::{Bytes, Read, Table};

/// 32 bytes.
#[derive(Clone, Copy)]
pub(super) struct Ymm(__m256i);

/// Constants of sixteen features, in two halves.
#[derive(Clone, Copy)]
pub(super) struct YmmConstants([HalfConstants; 2]);

#[derive(Clone, Copy)]
struct HalfConstants {
    below: __m256,
    above: __m256,
    /// Bits of what a value [`MIDDLE`] below code 0 is rounded to.
    base: __m256i,
}

impl Vector for Ymm {
    const BYTES: usize = 32;
    const ARITHMETIC: Arithmetic = Arithmetic::Fused;
    type Proof = Avx2;
    type Constants = YmmConstants;

    fn read(table: &Table) -> &Read {
        &table.shuffled
    }

    operations!();
}

impl Ymm {
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn load(from: &[u8]) -> Self {
        Self(load_256::<u8, 32>(from.first_chunk().expect("a register's bytes")))
    }

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn store(self, to: &mut [u8]) {
        store_256(self.0, to.first_chunk_mut().expect("a register's bytes"));
    }

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn store_rows(self, rows: &mut [[u8; 16]], at: usize) {
        store_128(_mm256_castsi256_si128(self.0), &mut rows[at]);
        store_128(_mm256_extracti128_si256::<1>(self.0), &mut rows[at + 16]);
    }

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn bytes(value: u8) -> Self {
        Self(_mm256_set1_epi8(value.cast_signed()))
    }

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn words(value: u16) -> Self {
        Self(_mm256_set1_epi16(value.cast_signed()))
    }

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn doubles(value: u32) -> Self {
        Self(_mm256_set1_epi32(value.cast_signed()))
    }

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn add(self, other: Self) -> Self {
        Self(_mm256_add_epi16(self.0, other.0))
    }

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn multiply(self, other: Self) -> Self {
        Self(_mm256_mullo_epi16(self.0, other.0))
    }

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn shift_right(self, bits: u8) -> Self {
        Self(_mm256_srl_epi16(self.0, _mm_cvtsi32_si128(bits.into())))
    }

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn to_high_bytes(self) -> Self {
        Self(_mm256_slli_epi16::<8>(self.0))
    }

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn and(self, other: Self) -> Self {
        Self(_mm256_and_si256(self.0, other.0))
    }

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn or(self, other: Self) -> Self {
        Self(_mm256_or_si256(self.0, other.0))
    }

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn is_zero(self) -> bool {
        _mm256_testz_si256(self.0, self.0) != 0
    }

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn add_bytes(self, other: Self) -> Self {
        Self(_mm256_adds_epu8(self.0, other.0))
    }

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn subtract_bytes(self, other: Self) -> Self {
        Self(_mm256_subs_epu8(self.0, other.0))
    }

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn add_words(self, other: Self) -> Self {
        Self(_mm256_adds_epu16(self.0, other.0))
    }

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn subtract_words(self, other: Self) -> Self {
        Self(_mm256_subs_epu16(self.0, other.0))
    }

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn min_bytes(self, other: Self) -> Self {
        Self(_mm256_min_epu8(self.0, other.0))
    }

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn ordered(self) -> Self {
        Self(_mm256_xor_si256(self.0, _mm256_set1_epi8(i8::MIN)))
    }

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn step_bytes(self, x: Self, before: Self, delta: Self) -> Self {
        let beyond = _mm256_cmpgt_epi8(x.0, before.0);
        Self(_mm256_add_epi8(self.0, _mm256_and_si256(beyond, delta.0)))
    }

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn step_words(self, x: Self, at: Self, delta: Self) -> Self {
        let beyond = _mm256_cmpeq_epi16(_mm256_max_epu16(x.0, at.0), x.0);
        Self(_mm256_add_epi16(self.0, _mm256_and_si256(beyond, delta.0)))
    }

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn unpack_low(self, other: Self) -> Self {
        Self(_mm256_unpacklo_epi8(self.0, other.0))
    }

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn unpack_high(self, other: Self) -> Self {
        Self(_mm256_unpackhi_epi8(self.0, other.0))
    }

    /// One shuffle reads 16 entries; it gives zero for the indexes of other entries, whose highest
    /// bit the saturated sum sets.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn look_up(self, table: &Bytes) -> Self {
        let mut read = _mm256_setzero_si256();
        let parts = &table.entries.as_chunks().0[..=usize::from(table.last / 16)];
        for (part, entries) in (0..).zip(parts) {
            let entries = _mm256_broadcastsi128_si256(load_128(entries));
            let first = _mm256_set1_epi8((16_u8 * part).cast_signed());
            let index = _mm256_xor_si256(self.0, first);
            let index = _mm256_adds_epu8(index, _mm256_set1_epi8(0x70));
            read = _mm256_or_si256(read, _mm256_shuffle_epi8(entries, index));
        }
        Self(read)
    }

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn constants(features: FeatureConstants<'_>) -> YmmConstants {
        let FeatureConstants { below, above, floor, .. } = features;
        let [(low, high), (low_above, high_above), (low_floor, high_floor)] =
            [below, above, floor].map(halves);
        YmmConstants([
            HalfConstants::new(low, low_above, low_floor),
            HalfConstants::new(high, high_above, high_floor),
        ])
    }

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn quantize<const EXACT: bool>(
        rows: [&[f32; TILE]; MAX_ROWS],
        YmmConstants([low, high]): YmmConstants,
    ) -> (Self, Self) {
        let [(a_low, a_high), (b_low, b_high)] = [halves(rows[0]), halves(rows[1])];
        let (a_low, unsure_0) = distances::<EXACT>(a_low, low);
        let (a_high, unsure_1) = distances::<EXACT>(a_high, high);
        let (b_low, unsure_2) = distances::<EXACT>(b_low, low);
        let (b_high, unsure_3) = distances::<EXACT>(b_high, high);
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
        let (first, second) = (_mm256_sub_epi16(first, middle), _mm256_sub_epi16(second, middle));
        // Packs work within 16 bytes, so each of these gets four features of four halves.
        let packed = _mm256_packus_epi16(first, second);
        let order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
        (Self(_mm256_permutevar8x32_epi32(packed, order)), Self(doubt))
    }

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn narrow(rows: [&[u16; TILE]; MAX_ROWS], max: u16) -> (Self, bool) {
        let max = _mm256_set1_epi16(max.cast_signed());
        let (a, b) = (load_256(rows[0]), load_256(rows[1]));
        let highest = _mm256_max_epu16(_mm256_max_epu16(a, b), max);
        let beyond = _mm256_movemask_epi8(_mm256_cmpeq_epi16(highest, max)) != -1;
        let packed = _mm256_packus_epi16(_mm256_min_epu16(a, max), _mm256_min_epu16(b, max));
        (Self(_mm256_permute4x64_epi64::<0b11_01_10_00>(packed)), beyond)
    }
}

impl HalfConstants {
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn new(below: &[f32; 8], above: &[f32; 8], floor: &[f32; 8]) -> Self {
        Self {
            below: _mm256_castsi256_ps(load_256(below)),
            above: _mm256_castsi256_ps(load_256(above)),
            base: _mm256_sub_epi32(load_256(floor), _mm256_set1_epi32(MIDDLE.into())),
        }
    }
}

/// Distances of eight rounded values from [`MIDDLE`] below code 0 and, unless `EXACT`, bits that are
/// zero where both factors agree.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn distances<const EXACT: bool>(row: &[f32; 8], constants: HalfConstants) -> (__m256i, __m256i) {
    let (x, rounding) = (_mm256_castsi256_ps(load_256(row)), _mm256_set1_ps(ROUNDING));
    let step = _mm256_castps_si256(_mm256_fmadd_ps(x, constants.below, rounding));
    let distance = _mm256_sub_epi32(step, constants.base);
    if EXACT {
        return (distance, step);
    }
    let other = _mm256_castps_si256(_mm256_fmadd_ps(x, constants.above, rounding));
    (distance, _mm256_xor_si256(step, other))
}

#[inline(always)]
fn halves(values: &[f32; TILE]) -> (&[f32; 8], &[f32; 8]) {
    let halves = values.as_chunks().0;
    (&halves[0], &halves[1])
}
