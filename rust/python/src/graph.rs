//! `IntegerGraph` in Python.

use std::hash::{Hash, Hasher};

use cipherfit_core::IntegerGraph;
use cipherfit_core::graph::input::Real;
use cipherfit_core::simulate::{Numbers, Options, Simulator};
use numpy::PyArray2;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

use crate::arrays::{
    self, BorrowedNumbers, Reals, as_columns, as_integers, as_numbers, as_reals, fill, rows_of,
};
use crate::certificate::PyCertificate;
use crate::error::to_python;
use crate::{layers, options};

/// What a model computes, in integers: quantizer, layers over codes, dequantizer.
///
/// Immutable, validated when it is built and cheap to copy. Two graphs are equal, and hash alike,
/// when their digests are. Built with :meth:`from_layers`.
///
/// Notes
/// -----
/// ``code = clamp(round_half_even(x / scale) + zero_point, 0, 2**n_bits - 1)``; then layers
/// alternate, beginning with a linear one: ``acc = weights @ codes + offset``, and
/// ``code = table[(acc - low + half) >> lsbs]`` with ``half = 2**lsbs >> 1`` and a table of its own
/// for each neuron; at the end ``value = acc * scale + offset``. A graph that ends with a lookup has
/// its codes as outputs, in place of accumulators.
///
/// The first `n_client_layers` lookups, with the linear layers that they read, are computed in clear
/// by whoever holds the inputs: their weights are no secret, and they never err. :meth:`split` gives
/// client and server their graphs.
#[pyclass(name = "IntegerGraph", module = "cipherfit._core", frozen, eq, hash)]
pub struct PyIntegerGraph(Simulator);

impl PartialEq for PyIntegerGraph {
    fn eq(&self, other: &Self) -> bool {
        self.graph() == other.graph()
    }
}

impl Hash for PyIntegerGraph {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.graph().digest().hash(state);
    }
}

#[pymethods]
impl PyIntegerGraph {
    /// Build a graph from its layers, and prove that everything fits.
    ///
    /// Takes what :meth:`to_dict` returns: ``IntegerGraph.from_layers(**graph.to_dict())`` is equal
    /// to ``graph``. Integer arrays may have any integer type.
    ///
    /// Parameters
    /// ----------
    /// input : dict
    ///     ``scale`` of shape (n_features,), finite and positive; ``zero_point`` of shape
    ///     (n_features,), integers in [-2**50, 2**50]; ``n_bits``, int in [1, 16]. ``low`` and
    ///     ``high`` of shape (n_features,) may say that a feature has fewer codes than n_bits give.
    /// layers : list of dict
    ///     Linear layers and lookups in turn, beginning with a linear one.
    ///     A linear one is ``{"kind": "linear", "weights": (n_out, n_in), "offset": (n_out,)}``. A
    ///     lookup is ``{"kind": "lookup", "low": (n,), "lsbs": int, "exact": bool, "tables": list of
    ///     n arrays}``: ``low`` is each accumulator's proven minimum, and may be left out or None;
    ///     ``lsbs`` in [0, 62] low bits are rounded away, exactly or approximately; tables hold
    ///     codes in [0, 65535], one entry for every index that the proven interval can give.
    /// output : dict
    ///     ``scale`` of shape (n_outputs,), finite and positive, and ``offset`` of the same shape,
    ///     finite.
    /// n_client_layers : int, default=0
    ///     How many lookups, counted from the first, are the client's.
    ///
    /// Returns
    /// -------
    /// IntegerGraph
    ///
    /// Raises
    /// ------
    /// GraphError
    ///     If the parts don't form a graph.
    /// ProofError
    ///     If a lookup index needs more than 16 bits, or an accumulator could leave
    ///     [-2**61, 2**61].
    /// InputTypeError
    ///     If an integer array doesn't hold integers.
    #[staticmethod]
    #[pyo3(signature = (input, layers, output, n_client_layers = None))]
    #[pyo3(text_signature = "(input, layers, output, n_client_layers=0)")]
    fn from_layers(
        input: &Bound<'_, PyDict>,
        layers: &Bound<'_, PyAny>,
        output: &Bound<'_, PyDict>,
        n_client_layers: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let input = layers::input(input)?;
        let specs = layers.try_iter()?.enumerate();
        let specs: Vec<_> = specs
            .map(|(position, part)| layers::layer(position, &part?))
            .collect::<PyResult<_>>()?;
        let output = layers::output(output)?;
        let graph = IntegerGraph::from_layers(input, specs, output).map_err(to_python)?;
        match n_client_layers {
            None => Ok(Self::new(graph)),
            Some(n) => {
                let n = options::index("n_client_layers", n)?;
                graph.with_client_layers(n).map(Self::new).map_err(to_python)
            }
        }
    }

