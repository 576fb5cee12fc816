//! A neuron's table in the forms that kernels read.

use crate::graph::lookup::Lookup;
use crate::simulate::block::Column;

/// Beyond this many changes of code, reading entry by entry is faster than comparing.
const MAX_STEPS: usize = 16;

/// A table of one neuron as a function of its sum, counted from the minimum.
#[derive(Debug)]
pub(super) struct Table {
    /// How to read it where a permute reads a whole table.
    pub(super) permuted: Read,
    /// How to read it where a shuffle reads 16 entries.
    pub(super) shuffled: Read,
    /// How to read it elsewhere.
    pub(super) compared: Read,
}

/// A way to read a table.
#[derive(Debug, Clone)]
pub(super) enum Read {
    /// The first code, and what is added to it, modulo 256, from where on.
    Steps(u8, Vec<Step>),
    /// `bytes[(sum + half) >> lsbs]`.
    Bytes(Box<Bytes>),
    /// The graph's own table.
    Entries,
}

impl Read {
    /// The largest sum, of more than 8 bits, that a table of bytes holds; others have no such limit.
    pub(super) fn last_sum(&self) -> u16 {
        match self {
            Self::Bytes(bytes) => {
                let step = (1_u32 << bytes.lsbs) - 1;
                let last = (u32::from(bytes.last) << bytes.lsbs) + step - u32::from(bytes.half);
                u16::try_from(last).unwrap_or(u16::MAX)
            }
            Self::Steps(..) | Self::Entries => u16::MAX,
        }
    }
}

/// A change of code.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step {
    /// The least sum after it; at least 1.
    pub(super) at: u16,
    /// The code after it minus the code before it, modulo 256.
    pub(super) delta: u8,
}

/// A table of at most 256 entries. For a sum of 8 bits rounding is part of it, so nothing is shifted.
#[derive(Debug, Clone)]
#[repr(C, align(64))]
pub(super) struct Bytes {
    pub(super) entries: [u8; 256],
    /// The largest index.
    pub(super) last: u8,
    pub(super) half: u16,
    pub(super) lsbs: u8,
}

impl Table {
    /// The table of a neuron whose sum, counted from its minimum, reaches `width`; none if it holds a
    /// code of more than 8 bits.
    pub(super) fn new(lookup: &Lookup, neuron: usize, width: u64) -> Option<Self> {
        let entries: Option<Vec<u8>> =
            lookup.table(neuron).iter().map(|&code| u8::try_from(code).ok()).collect();
        let entries = entries?;
        let steps = steps(lookup, &entries, width);
        let bytes = Bytes::new(lookup, &entries, width).map(|bytes| Read::Bytes(Box::new(bytes)));
        // A byte shuffle reads 16 entries, and takes about as long as a comparison.
        let n_shuffles = match &bytes {
            Some(Read::Bytes(bytes)) => usize::from(bytes.last) / 16 + 1,
            _ => MAX_STEPS,
        };
        let few = steps.len() <= n_shuffles;
        let steps = (steps.len() <= MAX_STEPS).then(|| Read::Steps(entries[0], steps));
        let compared = steps.clone().or(bytes.clone()).unwrap_or(Read::Entries);
        let permuted = bytes.clone().or(steps).unwrap_or(Read::Entries);
        let shuffled = if few { compared.clone() } else { bytes.unwrap_or(Read::Entries) };
        Some(Self { permuted, shuffled, compared })
    }
}

#[expect(clippy::cast_possible_truncation, reason = "sums have 16 bits")]
fn steps(lookup: &Lookup, entries: &[u8], width: u64) -> Vec<Step> {
    let changes = entries.windows(2).zip(1_u64..).filter(|(pair, _)| pair[0] != pair[1]);
    changes
        .map(|(pair, index)| ((index << lookup.lsbs()) - lookup.half(), pair))
        .filter(|&(at, _)| at <= width)
        .map(|(at, pair)| Step { at: at as u16, delta: pair[1].wrapping_sub(pair[0]) })
        .collect()
}

impl Bytes {
    #[expect(clippy::cast_possible_truncation, reason = "checked to fit")]
    fn new(lookup: &Lookup, entries: &[u8], width: u64) -> Option<Self> {
        let mut bytes = Self { entries: [0; 256], last: 0, half: 0, lsbs: 0 };
        if width < 256 {
            bytes.last = width as u8;
            for (sum, entry) in (0..=width).zip(&mut bytes.entries) {
                *entry = entries[((sum + lookup.half()) >> lookup.lsbs()) as usize];
            }
            return Some(bytes);
        }
        if entries.len() > 256 || width + lookup.half() > u64::from(u16::MAX) || lookup.lsbs() > 15
        {
            return None;
        }
        bytes.last = (entries.len() - 1) as u8;
        bytes.entries[..entries.len()].copy_from_slice(entries);
        bytes.half = lookup.half() as u16;
        bytes.lsbs = lookup.lsbs();
        Some(bytes)
    }
}

/// Reads the graph's own table; beyond its end, where noise or a row that doesn't count may lead, the
/// last entry.
pub(super) fn read_entries(lookup: &Lookup, neuron: usize, sums: &[u16], next: &mut Column) {
    let table = lookup.table(neuron);
    for (code, &sum) in next.0.iter_mut().zip(sums) {
        let index = (u64::from(sum) + lookup.half()) >> lookup.lsbs();
        let index = usize::try_from(index).unwrap_or(usize::MAX).min(table.len() - 1);
        *code = table[index].to_le_bytes()[0];
    }
}
