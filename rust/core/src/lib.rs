//! Integer graphs whose accumulators are proven to fit, for encrypted inference.
//!
//! [`IntegerGraph`] is what a model computes: built from layers and validated ([`graph`]), proven by
//! interval arithmetic ([`bounds`], [`certificate`]), evaluated bit-exactly ([`simulate`]) and stored
//! ([`serialize`]). [`prune`] decides, during training, which weights fit an accumulator, and
//! [`qat`] turns weights and activations into codes there.

pub mod bounds;
pub mod certificate;
pub mod error;
pub mod graph;
pub mod input;
pub mod ops;
pub mod output;
mod parallel;
pub mod prune;
pub mod qat;
pub mod serialize;
pub mod simulate;
pub mod units;

pub use certificate::{Certificate, LayerCertificate};
pub use error::Error;
pub use graph::IntegerGraph;
pub use input::Input;
pub use ops::{LayerSpec, Linear, LookupSpec};
pub use output::Output;
pub use units::BitWidth;
