//! Logging of the Rust half, to stderr, as the worker's own program does.

use std::io::IsTerminal;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use tracing_subscriber::EnvFilter;

/// Starts logging with a filter such as `info`. The first call counts, others change nothing.
#[pyfunction]
pub(crate) fn log_to_stderr(filter: &str) -> PyResult<()> {
    let filter = EnvFilter::try_new(filter)
        .map_err(|error| PyValueError::new_err(format!("log={filter:?} is not a filter: {error}")))?;
    let started = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .try_init();
    // Somebody was first, which may be this function.
    drop(started);
    Ok(())
}
