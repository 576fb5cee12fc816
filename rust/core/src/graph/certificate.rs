//! What has been proven of a graph, in a form to keep, show and hand on.

use super::IntegerGraph;
use super::interval::Interval;
use super::layer::Stage;
use super::lookup::Lookup;
use crate::error::{Error, Limit, ParameterError, ProofError};
use crate::units::BitWidth;

/// The most bits that [`IntegerGraph::prove`] can be asked to keep to.
const MAX_BUDGET: i64 = 63;

/// The proven widths of a graph, one record per Linear.
#[derive(Debug, Clone)]
pub struct Certificate {
    graph: IntegerGraph,
    layers: Vec<LayerCertificate>,
}

/// The proven widths of one Linear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerCertificate {
    intervals: Vec<Interval>,
    nonzeros: Vec<usize>,
    lookup_bits: Option<BitWidth>,
}

impl IntegerGraph {
    /// The certificate of this graph, and that no accumulator needs more than `max_bits`.
    ///
    /// # Errors
    /// If `max_bits` is not in `[1, 63]`; or if an accumulator needs more, naming the widest neuron
    /// of the first layer that does.
    pub fn prove(&self, max_bits: Option<i64>) -> Result<Certificate, Error> {
        let layers: Vec<_> = self.stages().map(LayerCertificate::new).collect();
        if let Some(value) = max_bits {
            let allowed = match u8::try_from(value) {
                Ok(bits @ 1..=63) => BitWidth::new(bits),
                _ => return Err(budget_out_of_range(value).into()),
            };
            for (linear, layer) in layers.iter().enumerate() {
                layer.check(2 * linear, allowed)?;
            }
        }
        Ok(Certificate { graph: self.clone(), layers })
    }
}

fn budget_out_of_range(value: i64) -> ParameterError {
    let (low, high) = (1, MAX_BUDGET.into());
    ParameterError::OutOfRange { name: "max_bits", value: value.into(), low, high }
}

impl Certificate {
    /// The graph that this certificate speaks of.
    #[must_use]
    pub const fn graph(&self) -> &IntegerGraph {
        &self.graph
    }

    /// Digest of that graph.
    #[must_use]
    pub fn digest(&self) -> &str {
        self.graph.digest()
    }

    /// One record per Linear, in order.
    #[must_use]
    pub fn layers(&self) -> &[LayerCertificate] {
        &self.layers
    }

    /// The bits of the widest accumulator of the graph.
    #[must_use]
    pub fn max_accumulator_bits(&self) -> BitWidth {
        self.layers.iter().map(LayerCertificate::bits).max().unwrap_or(BitWidth::of(0))
    }

    /// Input codes that bring each neuron of the first layer to its minimum, and to its maximum:
    /// two matrices of one row per neuron and one column per feature.
    #[must_use]
    pub fn witnesses(&self) -> (Vec<u16>, Vec<u16>) {
        let Some(first) = self.graph.stages().next().map(|stage| stage.linear) else {
            return (Vec::new(), Vec::new());
        };
        let inputs = self.graph.input().codes();
        let least: Vec<u16> = inputs.iter().map(|codes| codes.low).collect();
        let (mut at_low, mut at_high) =
            (least.repeat(first.n_outputs()), least.repeat(first.n_outputs()));
        for neuron in 0..first.n_outputs() {
            let (columns, weights) = first.row(neuron);
            for (&column, &weight) in columns.iter().zip(weights) {
                let matrix = if weight < 0 { &mut at_low } else { &mut at_high };
                let column = column as usize;
                matrix[neuron * first.n_inputs() + column] = inputs[column].high;
            }
        }
        (at_low, at_high)
    }
}

impl LayerCertificate {
    fn new(Stage { linear, intervals, lookup }: Stage<'_>) -> Self {
        Self {
            intervals: intervals.to_vec(),
            nonzeros: (0..linear.n_outputs()).map(|neuron| linear.row(neuron).0.len()).collect(),
            lookup_bits: lookup.map(Lookup::index_bits),
        }
    }

    /// Proven interval of each neuron's accumulator.
    #[must_use]
    pub fn intervals(&self) -> &[Interval] {
        &self.intervals
    }

    /// Non-zero weights of each neuron.
    #[must_use]
    pub fn nonzeros(&self) -> &[usize] {
        &self.nonzeros
    }

    /// Bits of the largest index of the Lookup that follows; none after the last Linear.
    #[must_use]
    pub const fn lookup_bits(&self) -> Option<BitWidth> {
        self.lookup_bits
    }

    /// Bits of `acc - low` of each neuron; 0 where the accumulator is constant.
    pub fn neuron_bits(&self) -> impl Iterator<Item = BitWidth> {
        self.intervals.iter().map(|interval| BitWidth::of(interval.width()))
    }

    /// Bits of `acc - low` of the widest neuron.
    #[must_use]
    pub fn bits(&self) -> BitWidth {
        self.neuron_bits().max().unwrap_or(BitWidth::of(0))
    }

    /// How far each neuron's width is from filling the layer's bits: `2^bits - 1 - (high - low)`.
    pub fn headroom(&self) -> impl Iterator<Item = u64> {
        let room = self.bits().max_value();
        self.intervals.iter().map(move |interval| room - interval.width())
    }

    fn check(&self, layer: usize, allowed: BitWidth) -> Result<(), ProofError> {
        let widest = self.intervals.iter().enumerate().max_by_key(|(_, interval)| interval.width());
        match widest {
            Some((neuron, interval)) if BitWidth::of(interval.width()) > allowed => {
                Err(ProofError {
                    layer,
                    neuron,
                    low: interval.low.into(),
                    high: interval.high.into(),
                    limit: Limit::Budget,
                    bits_needed: BitWidth::of(interval.width()).get().into(),
                    bits_allowed: allowed.get().into(),
                })
            }
            _ => Ok(()),
        }
    }
}
