//! The library's panics become errors.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::error::Error;

/// What `compute` returns, or the error that it stopped.
///
/// No bytes reach the arithmetic unchecked, so that it should never stop; if it does, results that
/// are half done are dropped.
pub fn guarded<T>(compute: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    catch_unwind(AssertUnwindSafe(compute)).unwrap_or_else(|reason| Err(stopped(reason.as_ref())))
}

fn stopped(reason: &(dyn Any + Send)) -> Error {
    let text = reason.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| reason.downcast_ref::<&str>().copied());
    Error::Internal(text.unwrap_or("no reason given").into())
}
