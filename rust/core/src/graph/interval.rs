//! What an accumulator, and what a code, can be.

/// Proven minimum and maximum of an accumulator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interval {
    /// The minimum.
    pub low: i64,
    /// The maximum.
    pub high: i64,
}

impl Interval {
    /// `high - low`.
    #[must_use]
    pub const fn width(self) -> u64 {
        self.high.abs_diff(self.low)
    }
}

impl From<CodeInterval> for Interval {
    fn from(codes: CodeInterval) -> Self {
        Self { low: codes.low.into(), high: codes.high.into() }
    }
}

/// The codes that an input of a layer can take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CodeInterval {
    /// The least code.
    pub low: u16,
    /// The largest code.
    pub high: u16,
}
