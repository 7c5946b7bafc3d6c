//! The whole of a worker program but what it does: its command line, its log, its signals, its way in, and
//! the code with which it ends.
//!
//! ```no_run
//! # use framelane_worker::{BoxError, Cbor, Processor, Registry, Task, Unprocessed, kit};
//! # struct Shout;
//! # impl Task for Shout { const NAME: &'static str = "shout"; type Job = Cbor<String>; type Answer = Cbor<String>; }
//! # impl Processor for Shout {
//! #     type Task = Self;
//! #     fn process(&mut self, job: Cbor<String>) -> Result<Cbor<String>, Unprocessed> { Ok(job) }
//! # }
//! use clap::Parser;
//!
//! #[derive(Parser)]
//! struct Cli {
//!     #[command(flatten)]
//!     worker: kit::Args,
//! }
//!
//! fn main() -> std::process::ExitCode {
//!     kit::Program::new(Cli::parse().worker).main(|| {
//!         let mut registry = Registry::new();
//!         registry.serve(Shout::key()?, || Ok::<_, BoxError>(Shout))?;
//!         Ok(registry)
//!     })
//! }
//! ```

mod args;
mod log;
mod profile;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use wire::BoxError;

use crate::identity::{Papers, Seat, SeatError};
use crate::{Host, Registry, host, node, signals, watchdog};

pub use args::Args;
pub use log::{Log, LogError, Logging};
pub use profile::{Profile, ProfileError, Profiling};

/// Ended since the server does not let this worker in, and a person must give it another token: to be
/// started again would not help. As `EX_NOPERM` of sysexits.h.
const NOT_ADMITTED: u8 = 77;
/// Ended since a job hung: to be started again.
const HUNG: i32 = 86;

/// A worker program, made of its command line.
#[derive(Debug)]
pub struct Program {
    args: Args,
    abilities: Vec<String>,
}

