//! What is evaluated, whichever the kernel.

use super::noise::Errors;
use crate::graph::IntegerGraph;

/// Rows of `source` through `graph`, each with the result that `finish` makes.
#[derive(Clone, Copy)]
pub(super) struct Job<'a, S, F> {
    pub(super) graph: &'a IntegerGraph,
    pub(super) source: S,
    /// Errors of lookups.
    pub(super) errors: Option<&'a Errors>,
    pub(super) finish: F,
}
