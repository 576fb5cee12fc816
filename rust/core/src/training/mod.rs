//! What training needs of the integers: which weights fit, and codes with their gradients.

pub mod mask;
pub mod quantize;
