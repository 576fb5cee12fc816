//! A graph cut in two after a lookup: what the client computes in clear, and what is encrypted.

use super::IntegerGraph;
use super::input::Input;
use super::interval::CodeInterval;
use super::layer::{Hidden, LayerSpec};
use super::lookup::{Lookup, LookupSpec};
use super::output::Output;
use crate::error::{Error, GraphDefect, Part};
use crate::units::BitWidth;

impl IntegerGraph {
    /// The graph of the first `n` lookups, which ends in codes, and that of all that follows, whose
    /// inputs are these codes and have no others. One after the other they are this graph, to the last
    /// integer; of the client layers each has those that fall to it, the first graph all of its own.
    ///
    /// # Errors
    /// If nothing would be left for one of the two.
    pub fn split(&self, n: usize) -> Result<(Self, Self), Error> {
        if self.hidden().is_empty() {
            return Err(GraphDefect::NoLookups.of(Part::Layers).into());
        }
        self.check_layers("n", n, 1)?;
        let (first, second) = self.hidden().split_at(n);
        let Some(last) = first.last().filter(|_| !(second.is_empty() && self.ends_in_codes()))
        else {
            return Err(GraphDefect::NoLayers.of(Part::Layers).into());
        };
        let codes = last.lookup.images();
        let client =
            Self::from_layers(self.input().clone(), specs(first), codes_as_reals(codes.len())?)?;
        let mut layers = specs(second);
        if !self.ends_in_codes() {
            layers.push(LayerSpec::Linear(self.head().clone()));
        }
        let server = Self::from_layers(codes_as_input(&codes)?, layers, self.output().clone())?;
        let left = self.n_client_layers().saturating_sub(n);
        Ok((client.with_client_layers(n)?, server.with_client_layers(left)?))
    }
}

/// Dequantizes each of `n` codes to itself.
fn codes_as_reals(n: usize) -> Result<Output, Error> {
    Ok(Output::new(vec![1.0; n], vec![0.0; n])?)
}

/// Quantizes reals that are codes to themselves.
fn codes_as_input(codes: &[CodeInterval]) -> Result<Input, Error> {
    let largest = codes.iter().map(|codes| codes.high).max().unwrap_or(0);
    let n_bits = BitWidth::of(largest.into()).get().max(1);
    let low: Vec<_> = codes.iter().map(|codes| i64::from(codes.low)).collect();
    let high: Vec<_> = codes.iter().map(|codes| i64::from(codes.high)).collect();
    let input = Input::new(vec![1.0; codes.len()], vec![0; codes.len()], n_bits.into())?;
    Ok(input.with_codes(&low, &high)?)
}

fn specs(hidden: &[Hidden]) -> Vec<LayerSpec> {
    hidden
        .iter()
        .flat_map(|Hidden { linear, lookup }| {
            [LayerSpec::Linear(linear.clone()), LayerSpec::Lookup(spec(lookup))]
        })
        .collect()
}

fn spec(lookup: &Lookup) -> LookupSpec {
    let table = |neuron| lookup.table(neuron).iter().map(|&code| code.into()).collect();
    LookupSpec {
        low: Some(lookup.low().to_vec()),
        lsbs: lookup.lsbs().into(),
        exact: lookup.exact(),
        tables: (0..lookup.len()).map(table).collect(),
    }
}
