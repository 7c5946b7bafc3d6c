//! Logging to stderr.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// What to log, for a program's command line.
#[derive(Debug, Clone, clap::Args)]
pub struct Log {
    /// What to log: `info`, `debug`, or a filter such as `framelane_worker=debug,info`.
    #[arg(
        long = "log",
        env = "FRAMELANE_LOG",
        default_value = "info",
        value_name = "FILTER",
        global = true,
        id = "log"
    )]
    filter: String,
}

/// Why nothing can be logged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// The filter is none.
    #[error("--log {filter}: not a filter: {source}")]
    Filter {
        /// As given.
        filter: String,
        /// What is wrong with it.
        source: tracing_subscriber::filter::ParseError,
    },
}

impl Log {
    /// Starts logging; once in a process.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn start(&self) -> Result<(), LogError> {
        let filter = EnvFilter::try_new(&self.filter)
            .map_err(|source| LogError::Filter { filter: self.filter.clone(), source })?;
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr)
            .with_ansi(std::io::stderr().is_terminal())
            .init();
        Ok(())
    }
}
