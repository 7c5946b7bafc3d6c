//! The exceptions, and which of ours becomes which.

use pyo3::create_exception;
use pyo3::exceptions::{PyException, PyRuntimeError};
use pyo3::prelude::*;
use worker::identity::SeatError;
use worker::node::RunError;

create_exception!(
    framelane,
    Bad,
    PyException,
    "Raised by a task: the job itself is at fault, and no other worker would fare better."
);
create_exception!(
    framelane,
    Error,
    PyRuntimeError,
    "This worker cannot go on, and the text says what to do."
);
create_exception!(
    framelane,
    NotAdmitted,
    Error,
    "The server does not let this worker in, and only another token can help."
);

pub(crate) fn seat(error: &SeatError) -> PyErr {
    match error.needs_token() {
        true => NotAdmitted::new_err(error.to_string()),
        false => Error::new_err(error.to_string()),
    }
}

pub(crate) fn run(error: &RunError) -> PyErr {
    match error.needs_enrolment() {
        true => NotAdmitted::new_err(error.to_string()),
        false => Error::new_err(error.to_string()),
    }
}
