//! The two kinds of layer, as they come and as they follow each other. A new kind gets a file beside
//! this one, its interval in [`super::bounds`], its stored form in [`super::serialize`], and its
//! kernels in [`crate::simulate`].

use super::interval::Interval;
use super::linear::Linear;
use super::lookup::{Lookup, LookupSpec};

/// A layer as the caller describes it.
#[derive(Debug, Clone, PartialEq)]
pub enum LayerSpec {
    /// `acc = weights @ codes + offset`.
    Linear(Linear),
    /// `code = table[(acc - low + half) >> lsbs]`.
    Lookup(LookupSpec),
}

/// A Linear and the Lookup that reads its accumulators.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hidden {
    /// The weights.
    pub linear: Linear,
    /// The tables.
    pub lookup: Lookup,
}

/// A Linear with what is proven of it and what follows it.
#[derive(Debug, Clone, Copy)]
pub struct Stage<'a> {
    /// The weights.
    pub linear: &'a Linear,
    /// Proven interval of each neuron's accumulator.
    pub intervals: &'a [Interval],
    /// The Lookup that reads the accumulators; none reads the last.
    pub lookup: Option<&'a Lookup>,
}
