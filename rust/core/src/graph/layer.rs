//! The two kinds of layer. A new kind gets a file here, its interval in [`crate::graph::bounds`], its
//! kernel in [`crate::simulate`], and its stored form in [`crate::graph::serialize`].

use super::linear::Linear;
use super::lookup::LookupSpec;

/// A layer as the caller describes it.
#[derive(Debug, Clone, PartialEq)]
pub enum LayerSpec {
    /// `acc = weights @ codes + offset`.
    Linear(Linear),
    /// `code = table[(acc - low + half) >> lsbs]`.
    Lookup(LookupSpec),
}
