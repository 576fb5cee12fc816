//! The encrypted linear layer in Python: messages are bytes, checked when they are read.

use cipherfit_bfv::{Client, PublicKey, SecretKey, Server, Specs};
use numpy::{PyArray1, PyArrayDyn, PyArrayMethods, PyUntypedArrayMethods};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::arrays::{as_array, as_integers, as_type, is_type, wrong_shape};
use crate::error::bfv_to_python;
use crate::graph::PyIntegerGraph;
use crate::options;

/// Whether codes of this shape are one row alone.
fn shape_of(shape: &[usize], width: usize) -> PyResult<bool> {
    match *shape {
        [columns] if columns == width => Ok(true),
        [_, columns] if columns == width => Ok(false),
        _ => Err(wrong_shape("codes", &format!("(n, {width}) or ({width},)"), shape)),
    }
}

fn checked<T>(result: Result<T, cipherfit_bfv::Error>) -> PyResult<T> {
    result.map_err(|error| bfv_to_python(&error))
}

/// Public parameters of a BFV circuit: sizes and widths, no weights.
#[pyclass(name = "BfvSpecs", module = "cipherfit._core", frozen)]
pub struct PyBfvSpecs(Specs);

#[pymethods]
impl PyBfvSpecs {
    /// Read what :meth:`to_bytes` wrote.
    ///
    /// Parameters
    /// ----------
    /// data : bytes
    ///
    /// Returns
    /// -------
    /// BfvSpecs
    ///
    /// Raises
    /// ------
    /// SerializationError
    ///     If the bytes are no specs, or name parameters that are not in use.
    #[staticmethod]
    fn from_bytes(data: &[u8]) -> PyResult<Self> {
        checked(Specs::from_bytes(data)).map(Self)
    }

    /// Return these specs as bytes.
    ///
    /// Returns
    /// -------
    /// bytes
    fn to_bytes<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.0.to_bytes())
    }

    /// Features per row.
    #[getter]
    fn n_features(&self) -> usize {
        self.0.n_features()
    }

    /// Sums per row.
    #[getter]
    fn n_outputs(&self) -> usize {
        self.0.n_outputs()
    }

    /// The largest code.
    #[getter]
    fn max_code(&self) -> u16 {
        self.0.max_code()
    }

    /// Degree N of the ring.
    #[getter]
    fn degree(&self) -> usize {
        self.0.parameters().degree()
    }

    /// Ciphertext modulus q.
    #[getter]
    fn modulus(&self) -> u128 {
        self.0.parameters().ring().modulus()
    }

    /// Primes whose product is the modulus.
    #[getter]
    fn primes(&self) -> Vec<u64> {
        self.0.parameters().ring().primes().collect()
    }

    /// Bits of the plaintext modulus, ``t = 2**sum_bits``.
    #[getter]
    fn sum_bits(&self) -> u32 {
        self.0.parameters().sum_bits()
    }

    /// Bits of the scale of a message.
    #[getter]
    fn scale_bits(&self) -> u32 {
        self.0.parameters().scale_bits()
    }

    /// Low bits of an answer's coefficients that are rounded away.
    #[getter]
    fn dropped_bits(&self) -> u32 {
        self.0.parameters().dropped_bits()
    }

    /// Statistical bits with which a row's answer hides the weights beyond its sums.
    #[getter]
    fn flooding_bits(&self) -> u8 {
        self.0.flooding_bits()
    }

    /// Features and outputs of a ciphertext, and its rows, in each layout.
    #[getter]
    fn layouts(&self) -> Vec<(usize, usize, usize)> {
        let grids = self.0.grids().iter();
        grids.map(|grid| (grid.features, grid.outputs, grid.rows)).collect()
    }

    /// Bytes of a public key.
    #[getter]
    fn public_key_bytes(&self) -> usize {
        self.0.public_key_bytes()
    }

    /// Return the position of the layout that rows are encrypted in.
    ///
    /// Parameters
    /// ----------
    /// n_rows : int
    ///
    /// Returns
    /// -------
    /// int
    fn layout_of(&self, n_rows: usize) -> usize {
        self.0.layout_of(n_rows)
    }

    /// Return what so many rows cost, client and server together, in products of two polynomials.
    ///
    /// Parameters
    /// ----------
    /// n_rows : int
    ///
    /// Returns
    /// -------
    /// int
    fn cost(&self, n_rows: usize) -> usize {
        self.0.grids()[self.0.layout_of(n_rows)].cost(n_rows)
    }

    /// Return the bytes of the encryption of so many rows.
    ///
    /// Parameters
    /// ----------
    /// n_rows : int
    ///
    /// Returns
    /// -------
    /// int
    fn request_bytes(&self, n_rows: usize) -> usize {
        self.0.request_bytes(n_rows)
    }

    /// Return the bytes of the answer to so many rows.
    ///
    /// Parameters
    /// ----------
    /// n_rows : int
    ///
    /// Returns
    /// -------
    /// int
    fn answer_bytes(&self, n_rows: usize) -> usize {
        self.0.answer_bytes(n_rows)
    }
}