    /// Cut the graph in two after a lookup.
    ///
    /// Parameters
    /// ----------
    /// n : int, optional
    ///     After how many lookups. Default: `n_client_layers`.
    ///
    /// Returns
    /// -------
    /// client, server : IntegerGraph
    ///     The first ends in codes, from which the second starts: ``server.simulate(
    ///     client.simulate(codes))`` equals ``graph.simulate(codes)``, and ``server.run(
    ///     client.run(X))`` equals ``graph.run(X)``, for every input.
    ///
    /// Raises
    /// ------
    /// GraphError
    ///     If `n` is not in [1, number of lookups], or left out where there is no client layer; or if
    ///     nothing would follow.
    #[pyo3(signature = (n = None))]
    fn split(&self, n: Option<&Bound<'_, PyAny>>) -> PyResult<(Self, Self)> {
        let n = n.map(|n| options::index("n", n)).transpose()?;
        let n = n.unwrap_or_else(|| self.graph().n_client_layers());
        let (client, server) = self.graph().split(n).map_err(to_python)?;
        Ok((Self::new(client), Self::new(server)))
    }

    /// Read a graph that :meth:`to_bytes` wrote, and validate it anew.
    ///
    /// Parameters
    /// ----------
    /// data : bytes
    ///     What :meth:`to_bytes` returned. It is never executed.
    ///
    /// Returns
    /// -------
    /// IntegerGraph
    ///
    /// Raises
    /// ------
    /// SerializationError
    ///     If the bytes are no stored graph, are damaged, or hold a graph that is not valid.
    #[staticmethod]
    fn from_bytes(data: &[u8]) -> PyResult<Self> {
        IntegerGraph::from_bytes(data).map(Self::new).map_err(to_python)
    }

