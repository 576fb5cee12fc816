//! One table per neuron, read at the accumulator's top bits.

use super::interval::{CodeInterval, Interval};
use crate::error::{Error, GraphDefect, Limit, Part, ProofError};
use crate::units::BitWidth;

/// The most low bits that a lookup may round away.
pub const MAX_LSBS: u8 = 62;

/// A lookup layer as the caller describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LookupSpec {
    /// Proven minimum of each neuron's accumulator; computed where it is left out.
    pub low: Option<Vec<i64>>,
    /// Low bits to round away, in `[0, 62]`.
    pub lsbs: i64,
    /// Whether the low bits are rounded exactly; without low bits to round it always is.
    pub exact: bool,
    /// One table per neuron, with an entry for every index.
    pub tables: Vec<Vec<i64>>,
}

/// `code = table[(acc - low + 2^(lsbs-1)) >> lsbs]`, without the half where `lsbs` is 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lookup {
    low: Vec<i64>,
    lsbs: u8,
    exact: bool,
    /// All tables, one after the other; `ends[neuron]` is one past the neuron's last entry.
    entries: Vec<u16>,
    ends: Vec<usize>,
}

impl Lookup {
    /// Checks `spec`, the layer at position `layer`, against the intervals of the Linear before it.
    pub(crate) fn new(
        spec: &LookupSpec,
        layer: usize,
        intervals: &[Interval],
    ) -> Result<Self, Error> {
        let fail = |defect: GraphDefect| Err(defect.of(Part::Layer(layer)).into());
        let Ok(lsbs @ 0..=MAX_LSBS) = u8::try_from(spec.lsbs) else {
            let (low, high) = (0, MAX_LSBS.into());
            return fail(GraphDefect::IntegerRange { name: "lsbs", value: spec.lsbs, low, high });
        };
        let low: Vec<i64> = intervals.iter().map(|interval| interval.low).collect();
        if let Some(given) = &spec.low
            && let Err(defect) = check_low(given, &low)
        {
            return fail(defect);
        }
        let mut lookup = Self {
            low,
            lsbs,
            exact: spec.exact || lsbs == 0,
            entries: Vec::new(),
            ends: Vec::with_capacity(intervals.len()),
        };
        lookup.check_indexes(layer, intervals)?;
        if spec.tables.len() != intervals.len() {
            let (expected, got) = (intervals.len(), spec.tables.len());
            return fail(GraphDefect::Length { name: "tables", expected, got });
        }
        for (table, interval) in spec.tables.iter().zip(intervals) {
            if let Err(defect) = lookup.push_table(table, *interval) {
                return fail(defect);
            }
        }
        Ok(lookup)
    }

    /// Proven minimum of each neuron's accumulator.
    #[must_use]
    pub fn low(&self) -> &[i64] {
        &self.low
    }

    /// Low bits that are rounded away.
    #[must_use]
    pub const fn lsbs(&self) -> u8 {
        self.lsbs
    }

    /// Whether the low bits are rounded exactly.
    #[must_use]
    pub const fn exact(&self) -> bool {
        self.exact
    }

    /// Number of neurons, so of lookups.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.low.len()
    }

    /// Whether there are no neurons, which no graph allows.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.low.is_empty()
    }

    /// Table of one neuron.
    #[must_use]
    pub fn table(&self, neuron: usize) -> &[u16] {
        let start = neuron.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.entries[start..self.ends[neuron]]
    }

    /// Half of what is rounded away; 0 if nothing is.
    #[must_use]
    pub const fn half(&self) -> u64 {
        (1 << self.lsbs) >> 1
    }

    /// Bits of the largest index that any neuron's table has.
    #[must_use]
    pub fn index_bits(&self) -> BitWidth {
        let longest = (0..self.len()).map(|neuron| self.table(neuron).len()).max().unwrap_or(1);
        BitWidth::of(longest as u64 - 1)
    }

    /// The codes that each neuron's table can give: its image, since every index is reachable.
    pub(crate) fn images(&self) -> Vec<CodeInterval> {
        let image = |neuron| {
            let table = self.table(neuron);
            let low = table.iter().copied().min().unwrap_or(0);
            let high = table.iter().copied().max().unwrap_or(0);
            CodeInterval { low, high }
        };
        (0..self.len()).map(image).collect()
    }

    fn max_index(&self, interval: Interval) -> u64 {
        (interval.width() + self.half()) >> self.lsbs
    }

    fn check_indexes(&self, layer: usize, intervals: &[Interval]) -> Result<(), ProofError> {
        for (neuron, &interval) in intervals.iter().enumerate() {
            let needed = BitWidth::of(self.max_index(interval));
            if needed > BitWidth::LOOKUP {
                return Err(ProofError {
                    layer: layer - 1,
                    neuron,
                    low: interval.low.into(),
                    high: interval.high.into(),
                    limit: Limit::LookupIndex,
                    bits_needed: needed.get().into(),
                    bits_allowed: BitWidth::LOOKUP.get().into(),
                });
            }
        }
        Ok(())
    }

    fn push_table(&mut self, table: &[i64], interval: Interval) -> Result<(), GraphDefect> {
        let neuron = self.ends.len();
        // Fits: check_indexes has held every index to 16 bits.
        let needed = usize::try_from(self.max_index(interval)).unwrap_or(usize::MAX - 1) + 1;
        if table.len() != needed {
            return Err(GraphDefect::TableLength { neuron, needed, got: table.len() });
        }
        for (entry, &value) in table.iter().enumerate() {
            match u16::try_from(value) {
                Ok(code) => self.entries.push(code),
                Err(_) => return Err(GraphDefect::TableEntry { neuron, entry, value }),
            }
        }
        self.ends.push(self.entries.len());
        Ok(())
    }
}

fn check_low(given: &[i64], proven: &[i64]) -> Result<(), GraphDefect> {
    if given.len() != proven.len() {
        return Err(GraphDefect::Length { name: "low", expected: proven.len(), got: given.len() });
    }
    match given.iter().zip(proven).position(|(given, proven)| given != proven) {
        Some(neuron) => {
            Err(GraphDefect::Low { neuron, got: given[neuron], proven: proven[neuron] })
        }
        None => Ok(()),
    }
}