/// Encrypts rows and decrypts their sums: holds a secret key.
#[pyclass(name = "BfvClient", module = "cipherfit._core", frozen)]
pub struct PyBfvClient(Client);

#[pymethods]
impl PyBfvClient {
    /// Make new keys.
    ///
    /// Parameters
    /// ----------
    /// specs : BfvSpecs
    ///
    /// Returns
    /// -------
    /// BfvClient
    #[staticmethod]
    fn generate(py: Python<'_>, specs: &PyBfvSpecs) -> PyResult<Self> {
        let specs = specs.0.clone();
        let key = checked(py.detach(|| SecretKey::generate(&specs)))?;
        Ok(Self(Client::new(specs, key)))
    }

    /// Take keys that :meth:`secret_key` gave.
    ///
    /// Parameters
    /// ----------
    /// specs : BfvSpecs
    /// data : bytes
    ///
    /// Returns
    /// -------
    /// BfvClient
    ///
    /// Raises
    /// ------
    /// SerializationError
    ///     If the bytes are no secret key for these specs.
    #[staticmethod]
    fn from_secret_key(specs: &PyBfvSpecs, data: &[u8]) -> PyResult<Self> {
        let specs = specs.0.clone();
        let key = checked(SecretKey::from_bytes(&specs, data))?;
        Ok(Self(Client::new(specs, key)))
    }

    /// Return the secret key, which decrypts all that is encrypted by this client.
    ///
    /// Returns
    /// -------
    /// bytes
    fn secret_key<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.0.key().to_bytes(self.0.specs()))
    }

    /// Return the public key, which servers hide their weights with.
    ///
    /// Returns
    /// -------
    /// bytes
    fn public_key<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &py.detach(|| self.0.key().public_key(self.0.specs())))
    }

    /// Encrypt rows.
    ///
    /// Parameters
    /// ----------
    /// codes : array-like of shape (n_samples, n_features), integers
    ///     In [0, max_code]. ``uint16`` in C order is read in place.
    ///     One row of shape (n_features,) has an answer of one row.
    ///
    /// Returns
    /// -------
    /// bytes
    ///
    /// Raises
    /// ------
    /// InvalidInputError
    ///     If the shape is wrong or a code is out of range.
    /// InputTypeError
    ///     If the codes are not integers.
    fn encrypt<'py>(
        &self,
        py: Python<'py>,
        codes: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let array = as_array("codes", codes)?;
        let is_row = shape_of(array.shape(), self.0.specs().n_features())?;
        let client = &self.0;
        let encrypt = |codes: &[u16]| {
            if is_row { client.encrypt_row(codes) } else { client.encrypt(codes) }
        };
        let request = if is_type::<u16>(&array) {
            let codes = as_type::<u16>(&array)?;
            let codes = codes.as_slice()?;
            py.detach(|| encrypt(codes))
        } else {
            let codes = as_integers("codes", &array)?;
            let codes = checked(self.0.specs().codes_from(codes.as_slice()?))?;
            py.detach(|| encrypt(&codes))
        };
        Ok(PyBytes::new(py, &checked(request)?))
    }

    /// Decrypt an answer.
    ///
    /// Parameters
    /// ----------
    /// answer : bytes
    ///
    /// Returns
    /// -------
    /// ndarray of shape (n_samples, n_outputs) or (n_outputs,), dtype int64
    ///     As what was encrypted.
    ///
    /// Raises
    /// ------
    /// SerializationError
    ///     If the bytes are no answer for these specs.
    /// InvalidInputError
    ///     If the answer is to rows of other keys.
    fn decrypt<'py>(
        &self,
        py: Python<'py>,
        answer: &[u8],
    ) -> PyResult<Bound<'py, PyArrayDyn<i64>>> {
        let sums = checked(py.detach(|| self.0.decrypt(answer)))?;
        let width = self.0.specs().n_outputs();
        let shape = if sums.is_row { vec![width] } else { vec![sums.values.len() / width, width] };
        PyArray1::from_vec(py, sums.values).reshape(shape)
    }
}

