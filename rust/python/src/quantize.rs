//! Quantization-aware training in Python: what torch's autograd functions call.

use cipherfit_core::error::ParameterError;
use cipherfit_core::training::quantize::{
    ActivationQuantizer, QuantizedNeuron, ScaledWeights, WeightQuantizer,
};
use numpy::{PyArray1, PyArray2, PyArrayMethods, PyUntypedArrayMethods};
use pyo3::prelude::*;

use crate::arrays::{Borrowed, as_real, matrix_of, show_shape, wrong_shape};
use crate::error::to_python;
use crate::options::integer;

const MAX_CODE_BITS: i64 = 16;
const MAX_ACCUM_BITS: i64 = 48;

type Matrix<'py> = Bound<'py, PyArray2<f32>>;
type Vector<'py> = Bound<'py, PyArray1<f32>>;

/// How a linear layer's float32 weights become codes in training, and their gradient.
///
/// Parameters
/// ----------
/// n_w_bits : int in [1, 16]
///     Bits of a weight code; 1 stands for signs.
/// n_in_bits : int in [1, 16]
///     Bits of an input code.
/// n_accum_bits : int in [1, 48]
///     Bits that every accumulator must fit.
/// reserve : int in [0, 2**n_accum_bits - 1]
///     Part of the accumulator's range to leave free.
/// shrinks : bool
///     Whether weights shrink to the L1 norm that fits.
/// is_scarce : bool
///     Whether that norm counts only weights that do not round to zero.
///
/// Raises
/// ------
/// InvalidParameterError
///     If a number is out of range.
#[pyclass(name = "WeightQuantizer", module = "cipherfit._core", frozen)]
pub struct PyWeightQuantizer(WeightQuantizer);

#[pymethods]
impl PyWeightQuantizer {
    #[new]
    #[pyo3(signature = (n_w_bits, n_in_bits, n_accum_bits, reserve, *, shrinks, is_scarce))]
    fn new(
        n_w_bits: &Bound<'_, PyAny>,
        n_in_bits: &Bound<'_, PyAny>,
        n_accum_bits: &Bound<'_, PyAny>,
        reserve: &Bound<'_, PyAny>,
        shrinks: bool,
        is_scarce: bool,
    ) -> PyResult<Self> {
        let n_w_bits = within("n_w_bits", n_w_bits, 1, MAX_CODE_BITS)?;
        let n_in_bits = within("n_in_bits", n_in_bits, 1, MAX_CODE_BITS)?;
        let n_accum_bits = within("n_accum_bits", n_accum_bits, 1, MAX_ACCUM_BITS)?;
        let most = (1 << n_accum_bits) - 1;
        let reserve = within("reserve", reserve, 0, most)?;
        let max_code = ((1_u16 << (n_w_bits - 1)) - 1).max(1);
        Ok(Self(WeightQuantizer {
            max_code: max_code.into(),
            is_sign: n_w_bits == 1,
            shrinks: shrinks && n_w_bits > 1,
            is_scarce,
            max_in_code: u16::MAX >> (MAX_CODE_BITS - n_in_bits),
            budget: (most - reserve).unsigned_abs(),
        }))
    }

