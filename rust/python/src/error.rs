//! One mapping from the errors of the Rust crates to Python's exceptions.

use cipherfit_bfv::Error as BfvError;
use cipherfit_core::Error;
use cipherfit_core::error::ProofError as CoreProofError;
use pyo3::import_exception;
use pyo3::prelude::*;

import_exception!(cipherfit.exceptions, CipherfitError);
import_exception!(cipherfit.exceptions, CompilationError);
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

/// The Python exception for an error of the encrypted back end.
pub fn bfv_to_python(error: &BfvError) -> PyErr {
    let message = error.to_string();
    match error {
        BfvError::Lookups { .. } | BfvError::NoParameters { .. } => {
            CompilationError::new_err(message)
        }
        BfvError::OutOfRange { .. } => InvalidParameterError::new_err(message),
        BfvError::Shape { .. }
        | BfvError::TooManyRows { .. }
        | BfvError::CodeOutOfRange { .. }
        | BfvError::OtherKeys { .. } => InvalidInputError::new_err(message),
        BfvError::Message(_) => SerializationError::new_err(message),
        BfvError::Randomness(_) | BfvError::Internal(_) => CipherfitError::new_err(message),
    }
}
