//! `accumulator_mask` in Python.

use cipherfit_core::training::mask::{self, MaskRequest};
use numpy::PyArray2;
use pyo3::prelude::*;

use crate::arrays::{as_integers, as_real, fill, matrix_of, show_shape, wrong_shape};
use crate::options::integer;

/// Choose which weights to keep so that every accumulator is proven to fit.
///
/// A weight widens its neuron's accumulator by ``abs(weight) * (high - low)``. Each neuron keeps the
/// longest run of its weights that fits ``2**n_accum_bits - 1 - reserve``, by descending importance;
/// among equals the cheaper first, then the lower column. Whatever follows the first weight that
/// doesn't fit is dropped. Where all weights fit, all are kept.
///
/// Parameters
/// ----------
/// weights : array-like of shape (n_out, n_in), integers
///     Weights of a linear layer. ``int64`` in C order is read in place.
/// low, high : int or array-like of shape (n_in,), integers
///     Least and largest code of each input.
/// n_accum_bits : int in [1, 62]
///     Bits that each accumulator must fit, counted from its minimum.
/// importance : array-like of shape (n_out, n_in) or None, default=None
///     What to keep first, as finite ``float32``; None takes the weights' magnitudes.
/// reserve : int in [0, 2**n_accum_bits - 1], default=0
///     Part of the accumulator's range to leave free, such as the half step of a rounding.
///
/// Returns
/// -------
/// ndarray of shape (n_out, n_in), dtype bool
///     True where the weight is kept.
///
/// Raises
/// ------
/// InvalidInputError
///     If shapes don't agree, an interval is empty or an importance is not finite.
/// InputTypeError
///     If weights or intervals are not integers.
/// InvalidParameterError
///     If an option is out of range.
#[pyfunction]
#[pyo3(signature = (weights, low, high, n_accum_bits, *, importance = None, reserve = None))]
#[pyo3(text_signature = "(weights, low, high, n_accum_bits, *, importance=None, reserve=0)")]
pub fn accumulator_mask<'py>(
    weights: &Bound<'py, PyAny>,
    low: &Bound<'py, PyAny>,
    high: &Bound<'py, PyAny>,
    n_accum_bits: &Bound<'py, PyAny>,
    importance: Option<&Bound<'py, PyAny>>,
    reserve: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyArray2<bool>>> {
    let py = weights.py();
    let weights = as_integers("weights", weights)?;
    let [rows, columns] = matrix_of("weights", weights.shape(), "(n_out, n_in)")?;
    let low = ends("low", low, columns)?;
    let high = ends("high", high, columns)?;
    let importance = importance.map(|values| as_real::<f32>("importance", values)).transpose()?;
    if let Some(values) = importance.as_ref().filter(|values| values.shape() != weights.shape()) {
        let expected = show_shape(weights.shape());
        return Err(wrong_shape("importance", &expected, values.shape()));
    }
    let request = MaskRequest {
        weights: weights.as_slice()?,
        low: &low,
        high: &high,
        n_accum_bits: integer("n_accum_bits", n_accum_bits)?,
        importance: importance.as_ref().map(|values| values.as_slice()).transpose()?,
        reserve: reserve.map_or(Ok(0), |reserve| integer("reserve", reserve))?,
    };
    fill(py, rows, columns, |mask| mask::accumulator_mask(&request, mask))
}

/// One end of the code intervals: an array, or one integer for all columns.
fn ends(name: &str, value: &Bound<'_, PyAny>, columns: usize) -> PyResult<Vec<i64>> {
    let ends = as_integers(name, value)?;
    match (ends.shape(), ends.as_slice()?) {
        ([], &[end]) => Ok(vec![end; columns]),
        ([length], ends) if *length == columns => Ok(ends.to_vec()),
        (shape, _) => Err(wrong_shape(name, &format!("({columns},)"), shape)),
    }
}
