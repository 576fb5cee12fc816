//! Python bindings of `cipherfit-core` and `cipherfit-bfv`: they convert and delegate, nothing else.

#![allow(
    clippy::doc_markdown,
    reason = "docstrings are numpydoc, where names go without backticks"
)]

mod arrays;
mod bfv;
mod certificate;
mod error;
mod graph;
mod layers;
mod mask;
mod options;
mod quantize;

/// Integer graphs: what cipherfit computes, proves and simulates, in Rust.
#[pyo3::pymodule]
mod _core {
    #[pymodule_export]
    use super::bfv::{PyBfvClient, PyBfvPublicKey, PyBfvServer, PyBfvSpecs};
    #[pymodule_export]
    use super::certificate::{PyCertificate, PyLayerCertificate};
    #[pymodule_export]
    use super::graph::PyIntegerGraph;
    #[pymodule_export]
    use super::mask::accumulator_mask;
    /// Bits of the widest lookup index, and of the widest code.
    #[pymodule_export]
    const MAX_LOOKUP_BITS: u8 = cipherfit_core::BitWidth::LOOKUP.get();
    #[pymodule_export]
    use super::quantize::{PyWeightQuantizer, activation_codes, activation_gradients};
}
