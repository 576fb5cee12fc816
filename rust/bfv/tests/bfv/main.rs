//! Promises of the encrypted linear layer.

mod common;
mod errors;
mod exact;
mod hostile;
