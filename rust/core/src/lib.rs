//! Integer graphs whose accumulators are proven to fit, for encrypted inference.
//!
//! [`IntegerGraph`] is what a model computes: built from layers, validated, proven by interval
//! arithmetic and stored ([`graph`]), then evaluated bit-exactly ([`simulate`]). [`training`] decides
//! which weights fit an accumulator, and turns weights and activations into codes.

pub mod error;
pub mod graph;
mod parallel;
pub mod simulate;
pub mod training;
pub mod units;

pub use error::Error;
pub use graph::IntegerGraph;
pub use graph::certificate::{Certificate, LayerCertificate};
pub use graph::input::Input;
pub use graph::layer::LayerSpec;
pub use graph::linear::Linear;
pub use graph::lookup::LookupSpec;
pub use graph::output::Output;
pub use units::BitWidth;
