//! From the values of one feature to a column of codes: nothing is to be transposed.

use std::iter;

use super::load::divide;
use super::vector::{MAX_ROWS, Vector};
use crate::simulate::block::{BLOCK, Column, TILE};
use crate::simulate::packed::kernel::FeatureValues;
use crate::simulate::packed::quantizer::FeatureConstants;
use crate::simulate::prefetch::fetch;

/// [`super::super::kernel::Kernel::load_column`].
#[inline(always)]
pub(super) fn load_column<V: Vector>(
    proof: V::Proof,
    values: FeatureValues<'_>,
    column: &mut Column,
) -> bool {
    if values.brackets.is_exact {
        load_column_as::<V, true>(proof, values, column)
    } else {
        load_column_as::<V, false>(proof, values, column)
    }
}

/// The same with one factor if `EXACT`, else with two.
#[inline(always)]
fn load_column_as<V: Vector, const EXACT: bool>(
    proof: V::Proof,
    FeatureValues { values, feature, input, brackets, ahead }: FeatureValues<'_>,
    column: &mut Column,
) -> bool {
    let constants = brackets.repeated(feature);
    let constants = V::constants(proof, FeatureConstants::repeated(&constants));
    let max = V::bytes(proof, brackets.max_code);
    let mut all_finite = true;
    let parts = values.as_chunks::<TILE>().0.chunks_exact(V::ROWS);
    for (part, (values, codes)) in parts.zip(column.0.chunks_exact_mut(V::BYTES)).enumerate() {
        for line in ahead.lines(part, BLOCK / V::BYTES) {
            fetch(line);
        }
        let mut rows = [&values[0]; MAX_ROWS];
        for (row, values) in rows.iter_mut().zip(values) {
            *row = values;
        }
        let (loaded, doubt) = V::quantize::<EXACT>(proof, rows, constants);
        loaded.min_bytes(max).store(codes);
        if !doubt.is_zero() {
            all_finite &= divide(values.as_flattened(), iter::repeat(feature), input, codes);
        }
    }
    all_finite
}
