//! Logging to stderr, or to a file without ever waiting for it.

use std::fs::{File, OpenOptions};
use std::io::IsTerminal;
use std::path::PathBuf;

use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

/// Lines that may wait to be written. A disk that stands still for longer than these last costs lines, not time.
const LINES: usize = 16_384;

/// What to log and where to, for a program's command line.
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
    /// Append the log to this file instead of writing it to stderr. The work never waits for the disk: what it
    /// cannot take in time is left out, and counted at the end.
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
    file: Option<Written>,
}

struct Written {
    dropped: ErrorCounter,
    /// The rest of the lines is written when this is dropped.
    guard: Option<WorkerGuard>,
    told: File,
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
        let filter = EnvFilter::try_new(&self.filter)
            .map_err(|source| LogError::Filter { filter: self.filter.clone(), source })?;
        let subscriber = tracing_subscriber::fmt().with_env_filter(filter);
        let Some(path) = &self.file else {
            subscriber.with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal()).init();
            return Ok(Logging { file: None });
        };
        let opened = OpenOptions::new().create(true).append(true).open(path);
        let opened = opened.and_then(|file| Ok((file.try_clone()?, file)));
        let (told, file) = opened.map_err(|source| LogError::File { path: path.clone(), source })?;
        let (writer, guard) =
            NonBlockingBuilder::default().lossy(true).buffered_lines_limit(LINES).finish(file);
        let dropped = writer.error_counter();
        subscriber.with_writer(writer).with_ansi(false).init();
        Ok(Logging { file: Some(Written { dropped, guard: Some(guard), told }) })
    }
}

impl Drop for Logging {
    fn drop(&mut self) {
        let Some(Written { dropped, guard, told }) = &mut self.file else { return };
        drop(guard.take());
        let lost = dropped.dropped_lines();
        if lost > 0 {
            // The subscriber is at its end, so this line goes by hand; a disk that refuses it loses it too.
            use std::io::Write;
            let _ = writeln!(
                told,
                "{lost} lines are missing in this log: they came faster than they could be written"
            );
        }
    }
}
