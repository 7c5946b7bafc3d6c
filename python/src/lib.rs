//! The Python package `framelane`, as far as it is Rust: connection, threads, and values between CBOR and Python.
//!
//! Everything that Python code sees lies in `lib/framelane/`; this is its module `_framelane`, which is nobody
//! else's. A [`run::Run`] works in the background, on threads that hold the interpreter only while they call a
//! task's function ([`function`]). Values cross in [`read`] and [`write`], arrays in [`array`], and bytes without
//! a copy in [`body`].

mod array;
mod body;
mod client;
mod error;
mod function;
mod log;
mod read;
mod run;
mod write;

use pyo3::prelude::*;

/// The native half of the package.
#[pymodule]
mod _framelane {
    #[pymodule_export]
    use crate::body::Body;
    #[pymodule_export]
    use crate::client::{Answer, Pusher};
    #[pymodule_export]
    use crate::error::{Bad, Error, NotAdmitted};
    #[pymodule_export]
    use crate::log::log_to_stderr;
    #[pymodule_export]
    use crate::run::{Run, check_name, enrol, work};
}
