//! `Certificate` and `LayerCertificate` in Python.

use std::fmt::Write as _;
use std::hash::{Hash, Hasher};

use cipherfit_core::graph::interval::Interval;
use cipherfit_core::{BitWidth, Certificate, LayerCertificate};
use numpy::{PyArray1, PyArray2, PyArrayMethods};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

/// What is proven of a graph: each accumulator's interval, for every input.
///
/// Made by :meth:`IntegerGraph.prove`. Pickling stores the graph; loading proves it anew.
#[pyclass(name = "Certificate", module = "cipherfit._core", frozen, eq, hash)]
pub struct PyCertificate {
    certificate: Certificate,
    /// The `IntegerGraph` that it speaks of.
    graph: Py<PyAny>,
}

impl PyCertificate {
    pub fn new(certificate: Certificate, graph: Py<PyAny>) -> Self {
        Self { certificate, graph }
    }
}

impl PartialEq for PyCertificate {
    fn eq(&self, other: &Self) -> bool {
        self.certificate.graph() == other.certificate.graph()
    }
}

impl Hash for PyCertificate {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.certificate.digest().hash(state);
    }
}

type Witnesses<'py> = (Bound<'py, PyArray2<u16>>, Bound<'py, PyArray2<u16>>);

#[pymethods]
impl PyCertificate {
    /// Bits of the graph's widest accumulator, counted from its minimum.
    #[getter]
    fn max_accumulator_bits(&self) -> u8 {
        self.certificate.max_accumulator_bits().get()
    }

    /// Digest of the graph that is proven.
    #[getter]
    fn digest(&self) -> &str {
        self.certificate.digest()
    }

    /// One LayerCertificate per linear layer, in order.
    #[getter]
    fn layers(&self) -> Vec<PyLayerCertificate> {
        self.certificate.layers().iter().cloned().map(PyLayerCertificate).collect()
    }

    /// Return input codes that bring the first layer's accumulators to their ends.
    ///
    /// Returns
    /// -------
    /// codes_at_low, codes_at_high : ndarray of shape (n_neurons, n_features), dtype uint16
    ///     Row i brings neuron i to its minimum, and to its maximum.
    fn witnesses<'py>(&self, py: Python<'py>) -> PyResult<Witnesses<'py>> {
        let (at_low, at_high) = self.certificate.witnesses();
        let n_features = self.certificate.graph().n_features();
        let shape = [at_low.len() / n_features, n_features];
        let matrix = |codes| PyArray1::from_vec(py, codes).reshape(shape);
        Ok((matrix(at_low)?, matrix(at_high)?))
    }

    /// Return the certificate as plain numbers, lists and dicts, ready for JSON.
    ///
    /// Returns
    /// -------
    /// dict
    ///     With ``digest``, ``max_accumulator_bits`` and ``layers``, a list of dicts under the
    ///     names of LayerCertificate's attributes.
    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let layers = PyList::empty(py);
        for layer in self.certificate.layers() {
            let record = PyDict::new(py);
            record.set_item("low", lows(layer).collect::<Vec<_>>())?;
            record.set_item("high", highs(layer).collect::<Vec<_>>())?;
            record.set_item("neuron_bits", neuron_bits(layer).collect::<Vec<_>>())?;
            record.set_item("headroom", layer.headroom().collect::<Vec<_>>())?;
            record.set_item("nonzeros", layer.nonzeros())?;
            record.set_item("bits", layer.bits().get())?;
            record.set_item("lookup_bits", layer.lookup_bits().map(BitWidth::get))?;
            layers.append(record)?;
        }
        let record = PyDict::new(py);
        record.set_item("digest", self.digest())?;
        record.set_item("max_accumulator_bits", self.max_accumulator_bits())?;
        record.set_item("layers", layers)?;
        Ok(record)
    }

    fn __repr__(&self) -> String {
        let mut table = format!(
            "Certificate({}, accumulators of {} bits)\n\
             layer  neurons  nonzeros                       interval  bits  lookup bits",
            &self.digest()[..8],
            self.max_accumulator_bits()
        );
        for (linear, layer) in self.certificate.layers().iter().enumerate() {
            let low = lows(layer).min().unwrap_or(0);
            let high = highs(layer).max().unwrap_or(0);
            let lookup = layer.lookup_bits().map_or_else(|| "-".into(), |bits| bits.to_string());
            // Writing to a String has no way to fail.
            let _ = write!(
                table,
                "\n{:>5}  {:>7}  {:>8}  {:>29}  {:>4}  {lookup:>11}",
                2 * linear,
                layer.intervals().len(),
                layer.nonzeros().iter().sum::<usize>(),
                format!("[{low}, {high}]"),
                layer.bits(),
            );
        }
        table
    }

    /// Describe the certificate as HTML, for notebooks.
    fn _repr_html_(slf: Bound<'_, Self>) -> PyResult<String> {
        let pages = slf.py().import("cipherfit.pages.graphs")?;
        pages.call_method1("certificate_html", (slf,))?.extract()
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyAny>, ())> {
        Ok((self.graph.bind(py).getattr("prove")?, ()))
    }
}

/// What is proven of one linear layer.
#[pyclass(name = "LayerCertificate", module = "cipherfit._core", frozen)]
pub struct PyLayerCertificate(LayerCertificate);

#[pymethods]
impl PyLayerCertificate {
    /// Proven minimum of each accumulator: int64 of shape (n_neurons,).
    #[getter]
    fn low<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<i64>> {
        PyArray1::from_iter(py, lows(&self.0))
    }

    /// Proven maximum of each accumulator: int64 of shape (n_neurons,).
    #[getter]
    fn high<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<i64>> {
        PyArray1::from_iter(py, highs(&self.0))
    }

    /// Bits of ``high - low`` of each neuron: int64 of shape (n_neurons,); 0 where it is constant.
    #[getter]
    fn neuron_bits<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<i64>> {
        PyArray1::from_iter(py, neuron_bits(&self.0))
    }

    /// What each neuron leaves of the layer's bits: int64 of shape (n_neurons,).
    #[getter]
    fn headroom<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<i64>> {
        PyArray1::from_iter(py, self.0.headroom().map(signed))
    }

    /// Weights of each neuron that are not zero: int64 of shape (n_neurons,).
    #[getter]
    fn nonzeros<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<i64>> {
        PyArray1::from_iter(py, self.0.nonzeros().iter().map(|&count| signed(count as u64)))
    }

    /// Bits of the layer's widest accumulator, counted from its minimum.
    #[getter]
    fn bits(&self) -> u8 {
        self.0.bits().get()
    }

    /// Bits of the largest index of the lookup that follows; None after the last layer.
    #[getter]
    fn lookup_bits(&self) -> Option<u8> {
        self.0.lookup_bits().map(BitWidth::get)
    }

    fn __repr__(&self) -> String {
        format!("LayerCertificate({} neurons, {} bits)", self.0.intervals().len(), self.bits())
    }
}

fn lows(layer: &LayerCertificate) -> impl Iterator<Item = i64> + '_ {
    layer.intervals().iter().map(|&Interval { low, .. }| low)
}

fn highs(layer: &LayerCertificate) -> impl Iterator<Item = i64> + '_ {
    layer.intervals().iter().map(|&Interval { high, .. }| high)
}

fn neuron_bits(layer: &LayerCertificate) -> impl Iterator<Item = i64> + '_ {
    layer.neuron_bits().map(|bits| bits.get().into())
}

/// Never saturates: widths are below 2^63, counts below 2^28.
fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
