//! Promises of the encrypted linear layer.

mod common;
mod exact;
