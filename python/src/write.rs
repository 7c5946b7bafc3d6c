//! From a Python object to a message.

use bytes::Bytes;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{
    PyBool, PyByteArray, PyBytes, PyDict, PyFloat, PyInt, PyList, PyMemoryView, PyString, PyTuple,
};
use serde::ser::{Error, Serialize, SerializeMap, SerializeSeq, Serializer};
use wire::{Message, Object};

use crate::array;
use crate::function::BESIDE;

/// How deep lists and dicts may lie in each other. A list that holds itself has no end; a reader of CBOR has one
/// of its own, at twice this.
const DEPTH: usize = 100;

/// The message for an object, or why there can be none.
pub(crate) fn message(value: &Bound<'_, PyAny>) -> Result<Message, String> {
    let object = object(value).map_err(|error| error.to_string())?;
    object.write().map_err(|error| match error {
        wire::PayloadError::Head(wire::framing::FrameError::HeadTooLong { limit, .. }) => format!(
            "a plain value has at most {limit} bytes when it is written; longer ones travel as bytes or as a numpy array"
        ),
        wire::PayloadError::Head(wire::framing::FrameError::Encode(why)) => why,
        other => other.to_string(),
    })
}

fn object<'a, 'py>(value: &'a Bound<'py, PyAny>) -> PyResult<Object<Plain<'a, 'py>>> {
    let py = value.py();
    if let Some(body) = raw(value)? {
        return Ok(Object::Raw(body));
    }
    if is_plain(value) {
        return Ok(Object::Plain(Plain { value, depth: 0 }));
    }
    if value.is_instance(BESIDE.import(py, "framelane._task", "Beside")?)? {
        let beside = value.cast::<PyTuple>()?;
        let body = beside.get_item(1)?;
        let Some(body) = raw(&body)? else {
            let kind = kind(&body);
            return Err(pyo3::exceptions::PyTypeError::new_err(format!(
                "the body of a Beside is bytes, and this is of type {kind}"
            )));
        };
        // The tuple holds it, and the caller holds the tuple.
        return Ok(Object::Beside(Plain { value, depth: HEAD_OF_BESIDE }, body));
    }
    if array::is_array(value)? {
        return array::from_numpy(value).map(Object::Array);
    }
    Ok(Object::Plain(Plain { value, depth: 0 }))
}

/// In the place of a depth: the value is a `Beside`, and its head is meant.
const HEAD_OF_BESIDE: usize = usize::MAX;

/// What Python has of its own and CBOR has too, found without asking whether it is something else.
fn is_plain(value: &Bound<'_, PyAny>) -> bool {
    value.is_exact_instance_of::<PyString>()
        || value.is_exact_instance_of::<PyDict>()
        || value.is_exact_instance_of::<PyList>()
        || value.is_exact_instance_of::<PyInt>()
        || value.is_exact_instance_of::<PyFloat>()
        || value.is_exact_instance_of::<PyBool>()
        || value.is_exact_instance_of::<PyTuple>()
        || value.is_none()
}

/// The bytes of an object that is bytes. Python's own are shared where that pays; others may change, and are
/// copied.
fn raw(value: &Bound<'_, PyAny>) -> PyResult<Option<Bytes>> {
    if let Ok(bytes) = value.cast::<PyBytes>() {
        return Ok(Some(shared(bytes)));
    }
    if let Ok(bytes) = value.cast::<PyByteArray>() {
        return Ok(Some(Bytes::from(bytes.to_vec())));
    }
    if let Ok(view) = value.cast::<PyMemoryView>() {
        return Ok(Some(shared(view.call_method0("tobytes")?.cast::<PyBytes>()?)));
    }
    Ok(None)
}

/// Below this a copy costs less than to hold the object, which is let go of on another thread.
const COPY_BELOW: usize = 4096;

/// Python's bytes as ours.
pub(crate) fn shared(bytes: &Bound<'_, PyBytes>) -> Bytes {
    match bytes.as_bytes() {
        few if few.len() < COPY_BELOW => Bytes::copy_from_slice(few),
        _ => Bytes::from_owner(PyBackedBytes::from(bytes.clone())),
    }
}

fn kind(value: &Bound<'_, PyAny>) -> String {
    value.get_type().fully_qualified_name().map_or_else(|_| "unknown".to_owned(), |name| name.to_string())
}

/// Any Python object that CBOR has a word for.
struct Plain<'a, 'py> {
    value: &'a Bound<'py, PyAny>,
    depth: usize,
}

impl Plain<'_, '_> {
    /// Writes what lies in this.
    fn inner<'b, 'py>(&self, value: &'b Bound<'py, PyAny>) -> Plain<'b, 'py> {
        Plain { value, depth: self.depth + 1 }
    }
}

impl Serialize for Plain<'_, '_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let value = self.value;
        if self.depth == HEAD_OF_BESIDE {
            let head = value.get_item(0).map_err(S::Error::custom)?;
            return Plain { value: &head, depth: 0 }.serialize(to);
        }
        if self.depth > DEPTH {
            return Err(S::Error::custom(format!(
                "lists and dicts lie more than {DEPTH} deep in each other"
            )));
        }
        if let Ok(text) = value.cast::<PyString>() {
            return to.serialize_str(&text.to_cow().map_err(S::Error::custom)?);
        }
        // Before int, which it is too.
        if let Ok(truth) = value.cast::<PyBool>() {
            return to.serialize_bool(truth.is_true());
        }
        if let Ok(number) = value.cast::<PyInt>() {
            return integer(number, to);
        }
        if let Ok(number) = value.cast::<PyFloat>() {
            return to.serialize_f64(number.value());
        }
        if value.is_none() {
            return to.serialize_none();
        }
        if let Ok(list) = value.cast::<PyList>() {
            let mut seq = to.serialize_seq(Some(list.len()))?;
            for item in list.iter() {
                seq.serialize_element(&self.inner(&item))?;
            }
            return seq.end();
        }
        if let Ok(tuple) = value.cast::<PyTuple>() {
            let mut seq = to.serialize_seq(Some(tuple.len()))?;
            for item in tuple.iter() {
                seq.serialize_element(&self.inner(&item))?;
            }
            return seq.end();
        }
        if let Ok(dict) = value.cast::<PyDict>() {
            let mut map = to.serialize_map(Some(dict.len()))?;
            for (key, value) in dict.iter() {
                map.serialize_entry(&self.inner(&key), &self.inner(&value))?;
            }
            return map.end();
        }
        if let Some(bytes) = raw(value).map_err(S::Error::custom)? {
            return to.serialize_bytes(&bytes);
        }
        match array::scalar(value).map_err(S::Error::custom)? {
            Some(number) => self.inner(&number).serialize(to),
            None => Err(S::Error::custom(stranger(value))),
        }
    }
}

fn integer<S: Serializer>(number: &Bound<'_, PyInt>, to: S) -> Result<S::Ok, S::Error> {
    if let Ok(number) = number.extract::<i64>() {
        return to.serialize_i64(number);
    }
    match number.extract::<i128>() {
        Ok(number) => to.serialize_i128(number),
        Err(_) => Err(S::Error::custom("an int has at most 127 bits here")),
    }
}

fn stranger(value: &Bound<'_, PyAny>) -> String {
    let kind = kind(value);
    match array::is_array(value) {
        Ok(true) => {
            "a numpy array travels alone, and cannot lie in a list or dict: return it as it is, or .tolist()"
                .into()
        }
        _ => format!(
            "a value of type {kind} cannot travel: numpy arrays, str, int, float, bool, None, bytes, and lists and \
             dicts of those can"
        ),
    }
}
