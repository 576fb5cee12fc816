//! Registers from and to memory.

#![allow(unsafe_code, reason = "every use says why it is sound")]

use std::arch::x86_64::{
    __m128i, __m256i, __m512i, _mm_loadu_si128, _mm_storeu_si128, _mm256_loadu_si256,
    _mm256_storeu_si256, _mm512_loadu_si512, _mm512_storeu_si512,
};

/// Numbers that are nothing but bits, of which any will do.
///
/// # Safety
/// There must be no padding and no invalid value.
pub(super) unsafe trait Bits: Copy {}

macro_rules! bits {
    // SAFETY: numbers and arrays of numbers.
    ($($type:ty),+) => { $(unsafe impl Bits for $type {})+ };
}

bits!(u8, u16, f32, i64, f64, [u8; 8], [u8; 16]);

/// Sixteen bytes.
#[inline]
#[target_feature(enable = "sse2")]
pub(super) fn load_128(from: &[u8; 16]) -> __m128i {
    // SAFETY: as long as the register.
    unsafe { _mm_loadu_si128(from.as_ptr().cast()) }
}

/// Stores sixteen bytes.
#[inline]
#[target_feature(enable = "sse2")]
pub(super) fn store_128(register: __m128i, to: &mut [u8; 16]) {
    // SAFETY: as long as the register.
    unsafe { _mm_storeu_si128(to.as_mut_ptr().cast(), register) }
}

/// Numbers of 32 bytes.
#[inline]
#[target_feature(enable = "avx")]
pub(super) fn load_256<T: Bits, const N: usize>(from: &[T; N]) -> __m256i {
    const { assert!(size_of::<[T; N]>() == 32) }
    // SAFETY: as long as the register.
    unsafe { _mm256_loadu_si256(from.as_ptr().cast()) }
}

/// Stores 32 bytes.
#[inline]
#[target_feature(enable = "avx")]
pub(super) fn store_256(register: __m256i, to: &mut [u8; 32]) {
    // SAFETY: as long as the register.
    unsafe { _mm256_storeu_si256(to.as_mut_ptr().cast(), register) }
}

/// Numbers of 64 bytes.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn load_512<T: Bits, const N: usize>(from: &[T; N]) -> __m512i {
    const { assert!(size_of::<[T; N]>() == 64) }
    // SAFETY: as long as the register.
    unsafe { _mm512_loadu_si512(from.as_ptr().cast()) }
}

/// Stores numbers of 64 bytes.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn store_512<T: Bits, const N: usize>(register: __m512i, to: &mut [T; N]) {
    const { assert!(size_of::<[T; N]>() == 64) }
    // SAFETY: as long as the register, whose bits are as good as any.
    unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), register) }
}