/// Why a worker program ended by itself.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It has no identity.
    #[error(transparent)]
    Seat(#[from] SeatError),
    /// What it does cannot be made.
    #[error("{0}")]
    Registry(#[source] BoxError),
    /// Its threads do not start.
    #[error(transparent)]
    Start(#[from] host::StartError),
    /// Its connection ended for good.
    #[error(transparent)]
    Run(#[from] node::RunError),
    /// It could not begin.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The log could not be opened.
    #[error(transparent)]
    Log(#[from] LogError),
    /// There is no profile.
    #[error(transparent)]
    Profile(#[from] ProfileError),
}

impl Program {
    /// A worker that names no abilities.
    pub fn new(args: Args) -> Self {
        Program { args, abilities: Vec::new() }
    }

    /// What the worker names beside its keys; see [`node::Config::abilities`].
    #[must_use]
    pub fn abilities(mut self, abilities: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.abilities = abilities.into_iter().map(Into::into).collect();
        self
    }

    /// Runs until a signal, and gives the code with which to end: 0 after a stop or a drain, 77 where only
    /// another token can help, 1 otherwise; what is wrong is told on stderr. A job that hangs ends the
    /// process with 86, a second signal with 130. Makes a tokio runtime, so it must be called outside one.
    ///
    /// `open` makes the registry, on a thread where it may take its time; the worker is enrolled by then.
    pub fn main(self, open: impl FnOnce() -> Result<Registry, BoxError> + Send + 'static) -> ExitCode {
        match self.runtime(open) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{}: {}", program(), chain(&error));
                ExitCode::from(error.code())
            }
        }
    }

    fn runtime(
        self,
        open: impl FnOnce() -> Result<Registry, BoxError> + Send + 'static,
    ) -> Result<(), Error> {
        let _logging = self.args.log.start()?;
        let profiling = self.args.profile.start()?;
        let system = |what| move |source| Error::System { what, source };
        // One thread for the connection, which is one task's work; jobs have threads of their own. A second one
        // would only cost each job a switch from one to the other.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(system("no runtime for the connection"))?;
        let done = runtime.block_on(async {
            let stop = signals::stop().map_err(system("signals cannot be caught"))?;
            self.run(open, stop).await
        });
        profiling.finish()?;
        done
    }

    /// As [`main`](Self::main), in the caller's runtime and until `stop`; a job that hangs ends the process.
    ///
    /// # Errors
    /// [`Error`]; each text says what to do.
    pub async fn run(
        self,
        open: impl FnOnce() -> Result<Registry, BoxError> + Send + 'static,
        stop: CancellationToken,
    ) -> Result<(), Error> {
        let seat = Seat::new(&self.args.server, self.args.name(), &self.args.state);
        let seat = seat.retries(self.args.retries());
        // First what is quick to find out: a worker that may not enter need not load its models.
        let papers = seat.take(self.args.token.clone(), &stop).await;
        if stop.is_cancelled() {
            return Ok(());
        }
        let papers = papers?;
        let threads = self.args.host();
        // What loads is loaded while the worker joins: the server hands it what no other has room for.
        let opened = tokio::task::spawn_blocking(move || -> Result<Host, Error> {
            Ok(Host::open(&open().map_err(Error::Registry)?, threads)?)
        });
        let host = tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            host = opened => host.map_err(|panic| Error::Registry(panic.into()))??,
        };
        let host = Arc::new(host);
        let worked = self.work(papers, &seat, &host, &stop).await;
        quiet(host).await;
        worked
    }

    async fn work(
        self,
        mut papers: Papers,
        seat: &Seat,
        host: &Arc<Host>,
        stop: &CancellationToken,
    ) -> Result<(), Error> {
        let hang_after = self.args.hang_after();
        let node = self.args.node(self.abilities);
        let mut token = self.args.token;
        loop {
            let worked = tokio::select! {
                worked = node::run(&node, &papers, Arc::clone(host), stop.clone()) => worked,
                hung = watch(host, hang_after) => end_hung(&hung),
            };
            match worked {
                Ok(()) => return Ok(()),
                Err(error) if error.needs_enrolment() => match token.take() {
                    // The identity on disk is of no use there. A token was given, so it is meant to be used.
                    Some(token) => {
                        tracing::warn!(%error, "enrolling again with the token");
                        papers = seat.enrol(&token, stop).await?;
                    }
                    None => return Err(error.into()),
                },
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl Error {
    fn code(&self) -> u8 {
        let not_admitted = match self {
            Error::Seat(error) => error.needs_token(),
            Error::Run(error) => error.needs_enrolment(),
            _ => false,
        };
        if not_admitted { NOT_ADMITTED } else { 1 }
    }
}

/// Lets the host's threads come to an end: a process that ends while one of them loads a model crashes in the
/// exit handlers of the model's libraries.
async fn quiet(host: Arc<Host>) {
    const AT_MOST: Duration = Duration::from_secs(30);
    if let Some(host) = Arc::into_inner(host) {
        let closed = tokio::task::spawn_blocking(|| host.close());
        // What takes longer hangs, and ends with the process, however that looks.
        let _ = tokio::time::timeout(AT_MOST, closed).await;
    }
}

async fn watch(host: &Host, after: Option<Duration>) -> watchdog::Hung {
    match after {
        Some(after) => watchdog::watch(host, after).await,
        None => std::future::pending().await,
    }
}

fn end_hung(hung: &watchdog::Hung) -> ! {
    tracing::error!("{hung}: it hangs, ending this process with {HUNG}");
    // A hung thread can hold what the libraries' exit handlers wait for.
    std::thread::spawn(|| {
        std::thread::sleep(Duration::from_secs(2));
        std::process::abort();
    });
    std::process::exit(HUNG)
}

/// The name under which this program was started.
fn program() -> String {
    let path = std::env::args_os().next().map(std::path::PathBuf::from);
    let name = path.as_deref().and_then(|path| path.file_stem());
    name.map_or_else(|| "worker".to_owned(), |name| name.to_string_lossy().into_owned())
}

/// An error and what it comes from, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        // Many texts name their source already.
        let said = error.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        source = error.source();
    }
    text
}
