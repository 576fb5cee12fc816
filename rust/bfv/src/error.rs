//! What can go wrong, by who can repair it.

use thiserror::Error;

/// Any error of this crate.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Error {
    /// The graph has lookups, which this scheme can't compute.
    #[error(
        "the graph has {lookups} lookups, and BFV adds and multiplies only: compile it for \
         Concrete, or let the client compute the layers up to the last lookup"
    )]
    Lookups {
        /// How many.
        lookups: usize,
    },
    /// No parameters in use hold the sums, the noise and the flooding.
    #[error(
        "no parameters fit: sums of {sum_bits} bits and noise below 2^{noise_bits} leave \
         {available} bits of flooding at N = {degree}, the largest, where {needed} are needed"
    )]
    NoParameters {
        /// Bits of the widest sum, its sign included.
        sum_bits: u32,
        /// Bits of the worst noise.
        noise_bits: u32,
        /// The largest ring degree tried.
        degree: usize,
        /// Statistical bits that it leaves.
        available: u32,
        /// Statistical bits asked for.
        needed: u32,
    },
    /// An option outside its interval.
    #[error("{name} must be in [{low}, {high}], got {value}")]
    OutOfRange {
        /// The option.
        name: &'static str,
        /// What it was set to.
        value: i64,
        /// The least allowed value.
        low: i64,
        /// The largest allowed value.
        high: i64,
    },
    /// Codes that don't divide into rows.
    #[error("codes must have {features} entries per row, got {length} entries in all")]
    Shape {
        /// Features per row.
        features: usize,
        /// Entries given.
        length: usize,
    },
    /// More rows than one request takes.
    #[error("a request takes at most {allowed} rows, got {rows}")]
    TooManyRows {
        /// Rows given.
        rows: usize,
        /// The most rows allowed.
        allowed: usize,
    },
    /// A code that the parameters were not proven for.
    #[error("code {value} at row {row}, column {column} is outside [{low}, {high}]")]
    CodeOutOfRange {
        /// Row of the code.
        row: usize,
        /// Column of the code.
        column: usize,
        /// The code.
        value: i64,
        /// The least code of the column.
        low: u16,
        /// The largest.
        high: u16,
    },
    /// Something made under other keys.
    #[error("the {what} was made under other keys than the {other}")]
    OtherKeys {
        /// What was given.
        what: &'static str,
        /// What it doesn't belong to.
        other: &'static str,
    },
    /// Bytes are not a message of this scheme.
    #[error(transparent)]
    Message(#[from] MessageError),
    /// The operating system gives no random bytes.
    #[error("the system gives no random bytes: {0}")]
    Randomness(String),
    /// The arithmetic library stopped: a defect, whatever the input.
    #[error("the arithmetic stopped unexpectedly: {0}")]
    Internal(String),
}

/// Bytes are not a message of this scheme, or not one for these parameters.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum MessageError {
    /// The bytes don't start as a message does.
    #[error("not a message of cipherfit's BFV: the first bytes are not {expected:?}")]
    Magic {
        /// What they must be.
        expected: &'static str,
    },
    /// Written by a version that this one can't read.
    #[error("message version {got} can't be read; this version reads {supported}")]
    Version {
        /// The version of the bytes.
        got: u16,
        /// The version that can be read.
        supported: u16,
    },
    /// A message of another kind.
    #[error("expected {expected}, got {got}")]
    Kind {
        /// What is needed.
        expected: &'static str,
        /// What the bytes say they are.
        got: &'static str,
    },
    /// A message for another circuit.
    #[error("{kind} for a circuit with other parameters")]
    OtherParameters {
        /// The kind of message.
        kind: &'static str,
    },
    /// A message of the wrong length.
    #[error("{kind} of {got} bytes where {expected} are needed")]
    Length {
        /// The kind of message.
        kind: &'static str,
        /// The length that its head asks for.
        expected: usize,
        /// The length it has.
        got: usize,
    },
    /// A number that can't be.
    #[error("{name} must be in [{low}, {high}], got {value}")]
    Range {
        /// The number's name.
        name: &'static str,
        /// The number.
        value: u128,
        /// The least allowed value.
        low: u128,
        /// The largest allowed value.
        high: u128,
    },
    /// Bytes that can't be decoded.
    #[error("the bytes are damaged: {reason}")]
    Damaged {
        /// What the decoder stumbled over.
        reason: String,
    },
}