    /// Return the graph as bytes; equal graphs give equal bytes.
    ///
    /// Returns
    /// -------
    /// bytes
    fn to_bytes<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.graph().to_bytes())
    }

    /// Return the graph's parts as numpy arrays, as :meth:`from_layers` takes them.
    ///
    /// Returns
    /// -------
    /// dict
    ///     With ``input``, ``layers``, ``output`` and ``n_client_layers``.
    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        layers::to_dict(py, self.graph())
    }

    /// Turn real features into codes: the client's quantizer.
    ///
    /// Parameters
    /// ----------
    /// X : array-like of shape (n_samples, n_features)
    ///     Finite numbers. ``float32`` and ``float64`` in C order are read in place.
    /// single : bool, default=False
    ///     Whether to take them in single precision, as a predictor does: ``float64`` is rounded to it.
    ///     Integers are read in place then, too.
    ///
    /// Returns
    /// -------
    /// ndarray of shape (n_samples, n_features), dtype uint16
    ///
    /// Raises
    /// ------
    /// InvalidInputError
    ///     If the shape is wrong or a value is NaN or infinite; for `single`, also if it is beyond
    ///     single precision, or an integer that would be rounded.
    /// InputTypeError
    ///     If the values are not real numbers.
    #[pyo3(
        signature = (x, *, single = false),
        text_signature = "($self, X, *, single=False)"
    )]
    fn quantize<'py>(
        &self,
        py: Python<'py>,
        x: &Bound<'py, PyAny>,
        single: bool,
    ) -> PyResult<Bound<'py, PyArray2<u16>>> {
        if single {
            let x = as_numbers("X", x)?;
            let rows = rows_of("X", x.shape(), self.graph().n_features())?;
            let x = x.as_numbers()?;
            return fill(py, rows, self.graph().n_features(), |out| {
                self.0.quantize_singles_into(x, out, None)
            });
        }
        match as_reals("X", x)? {
            Reals::Single(x) => self.quantize_rows(py, &x),
            Reals::Double(x) => self.quantize_rows(py, &x),
        }
    }

    /// Turn real features that are given column by column into codes, row by row.
    ///
    /// Parameters
    /// ----------
    /// columns : sequence of array-like of shape (n_samples,), as many as features
    ///     Finite numbers of any types, taken in single precision: ``float64`` is rounded to it.
    ///     Arrays that are contiguous are read in place.
    ///
    /// Returns
    /// -------
    /// ndarray of shape (n_samples, n_features), dtype uint16
    ///
    /// Raises
    /// ------
    /// InvalidInputError
    ///     If the shape is wrong, or a value is NaN, infinite, beyond single precision, or an integer
    ///     that it would round.
    /// InputTypeError
    ///     If the values are not real numbers.
    fn quantize_columns<'py>(
        &self,
        py: Python<'py>,
        columns: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyArray2<u16>>> {
        let columns = as_columns(columns)?;
        let columns: Vec<_> =
            columns.iter().map(BorrowedNumbers::as_numbers).collect::<PyResult<_>>()?;
        let rows = columns.first().map_or(0, Numbers::len);
        fill(py, rows, self.graph().n_features(), |out| {
            self.0.quantize_columns_into(&columns, out, None)
        })
    }

    /// Compute the output accumulators of rows of codes.
    ///
    /// Parameters
    /// ----------
    /// codes : array-like of shape (n_samples, n_features), integers
    ///     In [0, 2**n_bits - 1]. ``uint16`` in C order is read in place.
    /// p_error : float in [0, 1], default=0.0
    ///     Probability that noise carries an accumulator beyond half a step of its lookup, which then
    ///     reads the entry beside the right one, up or down; beyond the table's end it reads the end.
    ///     So a lookup errs with this probability, each independently; one that rounds approximately
    ///     errs more where its accumulator is near a threshold, less elsewhere. With 0, results are
    ///     exact.
    /// seed : int in [0, 2**64 - 1] or None, default=None
    ///     Decides which lookups err. The same seed gives the same result whatever the number of
    ///     threads; None takes a fresh one from the system.
    /// n_threads : int or None, default=None
    ///     Threads to use, at least 1; None takes as many as there are cores and enough rows for.
    /// path : str or None, default=None
    ///     How to compute; every way gives the same. None takes the fastest; ``"rows"``, ``"lanes"``,
    ///     ``"portable"``, ``"avx2"``, ``"avx512"`` and ``"avx512vbmi"`` are for tests and
    ///     measurements. One that the machine lacks, or that can't hold the graph's integers, gives
    ///     way to one that can.
    ///
    /// Returns
    /// -------
    /// ndarray of shape (n_samples, n_outputs), dtype int64
    ///
    /// Raises
    /// ------
    /// InvalidInputError
    ///     If the shape is wrong or a code is out of range.
    /// InputTypeError
    ///     If the codes are not integers.
    /// InvalidParameterError
    ///     If an option is out of range.
    #[pyo3(signature = (codes, *, p_error = 0.0, seed = None, n_threads = None, path = None))]
    fn simulate<'py>(
        &self,
        py: Python<'py>,
        codes: &Bound<'py, PyAny>,
        p_error: f64,
        seed: Option<&Bound<'py, PyAny>>,
        n_threads: Option<&Bound<'py, PyAny>>,
        path: Option<&str>,
    ) -> PyResult<Bound<'py, PyArray2<i64>>> {
        let options = options::of(p_error, seed, n_threads, path)?;
        let array = arrays::as_array("codes", codes)?;
        if arrays::is_type::<u16>(&array) {
            let codes = arrays::as_type::<u16>(&array)?;
            let rows = rows_of("codes", codes.shape(), self.graph().n_features())?;
            return self.simulate_rows(py, codes.as_slice()?, rows, options);
        }
        let codes = as_integers("codes", &array)?;
        let rows = rows_of("codes", codes.shape(), self.graph().n_features())?;
        let codes = self.graph().input().codes_from(codes.as_slice()?).map_err(to_python)?;
        self.simulate_rows(py, &codes, rows, options)
    }

    /// Turn output accumulators into real values.
    ///
    /// Parameters
    /// ----------
    /// accumulators : array-like of shape (n_samples, n_outputs), integers
    ///
    /// Returns
    /// -------
    /// ndarray of shape (n_samples, n_outputs), dtype float64
    ///
    /// Raises
    /// ------
    /// InvalidInputError
    ///     If the shape is wrong.
    /// InputTypeError
    ///     If the accumulators are not integers.
    fn dequantize<'py>(
        &self,
        py: Python<'py>,
        accumulators: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyArray2<f64>>> {
        let accumulators = as_integers("accumulators", accumulators)?;
        let rows = rows_of("accumulators", accumulators.shape(), self.graph().n_outputs())?;
        let accumulators = accumulators.as_slice()?;
        fill(py, rows, self.graph().n_outputs(), |out| self.0.dequantize_into(accumulators, out))
    }

    /// Quantize, simulate and dequantize in one go, without storing codes.
    ///
    /// Parameters
    /// ----------
    /// X : array-like of shape (n_samples, n_features)
    ///     Finite numbers. ``float32`` and ``float64`` in C order are read in place.
    /// single : bool, default=False
    ///     Whether to take them in single precision, as a predictor does: ``float64`` is rounded to it.
    ///     Integers are read in place then, too.
    /// p_error : float in [0, 1], default=0.0
    ///     Probability that a lookup errs: see :meth:`simulate`.
    /// seed : int in [0, 2**64 - 1] or None, default=None
    ///     Decides which lookups err: see :meth:`simulate`.
    /// n_threads : int or None, default=None
    ///     Threads to use, at least 1; None takes as many as there are cores and enough rows for.
    /// path : str or None, default=None
    ///     How to compute; every way gives the same. None takes the fastest; ``"rows"``, ``"lanes"``,
    ///     ``"portable"``, ``"avx2"``, ``"avx512"`` and ``"avx512vbmi"`` are for tests and
    ///     measurements. One that the machine lacks, or that can't hold the graph's integers, gives
    ///     way to one that can.
    ///
    /// Returns
    /// -------
    /// ndarray of shape (n_samples, n_outputs), dtype float64
    ///
    /// Raises
    /// ------
    /// InvalidInputError
    ///     If the shape is wrong or a value is NaN or infinite; for `single`, also if it is beyond
    ///     single precision, or an integer that would be rounded.
    /// InputTypeError
    ///     If the values are not real numbers.
    /// InvalidParameterError
    ///     If an option is out of range.
    #[expect(clippy::too_many_arguments, reason = "by name alone")]
    #[pyo3(
        signature = (x, *, single = false, p_error = 0.0, seed = None, n_threads = None, path = None),
        text_signature = "($self, X, *, single=False, p_error=0.0, seed=None, n_threads=None, path=None)"
    )]
    fn run<'py>(
        &self,
        py: Python<'py>,
        x: &Bound<'py, PyAny>,
        single: bool,
        p_error: f64,
        seed: Option<&Bound<'py, PyAny>>,
        n_threads: Option<&Bound<'py, PyAny>>,
        path: Option<&str>,
    ) -> PyResult<Bound<'py, PyArray2<f64>>> {
        let options = options::of(p_error, seed, n_threads, path)?;
        if single {
            let x = as_numbers("X", x)?;
            let rows = rows_of("X", x.shape(), self.graph().n_features())?;
            let x = x.as_numbers()?;
            return fill(py, rows, self.graph().n_outputs(), |out| {
                self.0.run_singles_into(x, out, options)
            });
        }
        match as_reals("X", x)? {
            Reals::Single(x) => self.run_rows(py, &x, options),
            Reals::Double(x) => self.run_rows(py, &x, options),
        }
    }

    /// Quantize, simulate and dequantize real features that are given column by column.
    ///
    /// Parameters
    /// ----------
    /// columns : sequence of array-like of shape (n_samples,), as many as features
    ///     Finite numbers of any types, taken in single precision: ``float64`` is rounded to it.
    ///     Arrays that are contiguous are read in place.
    /// p_error : float in [0, 1], default=0.0
    ///     Probability that a lookup errs: see :meth:`simulate`.
    /// seed : int in [0, 2**64 - 1] or None, default=None
    ///     Decides which lookups err: see :meth:`simulate`.
    /// n_threads : int or None, default=None
    ///     Threads to use, at least 1; None takes as many as there are cores and enough rows for.
    /// path : str or None, default=None
    ///     How to compute; every way gives the same: see :meth:`run`.
    ///
    /// Returns
    /// -------
    /// ndarray of shape (n_samples, n_outputs), dtype float64
    ///     What :meth:`run` gives of the same rows in ``float32``.
    ///
    /// Raises
    /// ------
    /// InvalidInputError
    ///     If the shape is wrong, or a value is NaN, infinite, beyond single precision, or an integer
    ///     that it would round.
    /// InputTypeError
    ///     If the values are not real numbers.
    /// InvalidParameterError
    ///     If an option is out of range.
    #[pyo3(signature = (columns, *, p_error = 0.0, seed = None, n_threads = None, path = None))]
    fn run_columns<'py>(
        &self,
        py: Python<'py>,
        columns: &Bound<'py, PyAny>,
        p_error: f64,
        seed: Option<&Bound<'py, PyAny>>,
        n_threads: Option<&Bound<'py, PyAny>>,
        path: Option<&str>,
    ) -> PyResult<Bound<'py, PyArray2<f64>>> {
        let options = options::of(p_error, seed, n_threads, path)?;
        let columns = as_columns(columns)?;
        let columns: Vec<_> =
            columns.iter().map(BorrowedNumbers::as_numbers).collect::<PyResult<_>>()?;
        let rows = columns.first().map_or(0, Numbers::len);
        fill(py, rows, self.graph().n_outputs(), |out| {
            self.0.run_columns_into(&columns, out, options)
        })
    }

    /// Prove the width of every accumulator, for every input that the quantizer can emit.
    ///
    /// Parameters
    /// ----------
    /// max_bits : int in [1, 63] or None, default=None
    ///     Bits that every accumulator must fit, counted from its minimum.
    ///
    /// Returns
    /// -------
    /// Certificate
    ///
    /// Raises
    /// ------
    /// ProofError
    ///     If an accumulator needs more; it names the widest neuron of the first layer that does.
    /// InvalidParameterError
    ///     If ``max_bits`` is out of range.
    #[pyo3(signature = (max_bits = None))]
    fn prove(slf: Bound<'_, Self>, max_bits: Option<&Bound<'_, PyAny>>) -> PyResult<PyCertificate> {
        let max_bits = max_bits.map(|bits| options::integer("max_bits", bits)).transpose()?;
        let certificate = slf.get().graph().prove(max_bits).map_err(to_python)?;
        Ok(PyCertificate::new(certificate, slf.into_any().unbind()))
    }

    /// SHA-256 of the graph's bytes, in hexadecimal.
    #[getter]
    fn digest(&self) -> &str {
        self.graph().digest()
    }

    /// Number of input features.
    #[getter]
    fn n_features(&self) -> usize {
        self.graph().n_features()
    }

    /// Number of outputs.
    #[getter]
    fn n_outputs(&self) -> usize {
        self.graph().n_outputs()
    }

    /// Bits of an input code.
    #[getter]
    fn n_bits(&self) -> u8 {
        self.graph().input().n_bits().get()
    }

    /// Lookups, counted from the first, that the client computes in clear.
    #[getter]
    fn n_client_layers(&self) -> usize {
        self.graph().n_client_layers()
    }

    /// Whether outputs are codes of a lookup, not accumulators.
    #[getter]
    fn ends_in_codes(&self) -> bool {
        self.graph().ends_in_codes()
    }

    /// Encrypted table lookups, so programmable bootstrappings, per row.
    #[getter]
    fn n_lookups(&self) -> usize {
        self.graph().n_lookups()
    }

    fn __repr__(&self) -> PyResult<String> {
        let graph = self.graph();
        let sizes = graph.stages().map(|stage| stage.linear.n_outputs());
        let sizes: Vec<_> = [graph.n_features()].into_iter().chain(sizes).collect();
        let sizes: Vec<_> = sizes.iter().map(usize::to_string).collect();
        let bits = graph.prove(None).map_err(to_python)?.max_accumulator_bits();
        let client = match graph.n_client_layers() {
            0 => String::new(),
            1 => ", 1 layer in clear at the client".to_owned(),
            n => format!(", {n} layers in clear at the client"),
        };
        Ok(format!(
            "IntegerGraph({}, {}-bit inputs{client}, {} lookups, accumulators of {bits} bits, {})",
            sizes.join(" -> "),
            self.n_bits(),
            self.n_lookups(),
            &self.digest()[..8],
        ))
    }

    /// Describe the graph as HTML, for notebooks.
    fn _repr_html_(slf: Bound<'_, Self>) -> PyResult<String> {
        let pages = slf.py().import("cipherfit.pages.graphs")?;
        pages.call_method1("graph_html", (slf,))?.extract()
    }

    fn __reduce__<'py>(
        &self,
        py: Python<'py>,
    ) -> PyResult<(Bound<'py, PyAny>, (Bound<'py, PyBytes>,))> {
        Ok((py.get_type::<Self>().getattr("from_bytes")?, (self.to_bytes(py),)))
    }

    fn __copy__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __deepcopy__<'py>(slf: Bound<'py, Self>, _memo: &Bound<'py, PyAny>) -> Bound<'py, Self> {
        slf
    }
}

