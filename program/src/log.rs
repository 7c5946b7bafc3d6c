//! Logging to stderr, or to a file without ever waiting for it.

mod file;

use std::fs::OpenOptions;
use std::io::IsTerminal;
use std::path::PathBuf;

use tracing_subscriber::EnvFilter;

/// What to log and where to, for a program's command line.
#[derive(Debug, Clone, clap::Args)]
pub struct Log {
    /// What to log: `info`, `debug`, or a filter such as `framelane_wire=debug,info`.
    #[arg(
        long = "log",
        env = "FRAMELANE_LOG",
        default_value = "info",
        value_name = "FILTER",
        global = true,
        id = "log"
    )]
    filter: String,
    /// Append the log to this file instead of writing it to stderr. The work never waits for the disk: what it
    /// cannot take in time, or not at all, is left out, and counted at the end.
    #[arg(
        long = "log-file",
        env = "FRAMELANE_LOG_FILE",
        value_name = "FILE",
        global = true,
        id = "log-file"
    )]
    file: Option<PathBuf>,
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
    /// The file cannot be opened.
    #[error("--log-file {}: {source}", path.display())]
    File {
        /// As given.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
}

/// A log that is open. Dropping it writes what still waits; a process that ends otherwise loses the last lines of
/// a file.
#[must_use = "the log to a file ends with it"]
pub struct Logging {
    _file: Option<file::Written>,
}

impl Log {
    /// To stderr, for a program with a command line of its own.
    pub fn to_stderr(filter: impl Into<String>) -> Self {
        Log { filter: filter.into(), file: None }
    }

    /// Starts logging; once in a process.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn start(&self) -> Result<Logging, LogError> {
        // The AMQP client calls each goodbye an error; what is one comes back from it, and is told by who called.
        let filter = EnvFilter::try_new(format!("lapin=off,{}", self.filter))
            .map_err(|source| LogError::Filter { filter: self.filter.clone(), source })?;
        let subscriber = tracing_subscriber::fmt().with_env_filter(filter);
        let Some(path) = &self.file else {
            subscriber.with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal()).init();
            return Ok(Logging { _file: None });
        };
        let opened = OpenOptions::new().create(true).append(true).open(path);
        let opened = opened.and_then(|file| file::Written::new(file, path));
        let (writer, written) = opened.map_err(|source| LogError::File { path: path.clone(), source })?;
        subscriber.with_writer(writer).with_ansi(false).init();
        Ok(Logging { _file: Some(written) })
    }
}
