//! The ways to evaluate a graph. All give the same integers.

#[cfg(target_arch = "x86_64")]
use super::instructions::{Avx2, Avx512, Avx512Vbmi};

/// How a batch is evaluated. By default the fastest way for the graph, the machine and the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Path {
    /// Row by row in 64-bit integers: the quickest start, so for a handful of rows.
    Rows,
    /// Blocks of rows in lanes of 16, 32 or 64 bits: for wide codes and accumulators.
    Lanes,
    /// Blocks of rows, two sums to a 16-bit lane, in plain loops.
    Portable,
    /// The same with AVX2 and FMA.
    Avx2,
    /// The same with AVX-512 F, BW, DQ and VL.
    Avx512,
    /// The same with AVX-512 VBMI, whose byte permutes read whole tables.
    Avx512Vbmi,
}

impl Path {
    /// Every path, the fastest for many rows last.
    pub const ALL: [Self; 6] =
        [Self::Rows, Self::Lanes, Self::Portable, Self::Avx2, Self::Avx512, Self::Avx512Vbmi];

    /// Whether this machine's processor has what the path needs.
    #[must_use]
    pub fn is_available(self) -> bool {
        match self {
            Self::Rows | Self::Lanes | Self::Portable => true,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => Avx2::detect().is_some(),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => Avx512::detect().is_some(),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Vbmi => Avx512Vbmi::detect().is_some(),
            #[cfg(not(target_arch = "x86_64"))]
            _ => false,
        }
    }

    /// The fastest path of this machine for many rows.
    pub(super) fn best() -> Self {
        let available = Self::ALL.into_iter().rev().find(|path| path.is_available());
        available.unwrap_or(Self::Portable)
    }
}
