//! The exceptions, and which of ours becomes which.

use pyo3::create_exception;
use pyo3::exceptions::{PyException, PyRuntimeError};
use pyo3::prelude::*;
use wire::Closed;
use wire::client::{EntryError, SubmitError};
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
    "This worker or client cannot go on, and the text says what to do."
);
create_exception!(
    framelane,
    NotAdmitted,
    Error,
    "The server does not let this worker or client in, and only another token can help."
);

pub(crate) fn seat(error: &SeatError) -> PyErr {
    told(error.needs_token(), error)
}

pub(crate) fn run(error: &RunError) -> PyErr {
    told(error.needs_enrolment(), error)
}

pub(crate) fn entry(error: &EntryError) -> PyErr {
    told(error.needs_token(), error)
}

pub(crate) fn submit(error: &SubmitError) -> PyErr {
    told(matches!(error, SubmitError::Closed(Closed::Revoked(_) | Closed::Expired)), error)
}

fn told(needs_token: bool, error: &dyn std::fmt::Display) -> PyErr {
    match needs_token {
        true => NotAdmitted::new_err(error.to_string()),
        false => Error::new_err(error.to_string()),
    }
}
