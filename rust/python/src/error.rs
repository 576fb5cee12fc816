//! One mapping from the core's errors to Python's exceptions.

use cipherfit_core::Error;
use cipherfit_core::error::ProofError as CoreProofError;
use pyo3::import_exception;
use pyo3::prelude::*;

import_exception!(cipherfit.exceptions, GraphError);
import_exception!(cipherfit.exceptions, InputTypeError);
import_exception!(cipherfit.exceptions, InvalidInputError);
import_exception!(cipherfit.exceptions, InvalidParameterError);
import_exception!(cipherfit.exceptions, ProofError);
import_exception!(cipherfit.exceptions, SerializationError);

/// The Python exception for an error of the core.
pub fn to_python(error: impl Into<Error>) -> PyErr {
    let error = error.into();
    let message = error.to_string();
    match error {
        Error::Parameter(_) => InvalidParameterError::new_err(message),
        Error::Input(_) => InvalidInputError::new_err(message),
        Error::Graph(_) => GraphError::new_err(message),
        Error::Proof(CoreProofError {
            layer,
            neuron,
            low,
            high,
            limit: _,
            bits_needed,
            bits_allowed,
        }) => ProofError::new_err((message, layer, neuron, low, high, bits_needed, bits_allowed)),
        Error::Serialization(_) => SerializationError::new_err(message),
    }
}
