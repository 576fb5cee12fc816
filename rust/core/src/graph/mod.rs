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

use std::sync::{Arc, OnceLock};

use bounds::accumulator_intervals;
use input::Input;
use interval::{CodeInterval, Interval};
use layer::{Hidden, LayerSpec, Stage};
use linear::Linear;
use lookup::Lookup;
use output::Output;

use crate::error::{Error, GraphDefect, Part};

/// A chain of layers over codes: quantizer, Linear, any number of (Lookup, Linear), dequantizer.
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
    head: Linear,
    output: Output,
    /// One list per Linear, one interval per neuron.
    intervals: Vec<Vec<Interval>>,
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
        let mut codes = vec![CodeInterval { low: 0, high: input.max_code() }; input.n_features()];
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
        let Some(head) = pending else {
            return Err(GraphDefect::Unfinished.of(Part::Layers).into());
        };
        check_length("scale", head.n_outputs(), output.scale().len(), Part::Output)?;
        let parts = Parts { input, hidden, head, output, intervals, digest: OnceLock::new() };
        Ok(Self { parts: Arc::new(parts) })
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

    /// The last Linear, whose accumulators are the graph's outputs.
    #[must_use]
    pub fn head(&self) -> &Linear {
        &self.parts.head
    }

    /// The dequantizer.
    #[must_use]
    pub fn output(&self) -> &Output {
        &self.parts.output
    }

    /// Every Linear, the last included, in order.
    pub fn linears(&self) -> impl Iterator<Item = &Linear> {
        self.hidden().iter().map(|hidden| &hidden.linear).chain([self.head()])
    }

    /// Every Linear in order, with its intervals and its Lookup.
    pub fn stages(&self) -> impl Iterator<Item = Stage<'_>> {
        let lookups = self.hidden().iter().map(|hidden| Some(&hidden.lookup)).chain([None]);
        let linears = self.linears().zip(self.intervals());
        linears.zip(lookups).map(|((linear, intervals), lookup)| Stage {
            linear,
            intervals,
            lookup,
        })
    }

    /// Proven intervals: one list per Linear, one interval per neuron.
    #[must_use]
    pub fn intervals(&self) -> &[Vec<Interval>] {
        &self.parts.intervals
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

    /// Number of table lookups, so of programmable bootstrappings, per row.
    #[must_use]
    pub fn n_lookups(&self) -> usize {
        self.hidden().iter().map(|hidden| hidden.lookup.len()).sum()
    }
}

fn check_length(name: &'static str, expected: usize, got: usize, part: Part) -> Result<(), Error> {
    if expected == got {
        return Ok(());
    }
    Err(GraphDefect::Length { name, expected, got }.of(part).into())
}
