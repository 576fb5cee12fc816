//! The server: weights, and sums of encrypted codes.

use std::sync::OnceLock;

use cipherfit_core::IntegerGraph;

use crate::client::REQUEST_MASK;
use crate::envelope::Envelope;
use crate::error::{Error, MessageError};
use crate::guard::guarded;
use crate::head::Head;
use crate::keys::{PublicKey, read_polynomial};
use crate::layout::{Grid, Layout, fastest};
use crate::parameters::{NoiseBudget, Parameters, round};
use crate::ring::{Factors, Scalar};
use crate::sampling::Stream;
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

/// The weights as a layout needs them: `groups` rows of `chunks` factors.
#[derive(Debug)]
enum Weights {
    Polynomials(Vec<Factors>),
    Scalars(Vec<Scalar>),
}

impl Server {
    /// A server for a graph without lookups, with the smallest standard parameters that hold its sums
    /// and `flooding_bits` of statistical circuit privacy per row.
    ///
    /// Where none are asked for, at least so many that `n_features + 1` answers, which give a linear
    /// layer away in any case, together stay within statistical distance 1/2; and 12 at least.
    ///
    /// # Errors
    /// If the graph has lookups, no parameters fit, or `flooding_bits` is above 64.
    pub fn new(graph: &IntegerGraph, flooding_bits: Option<i64>) -> Result<Self, Error> {
        let head = Head::new(graph)?;
        let asked_bits = flooding_bits.map(check_bits).transpose()?;
        let by_answers = (2 * head.n_features() + 1).ilog2() + 1;
        let needed = asked_bits.unwrap_or(LEAST_BITS.max(by_answers));
        let mut available = 0;
        for degree in Parameters::degrees() {
            let Some(parameters) = Parameters::new(degree, head.sum_bits())? else { continue };
            let bits = |outputs| statistical_bits(&head, &parameters, outputs);
            let layouts = layouts(&head, &parameters, |outputs| bits(outputs) >= Some(needed));
            let reached = layouts.iter().filter_map(|layout| bits(layout.outputs as usize)).min();
            if let Some(reached) = reached {
                let sizes = (head.n_features(), head.n_outputs());
                let specs = Specs::new(&parameters, sizes, head.code_bits(), reached, layouts)?;
                let weights = specs.grids().iter().map(|_| OnceLock::new()).collect();
                return Ok(Self { head, specs, asked_bits, weights });
            }
            available = bits(1).unwrap_or(0);
        }
        Err(no_parameters(&head, needed, available))
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

    fn weights(&self, layout: usize) -> &Weights {
        self.weights[layout].get_or_init(|| {
            let grid = &self.specs.grids()[layout];
            let ring = self.specs.parameters().ring();
            let parts = (0..grid.groups())
                .flat_map(|group| (0..grid.chunks()).map(move |chunk| (group, chunk)));
            if grid.is_scalar() {
                let scalar = |(output, feature)| ring.scalar(self.head.weight(output, feature));
                return Weights::Scalars(parts.map(scalar).collect());
            }
            let factors = |(group, chunk)| ring.factors(&self.coefficients(grid, group, chunk));
            Weights::Polynomials(parts.map(factors).collect())
        })
    }

    /// Weights at their coefficients, features in reverse.
    fn coefficients(&self, grid: &Grid, group: usize, chunk: usize) -> Vec<i64> {
        let mut coefficients = vec![0; self.specs.parameters().degree()];
        for (position, output) in grid.outputs_of(group).enumerate() {
            let last = grid.sum_of(0, position);
            for (index, feature) in grid.features_of(chunk).enumerate() {
                coefficients[last - index] = self.head.weight(output, feature);
            }
        }
        coefficients
    }
}

/// One request being answered.
struct Run<'a> {
    server: &'a Server,
    grid: &'a Grid,
    weights: &'a Weights,
    key: &'a PublicKey,
    flooding: u128,
}

/// The two halves of a ciphertext of an answer, as values.
struct Product {
    body: Vec<u64>,
    mask: Vec<u64>,
}

impl<'a> Run<'a> {
    fn new(server: &'a Server, layout: usize, key: &'a PublicKey) -> Result<Self, Error> {
        let grid = &server.specs.grids()[layout];
        let noise = server.specs.parameters().noise(server.head.l1_norm(grid.outputs));
        // The layouts of the specs are those that have a budget.
        let noise = noise.ok_or_else(|| Error::Internal("a layout without a budget".into()))?;
        Ok(Self { server, grid, weights: server.weights(layout), key, flooding: noise.flooding })
    }

