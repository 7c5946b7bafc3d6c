//! Bytes of ours as a Python buffer, without a copy.
//!
//! This is the one file with `unsafe` in it: the buffer protocol is C, and PyO3 has no safe way to offer a
//! buffer. What must hold, and why it does, stands beside the one call.
#![allow(unsafe_code, reason = "the buffer protocol is C")]

use std::ffi::c_int;

use bytes::Bytes;
use pyo3::ffi;
use pyo3::prelude::*;

/// A job's body. It is read-only, and lives for as long as anything in Python looks at it.
#[pyclass(frozen, module = "framelane")]
pub(crate) struct Body(Bytes);

impl Body {
    pub(crate) fn new(bytes: Bytes) -> Self {
        Body(bytes)
    }
}

#[pymethods]
impl Body {
    fn __len__(&self) -> usize {
        self.0.len()
    }

    /// Where the bytes begin in memory: shows that nobody has copied them.
    #[getter]
    fn address(&self) -> usize {
        self.0.as_ptr() as usize
    }

    /// # Safety
    /// Called by Python alone, with a view that it owns.
    unsafe fn __getbuffer__(slf: Bound<'_, Self>, view: *mut ffi::Py_buffer, flags: c_int) -> PyResult<()> {
        const READ_ONLY: c_int = 1;
        let bytes = &slf.get().0;
        let len = ffi::Py_ssize_t::try_from(bytes.len())?;
        // SAFETY: `view` is Python's own, to be filled in. The bytes do not move and do not change while the
        // `Body` lives, since it is frozen and `Bytes` are immutable; the call takes a reference to the `Body` into
        // the view, so it lives for as long as the view does. A request to write is refused by the flag.
        let filled = unsafe {
            ffi::PyBuffer_FillInfo(
                view,
                slf.as_ptr(),
                bytes.as_ptr().cast_mut().cast(),
                len,
                READ_ONLY,
                flags,
            )
        };
        if filled == 0 { Ok(()) } else { Err(PyErr::fetch(slf.py())) }
    }
}