/// A client's public key, checked: what a server hides its weights with.
#[pyclass(name = "BfvPublicKey", module = "cipherfit._core", frozen)]
pub struct PyBfvPublicKey(PublicKey);

#[pymethods]
impl PyBfvPublicKey {
    /// Read what :meth:`BfvClient.public_key` gave.
    ///
    /// Parameters
    /// ----------
    /// specs : BfvSpecs
    /// data : bytes
    ///
    /// Returns
    /// -------
    /// BfvPublicKey
    ///
    /// Raises
    /// ------
    /// SerializationError
    ///     If the bytes are no public key for these specs.
    #[staticmethod]
    fn from_bytes(specs: &PyBfvSpecs, data: &[u8]) -> PyResult<Self> {
        checked(PublicKey::from_bytes(&specs.0, data)).map(Self)
    }
}

/// Computes sums of encrypted rows: holds weights, and no key.
#[pyclass(name = "BfvServer", module = "cipherfit._core", frozen)]
pub struct PyBfvServer(Server);

#[pymethods]
impl PyBfvServer {
    /// Choose parameters for a graph, and prove that noise changes no sum.
    ///
    /// Parameters
    /// ----------
    /// graph : IntegerGraph
    ///     Without lookups.
    /// flooding_bits : int in [0, 64] or None, default=None
    ///     Statistical bits with which a row's answer hides the weights beyond its sums.
    ///
    /// Returns
    /// -------
    /// BfvServer
    ///
    /// Raises
    /// ------
    /// CompilationError
    ///     If the graph has lookups, or no parameters fit.
    /// InvalidParameterError
    ///     If ``flooding_bits`` is out of range.
    #[staticmethod]
    #[pyo3(signature = (graph, flooding_bits = None))]
    fn compile(
        py: Python<'_>,
        graph: &PyIntegerGraph,
        flooding_bits: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let bits = flooding_bits.map(|bits| options::integer("flooding_bits", bits)).transpose()?;
        let graph = graph.graph();
        checked(py.detach(|| Server::new(graph, bits))).map(Self)
    }

    /// Read what :meth:`to_bytes` wrote, and prove it anew.
    ///
    /// Parameters
    /// ----------
    /// data : bytes
    ///
    /// Returns
    /// -------
    /// BfvServer
    ///
    /// Raises
    /// ------
    /// SerializationError
    ///     If the bytes are no server.
    #[staticmethod]
    fn from_bytes(py: Python<'_>, data: &[u8]) -> PyResult<Self> {
        checked(py.detach(|| Server::from_bytes(data))).map(Self)
    }

    /// Return the server as bytes, its weights included.
    ///
    /// Returns
    /// -------
    /// bytes
    fn to_bytes<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.0.to_bytes())
    }

    /// Public parameters, which clients are made from.
    #[getter]
    fn specs(&self) -> PyBfvSpecs {
        PyBfvSpecs(self.0.specs().clone())
    }

    /// Compute the sums of encrypted rows.
    ///
    /// Parameters
    /// ----------
    /// request : bytes
    ///     What :meth:`BfvClient.encrypt` gave.
    /// public_key : BfvPublicKey
    ///     Of the same client.
    ///
    /// Returns
    /// -------
    /// bytes
    ///
    /// Raises
    /// ------
    /// SerializationError
    ///     If the bytes are no encrypted rows for this server.
    /// InvalidInputError
    ///     If the rows were encrypted under other keys.
    fn run<'py>(
        &self,
        py: Python<'py>,
        request: &[u8],
        public_key: &PyBfvPublicKey,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let key = &public_key.0;
        Ok(PyBytes::new(py, &checked(py.detach(|| self.0.run(request, key)))?))
    }
}