impl PyIntegerGraph {
    fn new(graph: IntegerGraph) -> Self {
        Self(Simulator::new(graph))
    }

    pub fn graph(&self) -> &IntegerGraph {
        self.0.graph()
    }

    fn quantize_rows<'py, T: Real + numpy::Element>(
        &self,
        py: Python<'py>,
        x: &arrays::Borrowed<'py, T>,
    ) -> PyResult<Bound<'py, PyArray2<u16>>> {
        let rows = rows_of("X", x.shape(), self.graph().n_features())?;
        let x = x.as_slice()?;
        fill(py, rows, self.graph().n_features(), |out| self.0.quantize_into(x, out, None))
    }

    fn simulate_rows<'py>(
        &self,
        py: Python<'py>,
        codes: &[u16],
        rows: usize,
        options: Options,
    ) -> PyResult<Bound<'py, PyArray2<i64>>> {
        fill(py, rows, self.graph().n_outputs(), |out| self.0.simulate_into(codes, out, options))
    }

    fn run_rows<'py, T: Real + numpy::Element>(
        &self,
        py: Python<'py>,
        x: &arrays::Borrowed<'py, T>,
        options: Options,
    ) -> PyResult<Bound<'py, PyArray2<f64>>> {
        let rows = rows_of("X", x.shape(), self.graph().n_features())?;
        let x = x.as_slice()?;
        fill(py, rows, self.graph().n_outputs(), |out| self.0.run_into(x, out, options))
    }
}
