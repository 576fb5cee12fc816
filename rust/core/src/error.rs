//! What can go wrong, each error a kind plus where it happened.

use thiserror::Error;

/// Any error of this crate, by who can repair it.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum Error {
    /// An option has a value that it can't have.
    #[error(transparent)]
    Parameter(#[from] ParameterError),
    /// Data can't be read as what the graph or the mask takes.
    #[error(transparent)]
    Input(#[from] InputError),
    /// The parts don't form a graph.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// The graph can't be proven to fit.
    #[error(transparent)]
    Proof(#[from] ProofError),
    /// Bytes are not a stored graph.
    #[error(transparent)]
    Serialization(#[from] SerializationError),
}

/// An option has a value that it can't have.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum ParameterError {
    /// An integer outside its interval.
    #[error("{name} must be in [{low}, {high}], got {value}")]
    OutOfRange {
        /// The option.
        name: &'static str,
        /// What it was set to.
        value: i128,
        /// The least allowed value.
        low: i128,
        /// The largest allowed value.
        high: i128,
    },
    /// A probability outside [0, 1], or NaN.
    #[error("{name} must be a probability in [0, 1], got {value}")]
    Probability {
        /// The option.
        name: &'static str,
        /// What it was set to.
        value: f64,
    },
}

/// Data can't be read as what the graph or the mask takes.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum InputError {
    /// The data doesn't divide into rows of the right length.
    #[error("{name} must have shape {expected}, got {got}")]
    Shape {
        /// The argument.
        name: &'static str,
        /// The shape it must have.
        expected: String,
        /// The shape it has.
        got: String,
    },
    /// NaN or infinity where a number is needed.
    #[error("{name} has the value {value} at row {row}, column {column}; it must be finite")]
    NotFinite {
        /// The argument.
        name: &'static str,
        /// Row of the value.
        row: usize,
        /// Column of the value.
        column: usize,
        /// The value.
        value: f64,
    },
    /// A number that single precision can't hold.
    #[error(
        "{name} has the value {value} at row {row}, column {column}, which single precision can't \
         hold without loss; rescale this feature first"
    )]
    NotSingle {
        /// The argument.
        name: &'static str,
        /// Row of the value.
        row: usize,
        /// Column of the value.
        column: usize,
        /// The value.
        value: String,
    },
    /// A code that the quantizer can't emit.
    #[error("code {value} at row {row}, column {column} is outside [{low}, {high}]")]
    CodeOutOfRange {
        /// Row of the code.
        row: usize,
        /// Column of the code.
        column: usize,
        /// The code.
        value: i64,
        /// The least code of the input.
        low: u16,
        /// Its largest code.
        high: u16,
    },
    /// A code interval whose ends are the wrong way round.
    #[error("the code interval of column {column} is empty: low {low} is above high {high}")]
    EmptyInterval {
        /// Column of the weights that the interval belongs to.
        column: usize,
        /// Its lower end.
        low: i64,
        /// Its upper end.
        high: i64,
    },
}

/// The parts don't form a graph: what is wrong, and with which part.
#[derive(Debug, Clone, PartialEq, Error)]
#[error("{part}: {defect}")]
pub struct GraphError {
    /// The part that is wrong.
    pub part: Part,
    /// What is wrong with it.
    pub defect: GraphDefect,
}

/// A part of a graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Part {
    /// The input quantizer.
    #[error("input")]
    Input,
    /// The list of layers as a whole.
    #[error("layers")]
    Layers,
    /// One layer, by its position in the list of layers.
    #[error("layer {0}")]
    Layer(usize),
    /// The output scale and offset.
    #[error("output")]
    Output,
}

