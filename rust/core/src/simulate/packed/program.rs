//! A graph prepared for kernels that keep two sums in one 16-bit lane.
//!
//! A lane holds the codes of two rows, one per byte, and `lane * weight` multiplies both. The sum
//! modulo `2^16` of such products is `low + 256 * high` for the two rows' sums, whatever borrows and
//! carries went between the bytes on the way; so if both true sums are proven to lie in `[0, 255]`
//! they can be read from the bytes in the end. A neuron's inputs are therefore cut into groups whose
//! sums, counted from their proven minimum, have at most 8 bits, and the groups' sums are added up in
//! 16 bits. Their total is the accumulator counted from its own minimum: offsets cancel out.

use std::sync::OnceLock;

use super::quantizer::{Arithmetic, Brackets};
use super::table::Table;
use crate::graph::IntegerGraph;
use crate::graph::input::Input;
use crate::graph::interval::CodeInterval;
use crate::graph::layer::Stage;
use crate::graph::linear::Linear;
use crate::simulate::outputs::Outputs;

/// What a group's sum can reach.
const GROUP_WIDTH: u64 = 255;

/// A neuron wider than this has no place in 16 bits.
const MAX_WIDTH: u64 = 65_535;

/// Cutting weights into parts stops paying, against 16-bit lanes, when there are this many times as
/// many parts as weights.
const MAX_PARTS_PER_WEIGHT: usize = 3;

/// The prepared graph.
#[derive(Debug)]
pub(in crate::simulate) struct Program {
    /// One per Linear.
    pub(super) layers: Vec<Layer>,
    /// The quantizer in single precision, where it can be had: see [`Program::brackets`].
    fused: OnceLock<Option<Brackets>>,
    rounded_twice: OnceLock<Option<Brackets>>,
    pub(super) outputs: Outputs,
}

/// A Linear and, but for the last, the Lookup after it.
#[derive(Debug)]
pub(super) struct Layer {
    pub(super) neurons: Vec<Neuron>,
    groups: Vec<Group>,
    terms: Vec<Term>,
    /// Columns of codes that it reads.
    pub(super) n_inputs: usize,
    /// Whether a neuron has more than one group, so more than 8 bits.
    pub(super) wide: bool,
}

/// The end of a neuron's groups, and how its sum is read.
#[derive(Debug)]
pub(super) struct Neuron {
    groups_end: usize,
    pub(super) table: Option<Table>,
}

/// Products whose sum has at most 8 bits.
#[derive(Debug, Clone, Copy)]
struct Group {
    terms_end: usize,
    /// Minus the sum's minimum, for both rows of a lane.
    start: u16,
}

/// A weight on a column of codes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Term {
    pub(super) column: u32,
    /// The weight modulo `2^16`, twice: processors spread 32 bits over a register at no cost.
    pub(super) weights: u32,
}

impl Program {
    /// Prepares `graph`; none if a code needs more than 8 bits or an accumulator more than 16, or if
    /// weights are so large that other lanes are faster.
    pub(in crate::simulate) fn new(graph: &IntegerGraph) -> Option<Self> {
        let mut codes = graph.input().codes().to_vec();
        let mut layers = Vec::new();
        for Stage { linear, intervals, lookup } in graph.evaluated() {
            if codes.iter().any(|codes| u64::from(codes.high) > GROUP_WIDTH) {
                return None;
            }
            let mut layer = Layer::new(linear, &codes)?;
            if let Some(lookup) = lookup {
                for (index, neuron) in layer.neurons.iter_mut().enumerate() {
                    let width = intervals[index].width();
                    neuron.table = Some(Table::new(lookup, index, width)?);
                }
                codes = lookup.images();
            }
            layers.push(layer);
        }
        let (fused, rounded_twice) = (OnceLock::new(), OnceLock::new());
        Some(Self { layers, outputs: Outputs::new(graph)?, fused, rounded_twice })
    }

    /// The quantizer of the graph, `input`, in single precision, where it can be had.
    pub(super) fn brackets(&self, input: &Input, arithmetic: Arithmetic) -> Option<&Brackets> {
        let brackets = match arithmetic {
            Arithmetic::Fused => &self.fused,
            Arithmetic::RoundedTwice => &self.rounded_twice,
        };
        brackets.get_or_init(|| Brackets::new(input, arithmetic)).as_ref()
    }
}

