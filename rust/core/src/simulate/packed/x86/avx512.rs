//! AVX-512 F, BW, DQ and VL, with VBMI or without.

#![allow(unsafe_code, reason = "what needs instructions is called where they are proven")]
#![allow(clippy::wildcard_imports, reason = "the intrinsics' names say where they are from")]

use std::arch::x86_64::*;

use super::emission;
use super::memory::{load_128, load_256, load_512, store_128, store_512};
use super::vector::{MAX_ROWS, Vector, operations};
use crate::simulate::block::{Sums, TILE};
use crate::simulate::finish::Finish;
use crate::simulate::instructions::{Avx512, Avx512Vbmi};
use crate::simulate::outputs::Runs;
use crate::simulate::packed::quantizer::{Arithmetic, BEYOND, FeatureConstants, MIDDLE, ROUNDING};
use crate::simulate::packed::table::{Bytes, Read, Table};

/// 64 bytes; `VBMI` says whether byte permutes may be used.
#[derive(Clone, Copy)]
pub(super) struct Zmm<const VBMI: bool>(__m512i);

/// Constants of sixteen features.
#[derive(Clone, Copy)]
pub(super) struct ZmmConstants {
    below: __m512,
    above: __m512,
    /// Bits of what a value [`MIDDLE`] below code 0 is rounded to.
    base: __m512i,
}

impl Vector for Zmm<false> {
    const BYTES: usize = 64;
    const ARITHMETIC: Arithmetic = Arithmetic::Fused;
    type Proof = Avx512;
    type Constants = ZmmConstants;

    fn read(table: &Table) -> &Read {
        &table.shuffled
    }

    operations!();
}

impl Vector for Zmm<true> {
    const BYTES: usize = 64;
    const ARITHMETIC: Arithmetic = Arithmetic::Fused;
    type Proof = Avx512Vbmi;
    type Constants = ZmmConstants;

    fn read(table: &Table) -> &Read {
        &table.permuted
    }

    operations!();

    #[inline(always)]
    fn emit<F: Finish>(_: Self::Proof, runs: &Runs, sums: Sums<'_>, out: &mut [F::Value]) -> usize {
        // SAFETY: the proof is of the instructions that the function needs.
        unsafe { emission::emit::<F>(runs, sums, out) }
    }
}

