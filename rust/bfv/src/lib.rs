//! Linear layers over encrypted codes: BFV with proven parameters and circuit privacy.
//!
//! A graph without lookups is one linear layer, `sums = W codes + offset`. Ring learning with
//! errors (RLWE) computes it in one product of polynomials, without evaluation keys, bootstrapping
//! or errors. A [`Server`] holds the weights, a [`Client`] the keys; what they send each other is
//! bytes, which [`Specs`], public parameters without weights, give a meaning.
//!
//! # The scheme
//! Fan and Vercauteren, *Somewhat practical fully homomorphic encryption* (2012, eprint 2012/144),
//! with the message at a power of two `D` instead of `floor(q / t)`: in `R = Z_q[X] / (X^N + 1)`,
//! with a ternary secret `s`,
//! ```text
//! encryption of m:   (c0, c1) = (-(a s) + e + D m, a)         a uniform, from a seed; |e| <= 21
//! public key:        (k0, k1) = (-(k s) + e', k)              k uniform, from a seed; |e'| <= 21
//! answer:            c0' = c0 W + k0 u + D offset + f         u ternary, |e1| <= 21,
//!                    c1' = c1 W + k1 u + e1                   f uniform in [-F, F)
//! decryption:        c0' + c1' s = D (m W + offset) + noise
//!                    noise = e W + e' u + e1 s + f
//! ```
//! Codes and weights sit at coefficients such that `m W` has the sums at known places ([`layout`]).
//! Of `c0'` only those are sent, and both halves are rounded to the bits that carry anything.
//!
//! # Exact for every input
//! Sums never wrap, so their multiples of `D` stay apart: it is enough that `|noise| <= D / 2`. By
//! the worst case of every term, `|e W| <= 21 |W|_1`, `|e' u| <= 21 N`, `|e1 s| <= 21 N`, and
//! rounding `d` bits away adds at most `2^(d - 1) (N + 1)`. The flooding `F` takes all that is
//! left. The smallest parameters of the Homomorphic Encryption Standard are chosen that leave
//! enough ([`parameters`]).
//!
//! # What the client learns
//! It made `c1`, so `c1 W` would hand it the weights; it knows `e`, so `e W` would, too. An answer
//! must depend on the weights by its sums alone. With `S` for the sums, the view of a client that
//! made its keys and ciphertexts as above is `c1'` and, at the places of sums,
//! ```text
//! c0' = -(c1' s) + D S + (e W + e' u + e1 s) + f
//! ```
//! 1. *Flooding* (Gentry, *A fully homomorphic encryption scheme*, 2009, and any proof of BFV's
//!    circuit privacy since): a uniform integer of `2 F` values and its shift by `x` are within
//!    statistical distance `|x| / 2F`. So `c0'` is within `n_outputs (21 |W|_1 + 42 N) / 2F` per
//!    row of `-(c1' s) + D S + f`, in which neither `W`, `u` nor `e1` occur, but for `S` and `c1'`.
//!    This is [`Specs::flooding_bits`]: `2^-bits` at most.
//! 2. *RLWE*: now `u` and `e1` occur in `c1'` alone, and `k1 u + e1` is an RLWE sample for a
//!    uniform `k1` under a secret that only the server has. So `c1'` can't be told from uniform,
//!    whatever `c1 W` is.
//! 3. What is left, a uniform `c1'` and `-(c1' s) + D S + f`, can be made from `s` and `S`.
//!    Rounding is computed from it, so it tells no more.
//!
//! Coefficients of `c0'` without a sum are not sent, so they need no mask.
//!
//! The argument is for clients that make keys and ciphertexts as they should. Uniform halves travel
//! as seeds only, which the server expands by SHA-256 and `ChaCha20` itself, so no client can
//! choose `k1` or `c1`, and `c1'` stays masked for any (as far as RLWE bears the few bits that
//! flooded sums tell of `u` where `k0` is none). A client that chooses `c0` or `k0` freely learns
//! other functions of the weights than sums of codes: as many numbers as it would have got sums, of
//! about as many bits. Linear layers hide little in any case: whoever gets `n_features + 1` exact
//! answers of its choice solves for weights and offset.
//!
//! # What the server learns
//! Sizes, the number of rows, and which requests are of the same keys. BFV is secure against
//! servers that read (IND-CPA), not against ones that watch what the client does with answers that
//! they have tampered with: a client should not tell a server that it doesn't trust what it
//! decrypted.
//!
//! # On which library, and why
//! Polynomial arithmetic is `fhe-math`'s, of [fhe.rs](https://github.com/tlepoint/fhe.rs) (pure
//! Rust, MIT), whose modular operations and transforms have constant-time forms, used throughout
//! where secrets are. Its makers write: "The implementations in this crate have never been
//! independently audited for security. Use at your own risk." What was weighed against it: SEAL and
//! `OpenFHE` are C++ (their Rust bindings need that built, or are AGPL: `sunscreen`'s `seal_fhe`),
//! `he-ring` needs an unstable compiler, `poulpy` is another scheme's, `concrete-ntt` and
//! `tfhe-ntt` are under Zama's licence. `fhe-math` names `tfhe-ntt` among its dependencies; nothing
//! refers to it unless a feature is asked for, which isn't done here, so none of it is linked.
//!
//! The encryption layer is this crate's, not that of the crate `fhe` above `fhe-math`, because that
//! one draws secrets up to 20 in magnitude where the standard's are ternary (4 bits of noise, so of
//! flooding); takes its public seeds from a generator that a forked process shares with its parent,
//! so that both would encrypt under the same `a`; sends whole ciphertexts; and reads messages that
//! can make it panic. Random numbers come from the operating system, anew for every call; secrets,
//! errors and their streams are wiped when dropped.

mod answer;
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
#[cfg(test)]
mod tests;
mod wire;

pub use client::{Client, Sums};
pub use error::Error;
pub use keys::{PublicKey, SecretKey};
pub use server::{MAX_FLOODING_BITS, Server};
pub use specs::{MAX_ROWS, Specs};