impl Layer {
    fn new(linear: &Linear, codes: &[CodeInterval]) -> Option<Self> {
        let mut layer = Self {
            neurons: Vec::new(),
            groups: Vec::new(),
            terms: Vec::new(),
            n_inputs: linear.n_inputs(),
            wide: false,
        };
        for neuron in 0..linear.n_outputs() {
            let before = layer.groups.len();
            layer.push_neuron(linear, neuron, codes)?;
            layer.wide |= layer.groups.len() > before + 1;
        }
        let few = layer.terms.len() <= MAX_PARTS_PER_WEIGHT * linear.n_nonzeros();
        few.then_some(layer)
    }

    fn push_neuron(
        &mut self,
        linear: &Linear,
        neuron: usize,
        codes: &[CodeInterval],
    ) -> Option<()> {
        let (columns, weights) = linear.row(neuron);
        let (mut left, mut width, mut start) = (GROUP_WIDTH, 0_u64, 0_u16);
        for (&column, &weight) in columns.iter().zip(weights) {
            let codes = codes[column as usize];
            let range = u64::from(codes.high - codes.low);
            // A constant input moves the sum and its minimum alike.
            if range == 0 {
                continue;
            }
            width = width.checked_add(range.checked_mul(weight.unsigned_abs())?)?;
            if width > MAX_WIDTH {
                return None;
            }
            let mut magnitude = weight.unsigned_abs();
            while magnitude > 0 {
                let whole = range * magnitude;
                if whole > left && (whole <= GROUP_WIDTH || left < range) {
                    self.close_group(&mut start);
                    left = GROUP_WIDTH;
                }
                let part = magnitude.min(left / range);
                magnitude -= part;
                left -= range * part;
                start = self.push_term(column, weight.signum(), part, codes, start);
            }
        }
        self.close_group(&mut start);
        self.neurons.push(Neuron { groups_end: self.groups.len(), table: None });
        Some(())
    }

    /// Adds a term and returns the group's start with it.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_possible_wrap,
        reason = "parts are at most 255, the rest is modulo 2^16"
    )]
    fn push_term(
        &mut self,
        column: u32,
        sign: i64,
        part: u64,
        codes: CodeInterval,
        start: u16,
    ) -> u16 {
        let weight = sign * part as i64;
        self.terms.push(Term { column, weights: u32::from(weight as u16) * 0x1_0001 });
        let at_least = if sign < 0 { codes.high } else { codes.low };
        start.wrapping_sub((weight * i64::from(at_least) * 257) as u16)
    }

    fn close_group(&mut self, start: &mut u16) {
        self.groups.push(Group { terms_end: self.terms.len(), start: *start });
        *start = 0;
    }

    /// Groups of the neuron with this index: each the start and the terms of a sum of 8 bits.
    #[inline(always)]
    pub(super) fn groups(&self, neuron: usize) -> impl Iterator<Item = (u16, &[Term])> {
        let first = if neuron == 0 { 0 } else { self.neurons[neuron - 1].groups_end };
        let mut terms = if first == 0 { 0 } else { self.groups[first - 1].terms_end };
        self.groups[first..self.neurons[neuron].groups_end].iter().map(move |group| {
            let start = std::mem::replace(&mut terms, group.terms_end);
            (group.start, &self.terms[start..group.terms_end])
        })
    }

    /// The first, or only, group of the neuron with this index.
    #[inline(always)]
    pub(super) fn first_group(&self, neuron: usize) -> (u16, &[Term]) {
        let first = if neuron == 0 { 0 } else { self.neurons[neuron - 1].groups_end };
        let start = if first == 0 { 0 } else { self.groups[first - 1].terms_end };
        let group = self.groups[first];
        (group.start, &self.terms[start..group.terms_end])
    }

    /// Whether the neuron has one group.
    #[inline(always)]
    pub(super) fn is_narrow(&self, neuron: usize) -> bool {
        let first = if neuron == 0 { 0 } else { self.neurons[neuron - 1].groups_end };
        self.neurons[neuron].groups_end == first + 1
    }
}
