//! The integer graph: the single source of truth of what a model computes.

pub mod bounds;
pub mod certificate;
pub mod input;
pub mod interval;
pub mod layer;
pub mod linear;
pub mod lookup;
pub mod output;
pub mod serialize;
mod split;

use std::sync::{Arc, OnceLock};

use bounds::accumulator_intervals;
use input::Input;
use interval::Interval;
use layer::{Hidden, LayerSpec, Stage};
use linear::Linear;
use lookup::Lookup;
use output::Output;

use crate::error::{Error, GraphDefect, GraphError, Part};

/// A chain of layers over codes: quantizer, then a Linear and a Lookup in turn, dequantizer. It ends
/// in the accumulators of a Linear, or in the codes of a Lookup.
///
/// The first lookups may be client layers: whoever holds the inputs computes them in clear, and only
/// what follows is encrypted. [`IntegerGraph::split`] gives each side its graph.
///
/// Immutable, validated when built, and shared: a clone costs one atomic increment. Two graphs are
/// equal when their stored bytes are.
#[derive(Debug, Clone)]
pub struct IntegerGraph {
    parts: Arc<Parts>,
}

#[derive(Debug)]
struct Parts {
    input: Input,
    hidden: Vec<Hidden>,
    /// The last Linear; in a graph that ends in codes the identity, which no one gave.
    head: Linear,
    ends_in_codes: bool,
    output: Output,
    /// One list per Linear, the head included, one interval per neuron.
    intervals: Vec<Vec<Interval>>,
    n_client_layers: usize,
    /// See [`IntegerGraph::digest`].
    digest: OnceLock<String>,
}

impl IntegerGraph {
    /// Builds a graph and proves that every accumulator and every lookup index fits.
    ///
    /// # Errors
    /// If the layers don't alternate, sizes don't agree, a table has not exactly one entry per
    /// index, a given `low` is not the proven minimum, an index needs more than 16 bits, or an
    /// accumulator could leave `[-2^61, 2^61]`. Layers are named by their position in `layers`.
    pub fn from_layers(
        input: Input,
        layers: Vec<LayerSpec>,
        output: Output,
    ) -> Result<Self, Error> {
        let mut codes = input.codes().to_vec();
        let mut intervals: Vec<Vec<Interval>> = Vec::new();
        let mut hidden = Vec::new();
        let mut pending: Option<Linear> = None;
        for (position, layer) in layers.into_iter().enumerate() {
            let part = Part::Layer(position);
            match (layer, pending.take()) {
                (LayerSpec::Linear(linear), None) => {
                    check_length("weights per neuron", codes.len(), linear.n_inputs(), part)?;
                    intervals.push(accumulator_intervals(position, &linear, &codes)?);
                    pending = Some(linear);
                }
                (LayerSpec::Lookup(spec), Some(linear)) => {
                    let proven = intervals.last().map_or(&[][..], Vec::as_slice);
                    let lookup = Lookup::new(&spec, position, proven)?;
                    codes = lookup.images();
                    hidden.push(Hidden { linear, lookup });
                }
                (LayerSpec::Linear(_), Some(_)) => {
                    return Err(GraphDefect::Order { expected: "lookup" }.of(part).into());
                }
                (LayerSpec::Lookup(_), None) => {
                    return Err(GraphDefect::Order { expected: "linear" }.of(part).into());
                }
            }
        }
        let ends_in_codes = pending.is_none();
        if hidden.is_empty() && ends_in_codes {
            return Err(GraphDefect::NoLayers.of(Part::Layers).into());
        }
        let head = pending.unwrap_or_else(|| {
            intervals.push(codes.iter().copied().map(Interval::from).collect());
            Linear::identity(codes.len())
        });
        check_length("scale", head.n_outputs(), output.scale().len(), Part::Output)?;
        let (n_client_layers, digest) = (0, OnceLock::new());
        let parts = Parts {
            input,
            hidden,
            head,
            ends_in_codes,
            output,
            intervals,
            n_client_layers,
            digest,
        };
        Ok(Self { parts: Arc::new(parts) })
    }

