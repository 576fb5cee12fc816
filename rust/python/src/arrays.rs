//! NumPy arrays in and out: borrowed where type and layout are right, else converted with checks.

use cipherfit_core::simulate::Numbers;
use numpy::{
    Element, PyArray2, PyArrayDescrMethods, PyArrayDyn, PyArrayMethods, PyReadonlyArrayDyn,
    PyUntypedArray, PyUntypedArrayMethods, dtype,
};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::IntoPyDict;

use crate::error::{InputTypeError, InvalidInputError, to_python};

/// A C-contiguous array whose memory can be read as a slice.
pub struct Borrowed<'py, T: Element>(PyReadonlyArrayDyn<'py, T>);

impl<T: Element> Borrowed<'_, T> {
    /// The array's memory.
    pub fn as_slice(&self) -> PyResult<&[T]> {
        Ok(self.0.as_slice()?)
    }

    /// The array's shape.
    pub fn shape(&self) -> &[usize] {
        self.0.shape()
    }
}

/// Real features in either width.
pub enum Reals<'py> {
    /// 32-bit.
    Single(Borrowed<'py, f32>),
    /// 64-bit.
    Double(Borrowed<'py, f64>),
}

macro_rules! borrowed_numbers {
    ($($kind:pat, $size:pat => $variant:ident($type:ty),)+) => {
        /// Numbers of any type that features have.
        pub enum BorrowedNumbers<'py> {
            $(
                #[doc = stringify!($type)]
                $variant(Borrowed<'py, $type>),
            )+
        }

        impl BorrowedNumbers<'_> {
            /// The array's memory.
            pub fn as_numbers(&self) -> PyResult<Numbers<'_>> {
                match self {
                    $(Self::$variant(array) => Ok(Numbers::$variant(array.as_slice()?)),)+
                }
            }

            /// The array's shape.
            pub fn shape(&self) -> &[usize] {
                match self {
                    $(Self::$variant(array) => array.shape(),)+
                }
            }
        }

        /// `value` as numbers of its type; half precision is widened, and booleans are 0 and 1.
        pub fn as_numbers<'py>(
            name: &str,
            value: &Bound<'py, PyAny>,
        ) -> PyResult<BorrowedNumbers<'py>> {
            let array = as_array(name, value)?;
            match (array.dtype().kind(), array.dtype().itemsize()) {
                $(($kind, $size) => Ok(BorrowedNumbers::$variant(as_type(&array)?)),)+
                _ => Err(wrong_type(name, "real numbers", &array)),
            }
        }
    };
}
borrowed_numbers! {
    b'f', 2 | 4 => F32(f32),
    b'f', _ => F64(f64),
    b'i', 1 => I8(i8),
    b'i', 2 => I16(i16),
    b'i', 4 => I32(i32),
    b'i', _ => I64(i64),
    b'u' | b'b', 1 => U8(u8),
    b'u', 2 => U16(u16),
    b'u', 4 => U32(u32),
    b'u', _ => U64(u64),
}

/// Each of `columns` as numbers of its type.
pub fn as_columns<'py>(columns: &Bound<'py, PyAny>) -> PyResult<Vec<BorrowedNumbers<'py>>> {
    let column = |column: PyResult<_>| {
        let column = as_numbers("a column", &column?)?;
        match column.shape() {
            [_] => Ok(column),
            shape => Err(wrong_shape("a column", "(n,)", shape)),
        }
    };
    columns.try_iter()?.map(column).collect()
}

/// `value` as an array of any type.
pub fn as_array<'py>(
    name: &str,
    value: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyUntypedArray>> {
    if let Ok(array) = value.cast::<PyUntypedArray>() {
        return Ok(array.clone());
    }
    let py = value.py();
    let array = numpy_function(py, "asarray")?.call1((value,)).map_err(|error| {
        let message = format!("{name} can't be read as an array: {}", error.value(py));
        if error.is_instance_of::<PyTypeError>(py) {
            InputTypeError::new_err(message)
        } else if error.is_instance_of::<PyValueError>(py) {
            InvalidInputError::new_err(message)
        } else {
            error
        }
    })?;
    Ok(array.cast_into()?)
}

/// `value` as real numbers: `float32` and `float64` as they are, others widened to `float64`.
pub fn as_reals<'py>(name: &str, value: &Bound<'py, PyAny>) -> PyResult<Reals<'py>> {
    let array = as_array(name, value)?;
    match array.dtype().kind() {
        b'f' if is_type::<f32>(&array) => Ok(Reals::Single(as_type(&array)?)),
        b'f' | b'i' | b'u' | b'b' => Ok(Reals::Double(as_type(&array)?)),
        _ => Err(wrong_type(name, "real numbers", &array)),
    }
}

