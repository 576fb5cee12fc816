//! All tests of the core's public face, in one crate: it is compiled and linked once.

mod common;
mod errors;
mod mask;
mod noise;
mod numbers;
mod proof;
mod serialize;
mod simulate;
mod split;