    /// Return codes, the mask or None where it drops nothing, and four numbers of each neuron.
    ///
    /// Parameters
    /// ----------
    /// weights : ndarray of shape (n_out, n_in)
    ///     Weights; C-contiguous float32 is read in place.
    /// inverse_scale : ndarray of shape (n_out,)
    ///     One over the scale of each neuron's weights.
    ///
    /// Returns
    /// -------
    /// codes : ndarray of shape (n_out, n_in), dtype float32
    ///     Integers.
    /// mask : ndarray of shape (n_out, n_in), dtype bool, or None
    ///     True where a weight is kept.
    /// neurons : ndarray of shape (4, n_out), dtype float32
    ///     By what its weights shrink; from which magnitude on they count for that; its
    ///     accumulator's least value; its accumulator's value in the middle of all inputs' codes.
    #[allow(clippy::type_complexity, reason = "a tuple for Python")]
    fn quantize<'py>(
        &self,
        weights: &Bound<'py, PyAny>,
        inverse_scale: &Bound<'py, PyAny>,
    ) -> PyResult<(Matrix<'py>, Option<Bound<'py, PyArray2<bool>>>, Matrix<'py>)> {
        let py = weights.py();
        let given = Given::new(weights, inverse_scale)?;
        let [rows, width] = given.shape;
        let codes = PyArray2::zeros(py, [rows, width], false);
        let mask = PyArray2::<bool>::zeros(py, [rows, width], false);
        let neurons = PyArray2::zeros(py, [4, rows], false);
        let mut found = vec![QuantizedNeuron::default(); rows];
        let dropped = {
            let (mut codes, mut mask) = (codes.try_readwrite()?, mask.try_readwrite()?);
            let (codes, mask) = (codes.as_slice_mut()?, mask.as_slice_mut()?);
            let of = given.scaled()?;
            py.detach(|| self.0.quantize(&of, codes, mask, &mut found))
        };
        {
            let mut neurons = neurons.try_readwrite()?;
            let parts: [fn(&QuantizedNeuron) -> f32; 4] =
                [|each| each.fit, |each| each.counted_from, |each| each.low, |each| each.centre];
            for (values, part) in neurons.as_slice_mut()?.chunks_exact_mut(rows.max(1)).zip(parts) {
                for (value, neuron) in values.iter_mut().zip(&found) {
                    *value = part(neuron);
                }
            }
        }
        Ok((codes, dropped.then_some(mask), neurons))
    }

    /// Return the gradients of weights and of the logarithm of scales, for that of the codes.
    ///
    /// Parameters
    /// ----------
    /// weights, inverse_scale : ndarray
    ///     As for `quantize`.
    /// neurons, mask : ndarray
    ///     As `quantize` returned them.
    /// gradient : ndarray of shape (n_out, n_in)
    ///     Gradient of the codes.
    ///
    /// Returns
    /// -------
    /// of_weights : ndarray of shape (n_out, n_in), dtype float32
    /// of_log_scale : ndarray of shape (n_out,), dtype float32
    ///     As far as scales work through the codes.
    fn gradient<'py>(
        &self,
        weights: &Bound<'py, PyAny>,
        inverse_scale: &Bound<'py, PyAny>,
        neurons: &Bound<'py, PyAny>,
        mask: Option<Bound<'py, PyArray2<bool>>>,
        gradient: &Bound<'py, PyAny>,
    ) -> PyResult<(Matrix<'py>, Vector<'py>)> {
        let py = weights.py();
        let given = Given::new(weights, inverse_scale)?;
        let [rows, width] = given.shape;
        let neurons = of_shape("neurons", neurons, &[4, rows])?;
        let neurons = neurons.as_slice()?;
        let neurons: Vec<_> = (0..rows)
            .map(|row| QuantizedNeuron {
                fit: neurons[row],
                counted_from: neurons[rows + row],
                ..QuantizedNeuron::default()
            })
            .collect();
        let gradient = of_shape("gradient", gradient, &[rows, width])?;
        let gradient = gradient.as_slice()?;
        if let Some(mask) = mask.as_ref().filter(|mask| mask.shape() != [rows, width]) {
            let expected = show_shape(&[rows, width]);
            return Err(wrong_shape("mask", &expected, mask.shape()));
        }
        let mask = mask.map(|mask| mask.try_readonly()).transpose()?;
        let mask = mask.as_ref().map(|mask| mask.as_slice()).transpose()?;
        let of_weights = PyArray2::zeros(py, [rows, width], false);
        let of_log_scale = PyArray1::zeros(py, rows, false);
        {
            let (mut weights, mut scales) =
                (of_weights.try_readwrite()?, of_log_scale.try_readwrite()?);
            let (weights, scales) = (weights.as_slice_mut()?, scales.as_slice_mut()?);
            let of = given.scaled()?;
            py.detach(|| self.0.gradient(&of, &neurons, mask, gradient, weights, scales));
        }
        Ok((of_weights, of_log_scale))
    }
}

/// Weights and scales, as given.
struct Given<'py> {
    weights: Borrowed<'py, f32>,
    inverse_scale: Borrowed<'py, f32>,
    shape: [usize; 2],
}

impl<'py> Given<'py> {
    fn new(weights: &Bound<'py, PyAny>, inverse_scale: &Bound<'py, PyAny>) -> PyResult<Self> {
        let (weights, shape) = matrix("weights", weights, "(n_out, n_in > 0)")?;
        let inverse_scale = of_shape("inverse_scale", inverse_scale, &[shape[0]])?;
        Ok(Self { weights, inverse_scale, shape })
    }

    fn scaled(&self) -> PyResult<ScaledWeights<'_>> {
        let (weights, inverse_scale) = (self.weights.as_slice()?, self.inverse_scale.as_slice()?);
        Ok(ScaledWeights { weights, inverse_scale, width: self.shape[1] })
    }
}

