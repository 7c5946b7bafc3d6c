//! Arrays: ours and numpy's.
//!
//! numpy is imported when the first array comes or goes, so a task of plain values does without it.

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyDict, PyTuple, PyType};
use wire::{Array, DType};

use crate::body::Body;
use crate::write::shared;

static NDARRAY: PyOnceLock<Py<PyType>> = PyOnceLock::new();
static SCALAR: PyOnceLock<Py<PyType>> = PyOnceLock::new();

fn ndarray(py: Python<'_>) -> PyResult<&Bound<'_, PyType>> {
    NDARRAY.import(py, "numpy", "ndarray")
}

/// Whether numpy is there at all: a value can only be its if somebody has imported it.
fn numpy_is_loaded(py: Python<'_>) -> PyResult<bool> {
    py.import("sys")?.getattr("modules")?.contains("numpy")
}

/// Whether this is an array.
pub(crate) fn is_array(value: &Bound<'_, PyAny>) -> PyResult<bool> {
    let py = value.py();
    Ok(numpy_is_loaded(py)? && value.is_instance(ndarray(py)?)?)
}

/// A numpy number, such as `numpy.float32(1)`, as Python's own; none if it is no such thing.
pub(crate) fn scalar<'py>(value: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
    let py = value.py();
    if !numpy_is_loaded(py)? || !value.is_instance(SCALAR.import(py, "numpy", "generic")?)? {
        return Ok(None);
    }
    value.call_method0("item").map(Some)
}

/// An array over the very bytes that came, read-only.
pub(crate) fn to_numpy(py: Python<'_>, array: &Array) -> PyResult<Py<PyAny>> {
    let shape = PyTuple::new(py, array.shape())?;
    let named = PyDict::new(py);
    named.set_item("dtype", array.dtype().name())?;
    if !array.body().is_empty() {
        named.set_item("buffer", Bound::new(py, Body::new(array.body().clone()))?)?;
    }
    Ok(ndarray(py)?.call((shape,), Some(&named))?.unbind())
}

/// A copy of an array, in C order and little-endian, whatever it is now.
pub(crate) fn from_numpy(value: &Bound<'_, PyAny>) -> PyResult<Array> {
    let dtype = value.getattr("dtype")?;
    let name: String = dtype.getattr("name")?.extract()?;
    let Some(known) = DType::of_name(&name) else {
        let all: Vec<_> = DType::ALL.into_iter().map(DType::name).collect();
        return Err(PyTypeError::new_err(format!(
            "an array of {name} cannot travel; of these one can: {}",
            all.join(", ")
        )));
    };
    let shape: Vec<usize> = value.getattr("shape")?.extract()?;
    let value = match dtype.getattr("isnative")?.is_truthy()? == cfg!(target_endian = "little") {
        true => value.clone(),
        false => {
            let little = dtype.call_method1("newbyteorder", ("<",))?;
            value.call_method1("astype", (little,))?
        }
    };
    let body = value.call_method0("tobytes")?;
    let body = shared(body.cast::<PyBytes>()?);
    let array = Array::new(known, &shape, body).map_err(|error| PyValueError::new_err(error.to_string()))?;
    Ok(array)
}