impl<const VBMI: bool> Zmm<VBMI> {
    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl")]
    fn load(from: &[u8]) -> Self {
        Self(load_512::<u8, 64>(from.first_chunk().expect("a register's bytes")))
    }

    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl")]
    fn store(self, to: &mut [u8]) {
        store_512::<u8, 64>(self.0, to.first_chunk_mut().expect("a register's bytes"));
    }

    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl")]
    fn store_rows(self, rows: &mut [[u8; 16]], at: usize) {
        store_128(_mm512_castsi512_si128(self.0), &mut rows[at]);
        store_128(_mm512_extracti32x4_epi32::<1>(self.0), &mut rows[at + 16]);
        store_128(_mm512_extracti32x4_epi32::<2>(self.0), &mut rows[at + 32]);
        store_128(_mm512_extracti32x4_epi32::<3>(self.0), &mut rows[at + 48]);
    }

    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl")]
    fn bytes(value: u8) -> Self {
        Self(_mm512_set1_epi8(value.cast_signed()))
    }

    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl")]
    fn words(value: u16) -> Self {
        Self(_mm512_set1_epi16(value.cast_signed()))
    }

    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl")]
    fn doubles(value: u32) -> Self {
        Self(_mm512_set1_epi32(value.cast_signed()))
    }

    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl")]
    fn add(self, other: Self) -> Self {
        Self(_mm512_add_epi16(self.0, other.0))
    }

    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl")]
    fn multiply(self, other: Self) -> Self {
        Self(_mm512_mullo_epi16(self.0, other.0))
    }

    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl")]
    fn shift_right(self, bits: u8) -> Self {
        Self(_mm512_srl_epi16(self.0, _mm_cvtsi32_si128(bits.into())))
    }

    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl")]
    fn to_high_bytes(self) -> Self {
        Self(_mm512_slli_epi16::<8>(self.0))
    }

    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl")]
    fn and(self, other: Self) -> Self {
        Self(_mm512_and_si512(self.0, other.0))
    }

    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl")]
    fn or(self, other: Self) -> Self {
        Self(_mm512_or_si512(self.0, other.0))
    }

    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl")]
    fn is_zero(self) -> bool {
        _mm512_test_epi32_mask(self.0, self.0) == 0
    }

    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl")]
    fn add_bytes(self, other: Self) -> Self {
        Self(_mm512_adds_epu8(self.0, other.0))
    }

    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl")]
    fn subtract_bytes(self, other: Self) -> Self {
        Self(_mm512_subs_epu8(self.0, other.0))
    }

    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl")]
    fn add_words(self, other: Self) -> Self {
        Self(_mm512_adds_epu16(self.0, other.0))
    }

    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl")]
    fn subtract_words(self, other: Self) -> Self {
        Self(_mm512_subs_epu16(self.0, other.0))
    }

    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl")]
    fn min_bytes(self, other: Self) -> Self {
        Self(_mm512_min_epu8(self.0, other.0))
    }

    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl")]
    fn ordered(self) -> Self {
        self
    }

    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl")]
    fn step_bytes(self, x: Self, before: Self, delta: Self) -> Self {
        let beyond = _mm512_cmpgt_epu8_mask(x.0, before.0);
        Self(_mm512_mask_add_epi8(self.0, beyond, self.0, delta.0))
    }

    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl")]
    fn step_words(self, x: Self, at: Self, delta: Self) -> Self {
        let beyond = _mm512_cmpge_epu16_mask(x.0, at.0);
        Self(_mm512_mask_add_epi16(self.0, beyond, self.0, delta.0))
    }

    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl")]
    fn unpack_low(self, other: Self) -> Self {
        Self(_mm512_unpacklo_epi8(self.0, other.0))
    }

    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl")]
    fn unpack_high(self, other: Self) -> Self {
        Self(_mm512_unpackhi_epi8(self.0, other.0))
    }

    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl")]
    fn constants(features: FeatureConstants<'_>) -> ZmmConstants {
        ZmmConstants {
            below: _mm512_castsi512_ps(load_512(features.below)),
            above: _mm512_castsi512_ps(load_512(features.above)),
            base: _mm512_sub_epi32(load_512(features.floor), _mm512_set1_epi32(MIDDLE.into())),
        }
    }

    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl")]
    fn quantize<const EXACT: bool>(
        rows: [&[f32; TILE]; MAX_ROWS],
        constants: ZmmConstants,
    ) -> (Self, Self) {
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
        let (first, second) = (_mm512_sub_epi16(first, middle), _mm512_sub_epi16(second, middle));
        // Packs work within 16 bytes, so each of these gets four features of all rows.
        let packed = _mm512_packus_epi16(first, second);
        let order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
        (Self(_mm512_permutexvar_epi32(order, packed)), Self(doubt))
    }

    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl")]
    fn narrow(rows: [&[u16; TILE]; MAX_ROWS], max: u16) -> (Self, bool) {
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

impl Zmm<false> {
    /// One shuffle reads 16 entries; it gives zero for the indexes of other entries, whose highest bit
    /// the saturated sum sets.
    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl")]
    fn look_up(self, table: &Bytes) -> Self {
        let mut read = _mm512_setzero_si512();
        let parts = &table.entries.as_chunks().0[..=usize::from(table.last / 16)];
        for (part, entries) in (0..).zip(parts) {
            let entries = _mm512_broadcast_i32x4(load_128(entries));
            let first = _mm512_set1_epi8((16_u8 * part).cast_signed());
            let index = _mm512_xor_si512(self.0, first);
            let index = _mm512_adds_epu8(index, _mm512_set1_epi8(0x70));
            read = _mm512_or_si512(read, _mm512_shuffle_epi8(entries, index));
        }
        Self(read)
    }
}

impl Zmm<true> {
    /// One permute reads 64 entries or, from two registers, 128.
    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,avx512vbmi")]
    fn look_up(self, table: &Bytes) -> Self {
        let parts = table.entries.as_chunks::<64>().0;
        let (indexes, first) = (self.0, load_512(&parts[0]));
        if table.last < 64 {
            return Self(_mm512_permutexvar_epi8(indexes, first));
        }
        let low = _mm512_permutex2var_epi8(first, indexes, load_512(&parts[1]));
        if table.last < 128 {
            return Self(low);
        }
        let (third, fourth) = (load_512(&parts[2]), load_512(&parts[3]));
        let high = _mm512_permutex2var_epi8(third, indexes, fourth);
        Self(_mm512_mask_blend_epi8(_mm512_movepi8_mask(indexes), low, high))
    }
}

/// Distances of sixteen rounded values from [`MIDDLE`] below code 0 and, unless `EXACT`, bits that are
/// zero where both factors agree.
#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl")]
fn distances<const EXACT: bool>(row: &[f32; TILE], constants: ZmmConstants) -> (__m512i, __m512i) {
    let (x, rounding) = (_mm512_castsi512_ps(load_512(row)), _mm512_set1_ps(ROUNDING));
    let step = _mm512_castps_si512(_mm512_fmadd_ps(x, constants.below, rounding));
    let distance = _mm512_sub_epi32(step, constants.base);
    if EXACT {
        return (distance, step);
    }
    let other = _mm512_castps_si512(_mm512_fmadd_ps(x, constants.above, rounding));
    (distance, _mm512_xor_si512(step, other))
}

/// The codes of two rows.
#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl")]
fn load_two(first: &[u16; TILE], second: &[u16; TILE]) -> __m512i {
    _mm512_inserti64x4::<1>(_mm512_castsi256_si512(load_256(first)), load_256(second))
}
