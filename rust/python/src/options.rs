//! Options as Python gives them: integers of any size, checked to be what the core takes.

use std::num::NonZeroUsize;

use cipherfit_core::error::ParameterError;
use cipherfit_core::simulate::{Noise, Options, Path};
use pyo3::exceptions::PyOverflowError;
use pyo3::prelude::*;

use crate::error::{InvalidParameterError, to_python};

/// `value` as a 64-bit integer.
pub fn integer(name: &str, value: &Bound<'_, PyAny>) -> PyResult<i64> {
    value.extract().map_err(|error: PyErr| too_large(name, value, error))
}

/// `value` as a number of things, from 0 on.
pub fn index(name: &'static str, value: &Bound<'_, PyAny>) -> PyResult<usize> {
    let value = integer(name, value)?;
    usize::try_from(value).map_err(|_| {
        let (low, high) = (0, i64::MAX.into());
        to_python(ParameterError::OutOfRange { name, value: value.into(), low, high })
    })
}

/// `value` as a number of threads.
pub fn threads(value: Option<&Bound<'_, PyAny>>) -> PyResult<Option<NonZeroUsize>> {
    let name = "n_threads";
    let Some(value) = value else { return Ok(None) };
    let threads = integer(name, value)?;
    match usize::try_from(threads).ok().and_then(NonZeroUsize::new) {
        Some(threads) => Ok(Some(threads)),
        None => Err(to_python(ParameterError::OutOfRange {
            name,
            value: threads.into(),
            low: 1,
            high: i64::MAX.into(),
        })),
    }
}

/// The path with this name, which need not be one that the machine has.
pub fn path(name: Option<&str>) -> PyResult<Option<Path>> {
    let Some(name) = name else { return Ok(None) };
    let paths = Path::ALL.into_iter();
    match paths.clone().find(|path| path_name(*path) == name) {
        Some(path) => Ok(Some(path)),
        None => Err(InvalidParameterError::new_err(format!(
            "path must be None or one of {:?}, got {name:?}",
            paths.map(path_name).collect::<Vec<_>>(),
        ))),
    }
}

fn path_name(path: Path) -> String {
    format!("{path:?}").to_lowercase()
}

/// How to evaluate, from keyword arguments.
pub fn of(
    p_error: f64,
    seed: Option<&Bound<'_, PyAny>>,
    n_threads: Option<&Bound<'_, PyAny>>,
    path: Option<&str>,
) -> PyResult<Options> {
    let (n_threads, path) = (threads(n_threads)?, self::path(path)?);
    Ok(Options { noise: noise(p_error, seed)?, n_threads, path })
}

/// Errors of lookups as rare as this; none with 0, which needs no seed.
fn noise(p_error: f64, seed: Option<&Bound<'_, PyAny>>) -> PyResult<Option<Noise>> {
    if p_error == 0.0 && seed.is_none() {
        return Ok(None);
    }
    Noise::new(p_error, self::seed(seed)?).map(Some).map_err(to_python)
}

/// `value` as a seed; a fresh one from the system where there is none.
fn seed(value: Option<&Bound<'_, PyAny>>) -> PyResult<u64> {
    let name = "seed";
    let Some(value) = value else {
        return getrandom::u64().map_err(|error| {
            InvalidParameterError::new_err(format!("the system gives no random seed: {error}"))
        });
    };
    let seed: i128 = value.extract().map_err(|error: PyErr| too_large(name, value, error))?;
    u64::try_from(seed).map_err(|_| {
        let (low, high) = (0, u64::MAX.into());
        to_python(ParameterError::OutOfRange { name, value: seed, low, high })
    })
}

fn too_large(name: &str, value: &Bound<'_, PyAny>, error: PyErr) -> PyErr {
    if error.is_instance_of::<PyOverflowError>(value.py()) {
        InvalidParameterError::new_err(format!("{name} is out of range: {value}"))
    } else {
        error
    }
}