/// What is wrong with a part of a graph.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum GraphDefect {
    /// Layers must alternate, beginning with a Linear.
    #[error(
        "expected a {expected} layer here, since layers alternate, beginning with a linear one"
    )]
    Order {
        /// The kind of layer that belongs here.
        expected: &'static str,
    },
    /// There are no layers.
    #[error("at least one linear layer is needed")]
    NoLayers,
    /// A graph without lookups can't be cut.
    #[error("there is no lookup that the graph could be cut after")]
    NoLookups,
    /// Something that must have entries has none.
    #[error("{name} is empty")]
    Empty {
        /// What is empty.
        name: &'static str,
    },
    /// Two sizes that must agree don't.
    #[error("{name} has {got} entries where {expected} are needed")]
    Length {
        /// What has the wrong size.
        name: &'static str,
        /// The size it must have.
        expected: usize,
        /// The size it has.
        got: usize,
    },
    /// More weights than a layer may have.
    #[error("{n_outputs} x {n_inputs} weights are more than the {allowed} that a layer may have")]
    TooLarge {
        /// Neurons of the layer.
        n_outputs: usize,
        /// Inputs of the layer.
        n_inputs: usize,
        /// The most weights allowed.
        allowed: usize,
    },
    /// An integer outside its interval.
    #[error("{name} must be in [{low}, {high}], got {value}")]
    IntegerRange {
        /// The value's name.
        name: &'static str,
        /// The value.
        value: i64,
        /// The least allowed value.
        low: i64,
        /// The largest allowed value.
        high: i64,
    },
    /// An entry of an integer array outside its interval.
    #[error("{name}[{index}] must be in [{low}, {high}], got {value}")]
    EntryRange {
        /// The array.
        name: &'static str,
        /// Position of the entry.
        index: usize,
        /// The entry.
        value: i64,
        /// The least allowed value.
        low: i64,
        /// The largest allowed value.
        high: i64,
    },
    /// A scale or an offset that is not a finite number, or a scale that is not positive.
    #[error("{name}[{index}] must be {allowed}, got {value}")]
    Real {
        /// The array.
        name: &'static str,
        /// Position of the entry.
        index: usize,
        /// The entry.
        value: f64,
        /// What it must be, in words.
        allowed: &'static str,
    },
    /// A lookup's `low` is not the proven minimum of its accumulator.
    #[error("low of neuron {neuron} is {got}, but its accumulator's proven minimum is {proven}")]
    Low {
        /// The neuron.
        neuron: usize,
        /// What was given.
        got: i64,
        /// What the proof says.
        proven: i64,
    },
    /// A table that doesn't have one entry for every index.
    #[error("the table of neuron {neuron} has {got} entries where {needed} are needed")]
    TableLength {
        /// The neuron.
        neuron: usize,
        /// Entries that the proven interval needs.
        needed: usize,
        /// Entries given.
        got: usize,
    },
    /// A table entry that is not a code.
    #[error("entry {entry} of the table of neuron {neuron} must be in [0, 65535], got {value}")]
    TableEntry {
        /// The neuron.
        neuron: usize,
        /// Position in its table.
        entry: usize,
        /// The entry.
        value: i64,
    },
    /// Sparse rows that are not sorted, in range and free of zeros.
    #[error("sparse weights of neuron {neuron} are malformed")]
    Sparse {
        /// The neuron.
        neuron: usize,
    },
}

impl GraphDefect {
    /// This defect, found in `part`.
    #[must_use]
    pub const fn of(self, part: Part) -> GraphError {
        GraphError { part, defect: self }
    }
}

/// The graph can't be proven to fit: which accumulator, its interval, and the bits.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "layer {layer}, neuron {neuron}: the accumulator lies in [{low}, {high}], so {limit} needs \
     {bits_needed} bits where {bits_allowed} are allowed"
)]
pub struct ProofError {
    /// Position of the Linear layer in the list of layers.
    pub layer: usize,
    /// The neuron.
    pub neuron: usize,
    /// Proven minimum of its accumulator.
    pub low: i128,
    /// Proven maximum of its accumulator.
    pub high: i128,
    /// The limit that it breaks.
    pub limit: Limit,
    /// Bits that the interval needs.
    pub bits_needed: u32,
    /// Bits that the limit allows.
    pub bits_allowed: u32,
}

/// A limit that a proof checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Limit {
    /// The magnitude of an accumulator, which 64-bit arithmetic must hold.
    #[error("its magnitude")]
    Magnitude,
    /// The index into a lookup table.
    #[error("the index of its lookup table")]
    LookupIndex,
    /// The accumulator bits that the caller asked for.
    #[error("its distance from the minimum")]
    Budget,
}

/// Bytes are not a stored graph.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum SerializationError {
    /// The bytes don't start as a stored graph does.
    #[error("not a stored integer graph: the first bytes are not {expected:?}")]
    Magic {
        /// What they must be.
        expected: &'static str,
    },
    /// Written by a version of the format that this one can't read.
    #[error("format version {got} can't be read; this version reads {supported}")]
    Version {
        /// The version of the bytes.
        got: u16,
        /// The version that can be read.
        supported: u16,
    },
    /// The bytes end early or hold impossible values.
    #[error("the bytes are damaged: {reason}")]
    Damaged {
        /// What the decoder stumbled over.
        reason: String,
    },
    /// Bytes follow after the graph's end.
    #[error("{count} bytes follow after the graph's end")]
    TrailingBytes {
        /// How many.
        count: usize,
    },
    /// The bytes can be read, but what they hold is not a valid graph.
    #[error("the stored graph is not valid: {0}")]
    Invalid(Box<Error>),
}
