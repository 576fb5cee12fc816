//! The server: weights, and sums of encrypted codes.

use std::sync::OnceLock;

use cipherfit_core::IntegerGraph;

use crate::answer::{Run, Weights};
use crate::envelope::Envelope;
use crate::error::{Error, MessageError};
use crate::guard::guarded;
use crate::head::Head;
use crate::keys::PublicKey;
use crate::layout::{Grid, Layout, fastest};
use crate::parameters::{NoiseBudget, Parameters};
use crate::ring::Scalar;
use crate::sampling::ERROR_BOUND;
use crate::specs::Specs;
use crate::wire::{Kind, Reader, Writer};

/// The most statistical bits that can be asked for.
pub const MAX_FLOODING_BITS: u32 = 64;
/// The least statistical bits that are taken where none are asked for.
const LEAST_BITS: u32 = 12;

/// Computes the sums of encrypted rows, for whoever has the public parameters.
///
/// Holds weights, and no key.
#[derive(Debug)]
pub struct Server {
    head: Head,
    specs: Specs,
    asked_bits: Option<u32>,
    /// Of each layout, made when it is first used.
    weights: Vec<OnceLock<Weights>>,
}

impl Server {
    /// A server for a graph without lookups, with the smallest standard parameters that hold its
    /// sums and `flooding_bits` of statistical circuit privacy per row.
    ///
    /// Where none are asked for, at least so many that `n_features + 1` answers, which give a
    /// linear layer away in any case, together stay within statistical distance 1/2; and 12 at
    /// least.
    ///
    /// # Errors
    /// If the graph has lookups, no parameters fit, or `flooding_bits` is above 64.
    pub fn new(graph: &IntegerGraph, flooding_bits: Option<i64>) -> Result<Self, Error> {
        let head = Head::new(graph)?;
        let asked_bits = flooding_bits.map(check_bits).transpose()?;
        let by_answers = (2 * head.n_features() + 1).ilog2() + 1;
        let needed = asked_bits.unwrap_or(LEAST_BITS.max(by_answers));
        let (mut available, mut degree) = (0, 0);
        for set in Parameters::sets() {
            let Some(parameters) = Parameters::new(set, head.sum_bits())? else { continue };
            let bits = |outputs| statistical_bits(&head, &parameters, outputs);
            let layouts = layouts(&head, &parameters, |outputs| bits(outputs) >= Some(needed));
            let reached = layouts.iter().filter_map(|layout| bits(layout.outputs as usize)).min();
            if let Some(reached) = reached {
                let specs = Specs::new(&parameters, &head, reached, layouts)?;
                let weights = specs.grids().iter().map(|_| OnceLock::new()).collect();
                return Ok(Self { head, specs, asked_bits, weights });
            }
            (available, degree) = (bits(1).unwrap_or(0), parameters.degree());
        }
        let noise = head.l1_norm(1).saturating_mul(ERROR_BOUND.into());
        let noise_bits = noise.checked_ilog2().map_or(0, |bits| bits + 1);
        let sum_bits = head.sum_bits();
        Err(Error::NoParameters { sum_bits, noise_bits, degree, available, needed })
    }

    /// Reads what [`Server::to_bytes`] wrote, and proves it anew.
    ///
    /// # Errors
    /// If the bytes are no server.
    pub fn from_bytes(message: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(Kind::Server, message)?;
        let [asked] = reader.array()?;
        let graph = IntegerGraph::from_bytes(reader.rest())
            .map_err(|error| MessageError::Damaged { reason: error.to_string() })?;
        Self::new(&graph, (asked != u8::MAX).then_some(asked.into()))
    }

