//! How encrypted rows are answered: products with the weights, hidden.

use std::ops::Range;

use crate::client::REQUEST_MASK;
use crate::error::Error;
use crate::keys::{PublicKey, read_polynomial};
use crate::layout::Grid;
use crate::parameters::round;
use crate::ring::{Factors, Scalar};
use crate::sampling::{SEED_BYTES, Stream};
use crate::server::Server;
use crate::wire::{Reader, Writer};

/// The weights as a layout needs them: `groups` rows of `chunks` factors.
#[derive(Debug)]
pub enum Weights {
    /// Polynomials, where ciphertexts hold several features or outputs.
    Polynomials(Vec<Factors>),
    /// Integers, where they hold one of each.
    Scalars(Vec<Scalar>),
}

/// One request being answered.
pub struct Run<'a> {
    server: &'a Server,
    grid: &'a Grid,
    weights: &'a Weights,
    key: &'a PublicKey,
    /// Flooding is uniform in `[-flooding, flooding)`.
    pub flooding: u128,
}

/// The two halves of a ciphertext of an answer.
pub struct Product {
    /// What holds the sums.
    pub body: Vec<u64>,
    /// What the secret key takes off it.
    pub mask: Vec<u64>,
}

impl<'a> Run<'a> {
    /// The answering of one request in one layout.
    ///
    /// # Errors
    /// If the layout leaves no room for flooding, which those of the specs do.
    pub fn new(server: &'a Server, layout: usize, key: &'a PublicKey) -> Result<Self, Error> {
        let grid = &server.specs().grids()[layout];
        let noise = server.specs().parameters().noise(server.head().l1_norm(grid.outputs));
        // The layouts of the specs are those that have a budget.
        let noise = noise.ok_or_else(|| Error::Internal("a layout without a budget".into()))?;
        Ok(Self { server, grid, weights: server.weights(layout), key, flooding: noise.flooding })
    }

    /// Codes times weights of one block: a product, as values, for every group of outputs.
    ///
    /// # Errors
    /// If a polynomial of the request is damaged.
    pub fn products(
        &self,
        reader: &mut Reader<'_>,
        seed: &[u8; SEED_BYTES],
        block: usize,
    ) -> Result<Vec<Product>, Error> {
        let ring = self.server.specs().parameters().ring();
        let (chunks, groups) = (self.grid.chunks(), self.grid.groups());
        let empty = || Product { body: ring.zero(), mask: ring.zero() };
        let mut products: Vec<_> = std::iter::repeat_with(empty).take(groups).collect();
        for chunk in 0..chunks {
            let index = (block * chunks + chunk) as u64;
            let mut mask = ring.uniform(REQUEST_MASK, seed, index);
            let mut body = read_polynomial(reader, ring)?;
            if let Weights::Polynomials(_) = self.weights {
                ring.forward(&mut mask);
                ring.forward(&mut body);
            }
            for (group, product) in products.iter_mut().enumerate() {
                let at = group * chunks + chunk;
                match self.weights {
                    Weights::Polynomials(factors) => {
                        ring.multiply_add(&mut product.body, &body, &factors[at]);
                        ring.multiply_add(&mut product.mask, &mask, &factors[at]);
                    }
                    Weights::Scalars(scalars) => {
                        ring.scale_add(&mut product.body, &body, scalars[at]);
                        ring.scale_add(&mut product.mask, &mask, scalars[at]);
                    }
                }
            }
        }
        if let Weights::Scalars(_) = self.weights {
            for product in &mut products {
                ring.forward(&mut product.body);
                ring.forward(&mut product.mask);
            }
        }
        Ok(products)
    }

    /// Appends products, each hidden and rounded: the mask whole, of the body only the sums.
    ///
    /// # Errors
    /// If the system has no random bytes.
    pub fn answer(
        &self,
        writer: &mut Writer,
        products: Vec<Product>,
        rows: usize,
    ) -> Result<(), Error> {
        let parameters = self.server.specs().parameters();
        let (ring, dropped) = (parameters.ring(), parameters.dropped_bits());
        let width = parameters.rounded_bits();
        for (group, product) in products.into_iter().enumerate() {
            let outputs = self.grid.outputs_of(group);
            let Product { body, mask } = self.hide(product, outputs.clone(), rows)?;
            let rounded = |poly: &[u64], index| round(ring.compose(poly, index), dropped);
            writer.packed(width, (0..ring.degree()).map(|index| rounded(&mask, index)));
            let sums = (0..rows * outputs.len())
                .map(|index| self.grid.sum_of(index / outputs.len(), index % outputs.len()));
            writer.packed(width, sums.map(|index| rounded(&body, index)));
        }
        Ok(())
    }

    /// Makes a product a fresh ciphertext of its sums, as coefficients: adds a fresh encryption of
    /// zero under the client's public key, offsets, and flooding.
    ///
    /// # Errors
    /// If the system has no random bytes.
    pub fn hide(
        &self,
        product: Product,
        outputs: Range<usize>,
        rows: usize,
    ) -> Result<Product, Error> {
        let parameters = self.server.specs().parameters();
        let ring = parameters.ring();
        let Product { mut body, mut mask } = product;
        let mut random = Stream::fresh()?;
        let mut secret = ring.small(&random.ternary(ring.degree()));
        ring.forward(&mut secret);
        let (key_body, key_mask) = self.key.polynomials();
        for (half, key_half) in [(&mut body, key_body), (&mut mask, key_mask)] {
            let mut masked = secret.clone();
            ring.multiply(&mut masked, key_half);
            ring.add(half, &masked);
            ring.backward(half);
        }
        ring.add(&mut mask, &ring.small(&random.errors(ring.degree())));
        for row in 0..rows {
            for (position, output) in outputs.clone().enumerate() {
                let offset =
                    i128::from(self.server.head().offset(output)) << parameters.scale_bits();
                let flooding = random.below_u128(2 * self.flooding).cast_signed();
                let noise = flooding - self.flooding.cast_signed();
                ring.add_to_coefficient(&mut body, self.grid.sum_of(row, position), offset + noise);
            }
        }
        Ok(Product { body, mask })
    }
}
