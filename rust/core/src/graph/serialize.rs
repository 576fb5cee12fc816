//! A graph as bytes: `MAGIC`, the format version (`u16`, little-endian), then the parts in postcard.
//! `docs/format.md` specifies them.
//!
//! Reading trusts nothing: whatever the bytes claim goes through the same validation as any other
//! graph, and serde's cautious allocation keeps claimed lengths from reserving memory that isn't
//! backed by bytes. Equal graphs give equal bytes, so the digest is taken from them.

use std::fmt::Write as _;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::IntegerGraph;
use super::input::Input;
use super::layer::LayerSpec;
use super::linear::Linear;
use super::lookup::{Lookup, LookupSpec};
use super::output::Output;
use crate::error::{Error, Part, SerializationError};

const MAGIC: &str = "cipherfit-graph\n";
const VERSION: u16 = 1;

#[derive(Serialize, Deserialize)]
struct StoredGraph {
    input: (Vec<f64>, Vec<i64>, u8),
    /// Least and largest code of each feature; none if they can have all.
    codes: Option<(Vec<u16>, Vec<u16>)>,
    hidden: Vec<(StoredLinear, StoredLookup)>,
    /// None if the graph ends in codes.
    head: Option<StoredLinear>,
    output: (Vec<f64>, Vec<f64>),
    n_client_layers: u32,
}

#[derive(Serialize, Deserialize)]
struct StoredLinear {
    n_inputs: u32,
    row_ends: Vec<u32>,
    columns: Vec<u32>,
    weights: Vec<i64>,
    offset: Vec<i64>,
}

#[derive(Serialize, Deserialize)]
struct StoredLookup {
    low: Vec<i64>,
    lsbs: u8,
    exact: bool,
    tables: Vec<Vec<u16>>,
}

impl IntegerGraph {
    /// SHA-256, in hexadecimal, of [`IntegerGraph::to_bytes`]; computed once.
    #[must_use]
    pub fn digest(&self) -> &str {
        self.parts.digest.get_or_init(|| hexadecimal(&Sha256::digest(self.to_bytes())))
    }

    /// This graph as bytes, which [`IntegerGraph::from_bytes`] reads.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let stored = StoredGraph::from(self);
        let mut bytes = MAGIC.as_bytes().to_vec();
        bytes.extend(VERSION.to_le_bytes());
        // Writing vectors of numbers to memory has no way to fail.
        bytes.extend(postcard::to_allocvec(&stored).unwrap_or_default());
        bytes
    }

    /// Reads a graph that [`IntegerGraph::to_bytes`] wrote, and validates it anew.
    ///
    /// # Errors
    /// If the bytes are not a stored graph of this format version, are damaged or followed by
    /// others, or hold a graph that is not valid.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SerializationError> {
        let body = bytes
            .strip_prefix(MAGIC.as_bytes())
            .ok_or(SerializationError::Magic { expected: MAGIC })?;
        let (version, body) = body
            .split_first_chunk()
            .ok_or_else(|| SerializationError::Damaged { reason: "no version".into() })?;
        let got = u16::from_le_bytes(*version);
        if got != VERSION {
            return Err(SerializationError::Version { got, supported: VERSION });
        }
        let (stored, rest): (StoredGraph, _) = postcard::take_from_bytes(body)
            .map_err(|error| SerializationError::Damaged { reason: error.to_string() })?;
        if !rest.is_empty() {
            return Err(SerializationError::TrailingBytes { count: rest.len() });
        }
        stored.validate().map_err(|error| SerializationError::Invalid(Box::new(error)))
    }
}

impl PartialEq for IntegerGraph {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.parts, &other.parts) || self.digest() == other.digest()
    }
}

impl Eq for IntegerGraph {}

fn hexadecimal(bytes: &[u8]) -> String {
    let mut digits = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // Writing to a String has no way to fail.
        let _ = write!(digits, "{byte:02x}");
    }
    digits
}

impl From<&IntegerGraph> for StoredGraph {
    fn from(graph: &IntegerGraph) -> Self {
        let (input, output) = (graph.input(), graph.output());
        let hidden = graph.hidden().iter();
        Self {
            input: (input.scale().to_vec(), input.zero_point().to_vec(), input.n_bits().get()),
            codes: (!input.has_all_codes())
                .then(|| input.codes().iter().map(|codes| (codes.low, codes.high)).unzip()),
            hidden: hidden.map(|layer| ((&layer.linear).into(), (&layer.lookup).into())).collect(),
            head: (!graph.ends_in_codes()).then(|| graph.head().into()),
            output: (output.scale().to_vec(), output.offset().to_vec()),
            // Fits: as many lookups are in memory.
            n_client_layers: u32::try_from(graph.n_client_layers()).unwrap_or(u32::MAX),
        }
    }
}

impl From<&Linear> for StoredLinear {
    fn from(linear: &Linear) -> Self {
        Self {
            // Fits: a layer's size is bounded by MAX_WEIGHTS.
            n_inputs: u32::try_from(linear.n_inputs()).unwrap_or(u32::MAX),
            row_ends: linear.row_ends().to_vec(),
            columns: linear.columns().to_vec(),
            weights: linear.weights().to_vec(),
            offset: linear.offset().to_vec(),
        }
    }
}

impl From<&Lookup> for StoredLookup {
    fn from(lookup: &Lookup) -> Self {
        Self {
            low: lookup.low().to_vec(),
            lsbs: lookup.lsbs(),
            exact: lookup.exact(),
            tables: (0..lookup.len()).map(|neuron| lookup.table(neuron).to_vec()).collect(),
        }
    }
}

impl StoredGraph {
    fn validate(self) -> Result<IntegerGraph, Error> {
        let (scale, zero_point, n_bits) = self.input;
        let mut input = Input::new(scale, zero_point, n_bits.into())?;
        if let Some((low, high)) = self.codes {
            let widen = |codes: Vec<u16>| codes.into_iter().map(i64::from).collect::<Vec<_>>();
            input = input.with_codes(&widen(low), &widen(high))?;
        }
        let mut layers = Vec::new();
        for (linear, lookup) in self.hidden {
            layers.push(LayerSpec::Linear(linear.validate(layers.len())?));
            layers.push(LayerSpec::Lookup(lookup.into()));
        }
        if let Some(head) = self.head {
            layers.push(LayerSpec::Linear(head.validate(layers.len())?));
        }
        let (scale, offset) = self.output;
        let graph = IntegerGraph::from_layers(input, layers, Output::new(scale, offset)?)?;
        graph.with_client_layers(self.n_client_layers as usize)
    }
}

impl StoredLinear {
    fn validate(self, layer: usize) -> Result<Linear, Error> {
        let n_inputs = self.n_inputs as usize;
        Linear::from_sparse(n_inputs, self.row_ends, self.columns, self.weights, self.offset)
            .map_err(|defect| defect.of(Part::Layer(layer)).into())
    }
}

impl From<StoredLookup> for LookupSpec {
    fn from(stored: StoredLookup) -> Self {
        let widen = |table: Vec<u16>| table.into_iter().map(i64::from).collect();
        Self {
            low: Some(stored.low),
            lsbs: stored.lsbs.into(),
            exact: stored.exact,
            tables: stored.tables.into_iter().map(widen).collect(),
        }
    }
}
