//! What is read next, fetched while the processor computes.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::{_MM_HINT_T0, _MM_HINT_T1, _mm_prefetch};
use std::ops::Range;

/// Memory that will be read soon: it is idle while results are computed.
#[derive(Clone, Copy)]
pub(super) struct Ahead {
    first: *const u8,
    bytes: usize,
}

impl Ahead {
    /// Bytes that processors fetch together.
    pub(super) const LINE: usize = 64;

    /// Larger blocks and their codes don't leave room for another block in the second cache.
    const MAX_BLOCK: usize = 1 << 18;

    /// Nothing.
    pub(super) const NONE: Self = Self { first: std::ptr::null(), bytes: 0 };

    /// What to fetch of a batch while the block of the values in `block` is loaded, and what while its
    /// first sums are computed.
    ///
    /// The next block is fetched, evenly, unless the second cache has no room for so much: then half of
    /// it and, before that, the second half of this block.
    pub(super) fn of_block<T>(batch: &[T], block: Range<usize>) -> [Self; 2] {
        let next = block.end..(2 * block.end - block.start).min(batch.len());
        let [first, second] = Self::halves(&batch[next]);
        if block.len() * size_of::<T>() <= Self::MAX_BLOCK {
            [first, second]
        } else {
            let [_, rest] = Self::halves(&batch[block]);
            [rest, first]
        }
    }

    /// What to fetch while a column's rows in `block` are loaded, of `width` columns: its next ones,
    /// unless the second cache has no room for so many blocks. Then processors see for themselves what
    /// is read in order.
    pub(super) fn of_column<T>(column: &[T], block: &Range<usize>, width: usize) -> Self {
        if block.len() * width * size_of::<T>() > Self::MAX_BLOCK {
            return Self::NONE;
        }
        let next = block.end..(2 * block.end - block.start).min(column.len());
        let next = &column[next];
        Self { first: next.as_ptr().cast(), bytes: size_of_val(next) }
    }

    fn halves<T>(values: &[T]) -> [Self; 2] {
        let (first, second) = values.split_at(values.len() / 2);
        [first, second].map(|half| Self { first: half.as_ptr().cast(), bytes: size_of_val(half) })
    }

    /// Where it begins, if there is something.
    pub(super) fn first(self) -> Option<*const u8> {
        (self.bytes > 0).then_some(self.first)
    }

    /// Where the lines of one of `parts` equal parts are.
    #[inline(always)]
    pub(super) fn lines(self, part: usize, parts: usize) -> impl Iterator<Item = *const u8> {
        let lines = self.bytes.div_ceil(Self::LINE);
        let each = lines.div_ceil(parts);
        let range = (part * each).min(lines)..((part + 1) * each).min(lines);
        range.map(move |line| self.first.wrapping_add(line * Self::LINE))
    }
}

/// Fetches the line at `address`, wherever that is, to the nearest cache.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
#[allow(unsafe_code, reason = "a hint to the processor")]
pub(super) fn fetch_near(address: *const u8) {
    // SAFETY: a hint, which any address may be given to.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) };
}

/// Fetches the line at `address`, wherever that is, to the second cache.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
#[allow(unsafe_code, reason = "a hint to the processor")]
pub(super) fn fetch(address: *const u8) {
    // SAFETY: a hint, which any address may be given to.
    unsafe { _mm_prefetch::<_MM_HINT_T1>(address.cast()) };
}