/// Return the codes of activations: ``clamp(round(values * inverse_step + offset), 0, max_code)``.
///
/// Parameters
/// ----------
/// values : ndarray of shape (n_samples, n_neurons)
///     Activations; C-contiguous float32 is read in place.
/// inverse_step, offset : ndarray of shape (n_neurons,)
///     Of each neuron.
/// max_code : int in [1, 65535]
///     Largest code.
///
/// Returns
/// -------
/// ndarray of shape (n_samples, n_neurons), dtype float32
///     Integers.
#[pyfunction]
pub fn activation_codes<'py>(
    values: &Bound<'py, PyAny>,
    inverse_step: &Bound<'py, PyAny>,
    offset: &Bound<'py, PyAny>,
    max_code: u16,
) -> PyResult<Matrix<'py>> {
    let py = values.py();
    let given = Activations::new(values, inverse_step, offset)?;
    let quantizer = given.quantizer(max_code)?;
    let codes = PyArray2::zeros(py, given.shape, false);
    {
        let mut codes = codes.try_readwrite()?;
        let (values, codes) = (given.values.as_slice()?, codes.as_slice_mut()?);
        py.detach(|| quantizer.quantize(values, codes));
    }
    Ok(codes)
}

/// Return the gradients of activations, of the logarithm of steps, and of offsets.
///
/// Parameters
/// ----------
/// values, inverse_step, offset, max_code
///     As for `activation_codes`.
/// gradient : ndarray of shape (n_samples, n_neurons)
///     Gradient of the codes.
///
/// Returns
/// -------
/// of_values : ndarray of shape (n_samples, n_neurons), dtype float32
/// of_log_step, of_offset : ndarray of shape (n_neurons,), dtype float32
#[pyfunction]
pub fn activation_gradients<'py>(
    values: &Bound<'py, PyAny>,
    inverse_step: &Bound<'py, PyAny>,
    offset: &Bound<'py, PyAny>,
    max_code: u16,
    gradient: &Bound<'py, PyAny>,
) -> PyResult<(Matrix<'py>, Vector<'py>, Vector<'py>)> {
    let py = values.py();
    let given = Activations::new(values, inverse_step, offset)?;
    let quantizer = given.quantizer(max_code)?;
    let gradient = of_shape("gradient", gradient, &given.shape)?;
    let of_values = PyArray2::zeros(py, given.shape, false);
    let of_log_step = PyArray1::zeros(py, given.shape[1], false);
    let of_offset = PyArray1::zeros(py, given.shape[1], false);
    {
        let mut outputs = of_values.try_readwrite()?;
        let (mut steps, mut offsets) = (of_log_step.try_readwrite()?, of_offset.try_readwrite()?);
        let (outputs, values) = (outputs.as_slice_mut()?, given.values.as_slice()?);
        let (steps, offsets) = (steps.as_slice_mut()?, offsets.as_slice_mut()?);
        let gradient = gradient.as_slice()?;
        py.detach(|| quantizer.gradient(values, gradient, outputs, steps, offsets));
    }
    Ok((of_values, of_log_step, of_offset))
}

/// Activations, steps and offsets, as given.
struct Activations<'py> {
    values: Borrowed<'py, f32>,
    inverse_step: Borrowed<'py, f32>,
    offset: Borrowed<'py, f32>,
    shape: [usize; 2],
}

impl<'py> Activations<'py> {
    fn new(
        values: &Bound<'py, PyAny>,
        inverse_step: &Bound<'py, PyAny>,
        offset: &Bound<'py, PyAny>,
    ) -> PyResult<Self> {
        let (values, shape) = matrix("values", values, "(n_samples, n_neurons > 0)")?;
        let inverse_step = of_shape("inverse_step", inverse_step, &[shape[1]])?;
        let offset = of_shape("offset", offset, &[shape[1]])?;
        Ok(Self { values, inverse_step, offset, shape })
    }

    fn quantizer(&self, max_code: u16) -> PyResult<ActivationQuantizer<'_>> {
        let (inverse_step, offset) = (self.inverse_step.as_slice()?, self.offset.as_slice()?);
        Ok(ActivationQuantizer { inverse_step, offset, max_code: max_code.into() })
    }
}

/// A matrix with at least one column, and its shape.
fn matrix<'py>(
    name: &str,
    value: &Bound<'py, PyAny>,
    expected: &str,
) -> PyResult<(Borrowed<'py, f32>, [usize; 2])> {
    let array = as_real::<f32>(name, value)?;
    match matrix_of(name, array.shape(), expected)? {
        [_, 0] => Err(wrong_shape(name, expected, array.shape())),
        shape => Ok((array, shape)),
    }
}

fn of_shape<'py>(
    name: &str,
    value: &Bound<'py, PyAny>,
    shape: &[usize],
) -> PyResult<Borrowed<'py, f32>> {
    let array = as_real::<f32>(name, value)?;
    if array.shape() == shape {
        Ok(array)
    } else {
        Err(wrong_shape(name, &show_shape(shape), array.shape()))
    }
}

fn within(name: &'static str, value: &Bound<'_, PyAny>, low: i64, high: i64) -> PyResult<i64> {
    let value = integer(name, value)?;
    if (low..=high).contains(&value) {
        return Ok(value);
    }
    let (value, low, high) = (value.into(), low.into(), high.into());
    Err(to_python(ParameterError::OutOfRange { name, value, low, high }))
}
