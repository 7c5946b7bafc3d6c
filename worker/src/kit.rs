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
#[cfg(any(feature = "redis", feature = "amqp"))]
mod brokers;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use wire::{BoxError, chain};

use crate::drive::{Drive, Wheel};
use crate::identity::{Papers, Seat, SeatError, Token};
use crate::{Host, Registry, host, node, signals, watchdog};

pub use args::Args;
pub use program::{Log, LogError, Logging, Profile, ProfileError, Profiling};

/// Ended since the server does not let this worker in, and a person must give it another token: to be
/// started again would not help. As `EX_NOPERM` of sysexits.h.
const NOT_ADMITTED: u8 = 77;

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
                eprintln!("{}: {}", own_name(), chain(&error));
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
        // One thread for the connection, which is one task's work. A second one would only cost each job a
        // switch from one to the other.
        let mut drive = Drive::new().map_err(system("no runtime for the connection"))?;
        let wheel = drive.wheel();
        let done = drive.block_on(async move {
            let stop = signals::stop().map_err(system("signals cannot be caught"))?;
            self.run_driving(open, stop, wheel).await
        });
        let profiled = profiling.finish();
        done?;
        Ok(profiled?)
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
        self.run_driving(open, stop, None).await
    }

    async fn run_driving(
        self,
        open: impl FnOnce() -> Result<Registry, BoxError> + Send + 'static,
        stop: CancellationToken,
        wheel: Option<Wheel>,
    ) -> Result<(), Error> {
        // First what is quick to find out: a worker that may not enter need not load its models.
        let admission = match &self.args.server {
            Some(server) => {
                let seat = Seat::new(server, self.args.name(), &self.args.state);
                let seat = seat.retries(self.args.retries());
                let token = self.args.token.clone();
                let papers = seat.take(token.clone(), &stop).await;
                if stop.is_cancelled() {
                    return Ok(());
                }
                let node = self.args.node(server, self.abilities.clone());
                Some(Admission { node, seat, papers: papers?, token })
            }
            None => None,
        };
        let threads = self.args.host();
        // What loads is loaded while the worker joins: the server hands it what no other has room for.
        let opened = tokio::task::spawn_blocking(move || -> Result<Host, Error> {
            Ok(Host::open_driving(&open().map_err(Error::Registry)?, threads, wheel)?)
        });
        let host = tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            host = opened => host.map_err(|panic| Error::Registry(panic.into()))??,
        };
        let host = Arc::new(host);
        let worked = tokio::select! {
            worked = self.work(admission, &host, &stop) => worked,
            hung = watchdog::watch_if(&host, self.args.hang_after()) => watchdog::end(&hung),
        };
        quiet(host).await;
        worked
    }

    /// Works for the server and for all brokers, until each of them is done or one ends for good.
    async fn work(
        &self,
        admission: Option<Admission>,
        host: &Arc<Host>,
        stop: &CancellationToken,
    ) -> Result<(), Error> {
        let mut serving = JoinSet::new();
        if let Some(admission) = admission {
            serving.spawn(admission.work(Arc::clone(host), stop.clone()));
        }
        #[cfg(any(feature = "redis", feature = "amqp"))]
        for broker in self.args.brokers() {
            let (host, stop) = (Arc::clone(host), stop.clone());
            serving.spawn(async move { Ok(crate::broker::run(&broker, host, stop).await?) });
        }
        let mut worked = Ok(());
        while let Some(ended) = serving.join_next().await {
            worked = ended.unwrap_or_else(|panic| Err(Error::Registry(panic.into())));
            if worked.is_err() {
                break;
            }
        }
        serving.shutdown().await;
        worked
    }
}

/// How a worker gets in at its server.
struct Admission {
    node: node::Config,
    seat: Seat,
    papers: Papers,
    token: Option<Token>,
}

impl Admission {
    async fn work(mut self, host: Arc<Host>, stop: CancellationToken) -> Result<(), Error> {
        loop {
            match node::run(&self.node, &self.papers, Arc::clone(&host), stop.clone()).await {
                Ok(()) => return Ok(()),
                Err(error) if error.needs_enrolment() => match self.token.take() {
                    // The identity on disk is of no use there. A token was given, so it is meant to be used.
                    Some(token) => {
                        tracing::warn!(%error, "enrolling again with the token");
                        self.papers = self.seat.enrol(&token, &stop).await?;
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

/// The name under which this program was started.
fn own_name() -> String {
    let path = std::env::args_os().next().map(std::path::PathBuf::from);
    let name = path.as_deref().and_then(|path| path.file_stem());
    name.map_or_else(|| "worker".to_owned(), |name| name.to_string_lossy().into_owned())
}
