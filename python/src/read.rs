//! From a message to a Python object.

use std::fmt;

use pyo3::IntoPyObjectExt;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList};
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use wire::{Message, Object};

use crate::body::Body;
use crate::{array, function::BESIDE};

/// The object that a message means. Called with the interpreter at hand, since it makes objects.
pub(crate) fn object(py: Python<'_>, message: Message) -> Result<Py<PyAny>, String> {
    let object = Object::<Plain>::read(message).map_err(|error| error.to_string())?;
    let made = match object {
        Object::Plain(Plain(value)) => Ok(value),
        Object::Array(array) => array::to_numpy(py, &array),
        Object::Raw(body) => view(py, body),
        Object::Beside(Plain(head), body) => view(py, body).and_then(|body| {
            Ok(BESIDE.import(py, "framelane._task", "Beside")?.call1((head, body))?.unbind())
        }),
    };
    made.map_err(|error| error.to_string())
}

/// Bytes as a `memoryview`, so that they need not be copied.
fn view(py: Python<'_>, body: bytes::Bytes) -> PyResult<Py<PyAny>> {
    let body = Bound::new(py, Body::new(body))?;
    Ok(pyo3::types::PyMemoryView::from(&body)?.into_any().unbind())
}

/// Any value of CBOR, as Python has it.
struct Plain(Py<PyAny>);

impl<'de> Deserialize<'de> for Plain {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Maker)
    }
}

struct Maker;

/// The caller has the interpreter already, so this only counts.
fn make<E: Error>(value: impl for<'py> IntoPyObject<'py>) -> Result<Plain, E> {
    Python::attach(|py| value.into_py_any(py).map(Plain).map_err(E::custom))
}

impl<'de> Visitor<'de> for Maker {
    type Value = Plain;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number, text, bytes, a list, a map, true, false or null")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Plain, E> {
        make(value)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Plain, E> {
        make(value)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Plain, E> {
        make(value)
    }

    fn visit_i128<E: Error>(self, value: i128) -> Result<Plain, E> {
        make(value)
    }

    fn visit_u128<E: Error>(self, value: u128) -> Result<Plain, E> {
        make(value)
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Plain, E> {
        make(value)
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Plain, E> {
        Python::attach(|py| Ok(Plain(pyo3::types::PyString::new(py, value).into_any().unbind())))
    }

    fn visit_bytes<E: Error>(self, value: &[u8]) -> Result<Plain, E> {
        Python::attach(|py| Ok(Plain(PyBytes::new(py, value).into_any().unbind())))
    }

    fn visit_none<E: Error>(self) -> Result<Plain, E> {
        Python::attach(|py| Ok(Plain(py.None())))
    }

    fn visit_unit<E: Error>(self) -> Result<Plain, E> {
        self.visit_none()
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Plain, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Plain, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Plain, A::Error> {
        Python::attach(|py| {
            let list = PyList::empty(py);
            while let Some(Plain(item)) = items.next_element()? {
                list.append(item).map_err(A::Error::custom)?;
            }
            Ok(Plain(list.into_any().unbind()))
        })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Plain, A::Error> {
        Python::attach(|py| {
            let dict = PyDict::new(py);
            while let Some((Plain(key), Plain(value))) = entries.next_entry()? {
                // What cannot be hashed cannot be a key in Python, such as a list.
                dict.set_item(key, value).map_err(A::Error::custom)?;
            }
            Ok(Plain(dict.into_any().unbind()))
        })
    }
}
