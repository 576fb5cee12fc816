//! Encrypted linear heads.

mod client;
mod envelope;
pub mod error;
mod guard;
mod head;
mod keys;
pub mod layout;
pub mod parameters;
mod ring;
mod sampling;
mod server;
mod specs;
mod wire;

pub use client::{Client, Sums};
pub use error::Error;
pub use keys::{PublicKey, SecretKey};
pub use server::{MAX_FLOODING_BITS, Server};
pub use specs::{MAX_ROWS, Specs};