    /// Codes times weights of one block: a product for every group of outputs.
    fn products(
        &self,
        reader: &mut Reader<'_>,
        seed: &[u8; 32],
        block: usize,
    ) -> Result<Vec<Product>, Error> {
        let ring = self.server.specs.parameters().ring();
        let (chunks, groups) = (self.grid.chunks(), self.grid.groups());
        let empty = || Product { body: ring.zero(), mask: ring.zero() };
        let mut products: Vec<_> = std::iter::repeat_with(empty).take(groups).collect();
        for chunk in 0..chunks {
            let index = (block * chunks + chunk) as u64;
            let mask = ring.uniform(REQUEST_MASK, seed, index);
            let body = read_polynomial(reader, ring)?;
            for (group, product) in products.iter_mut().enumerate() {
                let at = group * chunks + chunk;
                match self.weights {
                    Weights::Polynomials(factors) => {
                        ring.multiply_add(&mut product.body, &body, &factors[at]);
                        ring.multiply_add(&mut product.mask, &mask, &factors[at]);
                    }
                    Weights::Scalars(scalars) => {
                        ring.scale_add(&mut product.body, &body, &scalars[at]);
                        ring.scale_add(&mut product.mask, &mask, &scalars[at]);
                    }
                }
            }
        }
        Ok(products)
    }

    /// Appends products, each hidden and rounded: the mask whole, of the body only the sums.
    fn answer(
        &self,
        writer: &mut Writer,
        products: Vec<Product>,
        rows: usize,
    ) -> Result<(), Error> {
        let parameters = self.server.specs.parameters();
        let (ring, dropped) = (parameters.ring(), parameters.dropped_bits());
        let width = parameters.rounded_bits();
        for (group, product) in products.into_iter().enumerate() {
            let outputs = self.grid.outputs_of(group);
            let Product { body, mask } = self.hide(product, outputs.clone(), rows)?;
            let rounded = |poly: &[u64], index| round(ring.compose(poly, index), dropped);
            writer.packed(width, (0..ring.degree()).map(|index| rounded(&mask, index)));
            let sums = (0..rows * outputs.len())
                .map(|index| self.grid.sum_of(index / outputs.len(), index % outputs.len()));
            writer.packed(width, sums.map(|index| rounded(&body, index)));
        }
        Ok(())
    }

    /// Makes a product a fresh ciphertext of its sums, as coefficients: adds a fresh encryption of
    /// zero under the client's public key, offsets, and flooding.
    fn hide(
        &self,
        product: Product,
        outputs: std::ops::Range<usize>,
        rows: usize,
    ) -> Result<Product, Error> {
        let parameters = self.server.specs.parameters();
        let ring = parameters.ring();
        let Product { mut body, mut mask } = product;
        let mut random = Stream::fresh()?;
        let mut secret = ring.small(&random.ternary(ring.degree()));
        ring.forward(&mut secret);
        let (key_body, key_mask) = self.key.polynomials();
        for (half, key_half) in [(&mut body, key_body), (&mut mask, key_mask)] {
            let mut masked = secret.clone();
            ring.multiply(&mut masked, key_half);
            ring.add(half, &masked);
            ring.backward(half);
        }
        ring.add(&mut mask, &ring.small(&random.errors(ring.degree())));
        for row in 0..rows {
            for (position, output) in outputs.clone().enumerate() {
                let offset = i128::from(self.server.head.offset(output)) << parameters.scale_bits();
                let flooding = random.below_u128(2 * self.flooding).cast_signed();
                let noise = flooding - self.flooding.cast_signed();
                ring.add_to_coefficient(&mut body, self.grid.sum_of(row, position), offset + noise);
            }
        }
        Ok(Product { body, mask })
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

fn no_parameters(head: &Head, needed: u32, available: u32) -> Error {
    let degree = Parameters::degrees().last().unwrap_or(0);
    let noise = head.l1_norm(1).saturating_mul(crate::sampling::ERROR_BOUND.into());
    let noise_bits = noise.checked_ilog2().map_or(0, |bits| bits + 1);
    Error::NoParameters { sum_bits: head.sum_bits(), noise_bits, degree, available, needed }
}