/// Whether the array's values are of type `T`.
pub fn is_type<T: Element>(array: &Bound<'_, PyUntypedArray>) -> bool {
    array.dtype().is_equiv_to(&dtype::<T>(array.py()))
}

/// `value` as real numbers of type `T`, another type converted to it.
pub fn as_real<'py, T: Element>(
    name: &str,
    value: &Bound<'py, PyAny>,
) -> PyResult<Borrowed<'py, T>> {
    let array = as_array(name, value)?;
    match array.dtype().kind() {
        b'f' | b'i' | b'u' | b'b' => as_type(&array),
        _ => Err(wrong_type(name, "real numbers", &array)),
    }
}

/// `value` as 64-bit integers; any integer type is, floats are not.
pub fn as_integers<'py>(name: &str, value: &Bound<'py, PyAny>) -> PyResult<Borrowed<'py, i64>> {
    let array = as_array(name, value)?;
    match array.dtype().kind() {
        b'i' => as_type(&array),
        b'u' => {
            let unsigned: Borrowed<'_, u64> = as_type(&array)?;
            match unsigned.as_slice()?.iter().find(|&&value| i64::try_from(value).is_err()) {
                None => as_type(&array),
                Some(value) => Err(InvalidInputError::new_err(format!(
                    "{name} has the value {value}, which is beyond 64-bit signed integers"
                ))),
            }
        }
        _ => Err(wrong_type(name, "integers", &array)),
    }
}

/// `array` as it is where its type is `T` and its layout C, else as a converted copy.
pub fn as_type<'py, T: Element>(array: &Bound<'py, PyUntypedArray>) -> PyResult<Borrowed<'py, T>> {
    if let Ok(typed) = array.cast::<PyArrayDyn<T>>()
        && typed.is_c_contiguous()
        && let Ok(borrowed) = typed.try_readonly()
        && borrowed.as_slice().is_ok()
    {
        return Ok(Borrowed(borrowed));
    }
    let py = array.py();
    let copy = numpy_function(py, "array")?
        .call((array, dtype::<T>(py)), Some(&[("order", "C")].into_py_dict(py)?))?;
    Ok(Borrowed(copy.cast_into::<PyArrayDyn<T>>()?.try_readonly()?))
}

/// Number of rows of `shape`, which must be `(n, width)`.
pub fn rows_of(name: &str, shape: &[usize], width: usize) -> PyResult<usize> {
    match *shape {
        [rows, columns] if columns == width => Ok(rows),
        _ => Err(wrong_shape(name, &format!("(n, {width})"), shape)),
    }
}

/// Rows and columns of `shape`, which must be `expected`.
pub fn matrix_of(name: &str, shape: &[usize], expected: &str) -> PyResult<[usize; 2]> {
    shape.try_into().map_err(|_| wrong_shape(name, expected, shape))
}

/// That `name` has `shape` and should have another.
pub fn wrong_shape(name: &str, expected: &str, shape: &[usize]) -> PyErr {
    let got = show_shape(shape);
    InvalidInputError::new_err(format!("{name} must have shape {expected}, got {got}"))
}

/// `shape` as Python writes it.
pub fn show_shape(shape: &[usize]) -> String {
    let sizes: Vec<_> = shape.iter().map(usize::to_string).collect();
    let trailing_comma = if shape.len() == 1 { "," } else { "" };
    format!("({}{trailing_comma})", sizes.join(", "))
}

/// A new array that `compute` fills while the GIL is released; Python's `MemoryError` where there is
/// no room for it.
pub fn fill<T: Element, E: Into<cipherfit_core::Error> + Send>(
    py: Python<'_>,
    rows: usize,
    columns: usize,
    compute: impl FnOnce(&mut [T]) -> Result<(), E> + Send,
) -> PyResult<Bound<'_, PyArray2<T>>> {
    let array = numpy_function(py, "empty")?.call1(((rows, columns), dtype::<T>(py)))?;
    let array = array.cast_into::<PyArray2<T>>()?;
    {
        let mut out = array.try_readwrite()?;
        let out = out.as_slice_mut()?;
        py.detach(|| compute(out)).map_err(to_python)?;
    }
    Ok(array)
}

fn wrong_type(name: &str, expected: &str, array: &Bound<'_, PyUntypedArray>) -> PyErr {
    InputTypeError::new_err(format!("{name} must hold {expected}, got dtype {}", array.dtype()))
}

fn numpy_function<'py>(py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyAny>> {
    static NUMPY: PyOnceLock<Py<PyModule>> = PyOnceLock::new();
    let numpy = NUMPY.get_or_try_init(py, || py.import("numpy").map(Bound::unbind))?;
    numpy.bind(py).getattr(name)
}