    /// This server as bytes, weights included.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut writer = Writer::new(Kind::Server);
        let asked = self.asked_bits.and_then(|bits| u8::try_from(bits).ok());
        writer.bytes(&[asked.unwrap_or(u8::MAX)]);
        writer.bytes(&self.head.graph().to_bytes());
        writer.finish()
    }

    /// The public parameters.
    #[must_use]
    pub const fn specs(&self) -> &Specs {
        &self.specs
    }

    /// The graph.
    #[must_use]
    pub const fn graph(&self) -> &IntegerGraph {
        self.head.graph()
    }

    /// Where noise comes from, of each of the layouts of [`Specs::grids`].
    pub fn noise(&self) -> impl Iterator<Item = NoiseBudget> {
        let parameters = self.specs.parameters();
        let grids = self.specs.grids().iter();
        grids.filter_map(|grid| parameters.noise(self.head.l1_norm(grid.outputs)))
    }

    /// The sums of encrypted rows, re-randomized under the client's public key.
    ///
    /// # Errors
    /// If the bytes are no request for these parameters and this key.
    pub fn run(&self, request: &[u8], key: &PublicKey) -> Result<Vec<u8>, Error> {
        let digest = self.specs.digest();
        if key.digest() != digest {
            return Err(MessageError::OtherParameters { kind: "public key" }.into());
        }
        let mut reader = Reader::of(Kind::Request, digest, request)?;
        let envelope = Envelope::read(&self.specs, &mut reader)?;
        let seed = reader.array()?;
        let (grid, rows) = (envelope.grid(&self.specs), envelope.rows);
        reader.expect(self.specs.request_body_bytes(grid, rows))?;
        if envelope.name != *key.name() {
            return Err(Error::OtherKeys { what: "request", other: "public key" });
        }
        guarded(|| {
            let mut writer =
                Writer::of(Kind::Answer, digest, self.specs.answer_bytes_in(grid, rows));
            envelope.write(&mut writer);
            let run = Run::new(self, envelope.layout, key)?;
            for block in 0..grid.blocks(rows) {
                let products = run.products(&mut reader, &seed, block)?;
                run.answer(&mut writer, products, grid.rows_of(block, rows).len())?;
            }
            Ok(writer.finish())
        })
    }

    pub(crate) const fn head(&self) -> &Head {
        &self.head
    }

    pub(crate) fn weights(&self, layout: usize) -> &Weights {
        self.weights[layout].get_or_init(|| {
            let grid = &self.specs.grids()[layout];
            if grid.is_scalar() {
                return Weights::Scalars(self.scalars());
            }
            let parts = (0..grid.groups())
                .flat_map(|group| (0..grid.chunks()).map(move |chunk| (group, chunk)));
            let ring = self.specs.parameters().ring();
            let factors = |(group, chunk)| ring.factors(&self.coefficients(grid, group, chunk));
            Weights::Polynomials(parts.map(factors).collect())
        })
    }

    /// Weights row by row, zeros included.
    fn scalars(&self) -> Vec<Scalar> {
        let ring = self.specs.parameters().ring();
        let (n_features, n_outputs) = (self.head.n_features(), self.head.n_outputs());
        let mut scalars = vec![ring.scalar(0); n_features * n_outputs];
        for output in 0..n_outputs {
            for (feature, weight) in self.head.weights(output, 0..n_features) {
                scalars[output * n_features + feature] = ring.scalar(weight);
            }
        }
        scalars
    }

    /// Weights at their coefficients, features in reverse.
    pub(crate) fn coefficients(&self, grid: &Grid, group: usize, chunk: usize) -> Vec<i64> {
        let mut coefficients = vec![0; self.specs.parameters().degree()];
        for (position, output) in grid.outputs_of(group).enumerate() {
            let last = grid.sum_of(0, position);
            for (feature, weight) in self.head.weights(output, grid.features_of(chunk)) {
                coefficients[last - feature] = weight;
            }
        }
        coefficients
    }
}

fn check_bits(value: i64) -> Result<u32, Error> {
    let out_of_range = || Error::OutOfRange {
        name: "flooding_bits",
        value,
        low: 0,
        high: MAX_FLOODING_BITS.into(),
    };
    u32::try_from(value).ok().filter(|&bits| bits <= MAX_FLOODING_BITS).ok_or_else(out_of_range)
}

fn statistical_bits(head: &Head, parameters: &Parameters, outputs: usize) -> Option<u32> {
    let noise = parameters.noise(head.l1_norm(outputs))?;
    Some(noise.statistical_bits(head.n_outputs()))
}

fn layouts(head: &Head, parameters: &Parameters, allowed: impl Fn(usize) -> bool) -> Vec<Layout> {
    fastest(parameters.degree(), head.n_features(), head.n_outputs(), allowed)
}