    /// This graph with its first `n` lookups, and what they read, as client layers.
    ///
    /// # Errors
    /// If it has fewer lookups.
    pub fn with_client_layers(self, n: usize) -> Result<Self, Error> {
        self.check_layers("n_client_layers", n, 0)?;
        let Parts { input, hidden, head, output, intervals, ends_in_codes, .. } = &*self.parts;
        let parts = Parts {
            input: input.clone(),
            hidden: hidden.clone(),
            head: head.clone(),
            ends_in_codes: *ends_in_codes,
            output: output.clone(),
            intervals: intervals.clone(),
            n_client_layers: n,
            digest: OnceLock::new(),
        };
        Ok(Self { parts: Arc::new(parts) })
    }

    /// Checks that `n` lookups are there, and at least so many asked for.
    fn check_layers(&self, name: &'static str, n: usize, least: usize) -> Result<(), GraphError> {
        let most = self.hidden().len();
        if (least..=most).contains(&n) {
            return Ok(());
        }
        let [value, low, high] = [n, least, most].map(|n| i64::try_from(n).unwrap_or(i64::MAX));
        Err(GraphDefect::IntegerRange { name, value, low, high }.of(Part::Layers))
    }

    /// The quantizer.
    #[must_use]
    pub fn input(&self) -> &Input {
        &self.parts.input
    }

    /// Each Linear that a Lookup follows, with it.
    #[must_use]
    pub fn hidden(&self) -> &[Hidden] {
        &self.parts.hidden
    }

    /// Lookups, counted from the first, that are computed in clear by whoever holds the inputs.
    #[must_use]
    pub fn n_client_layers(&self) -> usize {
        self.parts.n_client_layers
    }

    /// Whether outputs are the codes of a Lookup.
    #[must_use]
    pub fn ends_in_codes(&self) -> bool {
        self.parts.ends_in_codes
    }

    /// The last Linear, whose accumulators are the graph's outputs; the identity if it ends in codes.
    #[must_use]
    pub fn head(&self) -> &Linear {
        &self.parts.head
    }

    /// The dequantizer.
    #[must_use]
    pub fn output(&self) -> &Output {
        &self.parts.output
    }

    /// Every Linear in order, with its intervals and its Lookup.
    pub fn stages(&self) -> impl Iterator<Item = Stage<'_>> {
        let given = self.hidden().len() + usize::from(!self.ends_in_codes());
        self.evaluated().take(given)
    }

    /// The stages as kernels evaluate them: the last has no Lookup, so where a graph ends in codes it
    /// is the identity that copies them.
    pub(crate) fn evaluated(&self) -> impl Iterator<Item = Stage<'_>> {
        let linears = self.hidden().iter().map(|hidden| &hidden.linear).chain([self.head()]);
        let lookups = self.hidden().iter().map(|hidden| Some(&hidden.lookup)).chain([None]);
        let intervals = &self.parts.intervals;
        linears.zip(intervals).zip(lookups).map(|((linear, intervals), lookup)| Stage {
            linear,
            intervals,
            lookup,
        })
    }

    /// Proven intervals of the outputs.
    #[must_use]
    pub fn output_intervals(&self) -> &[Interval] {
        self.parts.intervals.last().map_or(&[], Vec::as_slice)
    }

    /// Number of input features.
    #[must_use]
    pub fn n_features(&self) -> usize {
        self.input().n_features()
    }

    /// Number of outputs.
    #[must_use]
    pub fn n_outputs(&self) -> usize {
        self.head().n_outputs()
    }

    /// Number of table lookups that are encrypted, so of programmable bootstrappings, per row: all but
    /// those of client layers.
    #[must_use]
    pub fn n_lookups(&self) -> usize {
        let encrypted = self.hidden().iter().skip(self.n_client_layers());
        encrypted.map(|hidden| hidden.lookup.len()).sum()
    }
}

fn check_length(name: &'static str, expected: usize, got: usize, part: Part) -> Result<(), Error> {
    if expected == got {
        return Ok(());
    }
    Err(GraphDefect::Length { name, expected, got }.of(part).into())
}
