//! The queue, and those who work for it.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use dispatch::{Coordinator, lane};
use queue::WorkerId;
use tokio::process::{Child, Command};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use wire::identity::{Authority, TokenOptions};
use wire::server::{self, Listener};

/// How long workers may take to join.
const JOIN: Duration = Duration::from_secs(30);
/// How long workers may take to leave.
const LEAVE: Duration = Duration::from_secs(5);
/// The most workers that one token lets in.
const USES: NonZeroU32 = NonZeroU32::new(1000).expect("1000 is not 0");
/// How many jobs each thread of this process has at hand: the next one waits while an answer travels.
const AT_HAND: NonZeroU32 = NonZeroU32::new(2).expect("2 is not 0");

/// The queue, and those who work for it.
pub(crate) struct Pool {
    coordinator: Coordinator,
    stop: CancellationToken,
    local: Option<JoinHandle<Result<(), lane::local::Error>>>,
    door: Option<Door>,
}

/// Where workers dial in.
struct Door {
    listener: Arc<Listener>,
    accepting: JoinHandle<()>,
    token: String,
    /// Whether it is open to others than those that this process starts.
    open: bool,
    /// Those that this process started.
    workers: Vec<Child>,
    /// Their identities, and the authority's key.
    _state: tempfile::TempDir,
}

impl Pool {
    /// Starts `local` threads and `workers` processes. Others may dial in where it listens.
    pub(crate) async fn start(local: u32, workers: u32, listen: Option<SocketAddr>) -> anyhow::Result<Pool> {
        let (coordinator, driver) = dispatch::new(queue::Config::default());
        tokio::spawn(driver);
        let stop = CancellationToken::new();
        let local = match NonZeroU32::new(local) {
            Some(threads) => {
                let lane = lane::local::Config {
                    name: "this process".to_owned(),
                    // Workers that dial in have random numbers, never this one.
                    worker: WorkerId(0),
                    threads,
                    credit: threads.saturating_mul(AT_HAND),
                    processors: crate::registry().map_err(anyhow::Error::from_boxed)?.into_factories(),
                };
                // `joined` waits for it.
                let (joined, _) = oneshot::channel();
                Some(tokio::spawn(lane::local::run(coordinator.clone(), lane, stop.clone(), joined)))
            }
            None => None,
        };
        let door = match (workers, listen) {
            (0, None) => None,
            _ => Some(Door::open(&coordinator, listen, workers)?),
        };
        Ok(Pool { coordinator, stop, local, door })
    }

    /// Opens flows.
    pub(crate) fn coordinator(&self) -> &Coordinator {
        &self.coordinator
    }

    /// What starts another worker.
    pub(crate) fn command(&self) -> Option<String> {
        let door = self.door.as_ref().filter(|door| door.open)?;
        Some(format!("edges worker --server {} --token {}", door.listener.local_addr(), door.token))
    }

    /// Waits until so many are there, so that the time they need to start is not counted.
    pub(crate) async fn joined(&self, lanes: usize) -> anyhow::Result<()> {
        let begun = Instant::now();
        while self.coordinator.lanes().await?.len() < lanes {
            if begun.elapsed() > JOIN {
                bail!("not all workers joined within {} s", JOIN.as_secs());
            }
            // Nobody tells when a lane joins.
            sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    /// Lets everybody finish and leave.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        if let Some(local) = self.local {
            let _ = local.await;
        }
        if let Some(mut door) = self.door {
            door.listener.drain(LEAVE).await;
            door.listener.close().await;
            let _ = door.accepting.await;
            for worker in &mut door.workers {
                // One that does not end is killed when it is dropped.
                let _ = timeout(LEAVE, worker.wait()).await;
            }
        }
    }
}

impl Door {
    fn open(coordinator: &Coordinator, listen: Option<SocketAddr>, workers: u32) -> anyhow::Result<Door> {
        let state = tempfile::tempdir().context("no folder for the workers' identities")?;
        let authority = Authority::load_or_create(state.path())?;
        let token = authority.token(TokenOptions { uses: USES, ..TokenOptions::default() })?.to_string();
        let address = listen.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 0)));
        let config = server::Config::default();
        let lanes = lane::quic::Config { max_credit: config.max_credit, ..Default::default() };
        let listener = Arc::new(Listener::bind(address, authority, config)?);
        let accepting = lane::quic::accept(coordinator.clone(), Arc::clone(&listener), lanes);
        let accepting = tokio::spawn(accepting);
        let server = listener.local_addr().to_string();
        let workers = (1..=workers)
            .map(|number| start(&server, &token, state.path(), &format!("worker-{number}")))
            .collect::<Result<_, _>>()?;
        Ok(Door { listener, accepting, token, open: listen.is_some(), workers, _state: state })
    }
}

/// Starts a worker that ends with this process's listener.
fn start(server: &str, token: &str, state: &Path, name: &str) -> anyhow::Result<Child> {
    let program = std::env::current_exe().context("where does this program lie?")?;
    let mut command = Command::new(&program);
    command
        .args(["worker", "--server", server, "--name", name, "--threads", "1", "--once", "--log", "warn"])
        .arg("--state")
        .arg(state.join(name))
        // Not among the arguments, which everybody on this machine can read.
        .env("FRAMELANE_TOKEN", token)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    // A Ctrl-C in the terminal is for this process alone, which lets them finish first.
    #[cfg(unix)]
    command.process_group(0);
    command.spawn().with_context(|| format!("cannot start {}", program.display()))
}
