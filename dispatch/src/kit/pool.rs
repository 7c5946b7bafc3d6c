//! The queue of a program, and those who work for it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use queue::Key;
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use wire::Factory;
use wire::identity::{Authority, TokenOptions};
use wire::server::{self, Listener};

use super::processes::{self, Processes};
use super::{Error, threads};
use crate::{Coordinator, Stopped, lane};

/// Who works for a program; for its command line.
#[derive(Debug, Clone, Default, clap::Args)]
// A program's own subcommand may have the same name, and groups must not.
#[group(skip)]
pub struct Who {
    /// Worker threads in this process.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub local: u32,
    /// Worker processes to start; they join over QUIC [default: 2 if nobody else is named here, else 0].
    #[arg(long, value_name = "N")]
    pub workers: Option<u32>,
    /// Let workers from elsewhere join here, and print the command that starts one.
    #[arg(long, value_name = "HOST:PORT")]
    pub listen: Option<SocketAddr>,
    /// Workers behind brokers.
    #[cfg(any(feature = "redis", feature = "amqp"))]
    #[command(flatten)]
    pub brokers: super::Brokers,
}

impl Who {
    fn workers(&self) -> u32 {
        let alone = self.local == 0 && self.listen.is_none() && self.brokers() == 0;
        self.workers.unwrap_or(if alone { 2 } else { 0 })
    }

    #[cfg(any(feature = "redis", feature = "amqp"))]
    fn brokers(&self) -> usize {
        self.brokers.count()
    }

    #[cfg(not(any(feature = "redis", feature = "amqp")))]
    fn brokers(&self) -> usize {
        0
    }
}

/// What a pool consists of.
pub struct Config {
    /// Who works.
    pub who: Who,
    /// What the threads of this process do: a maker of processors for each key.
    pub processors: BTreeMap<Key, Factory>,
    /// How many jobs each of these threads has at hand; see [`threads`]. Default 2.
    pub at_hand: NonZeroU32,
}

impl Config {
    /// These, with threads that have two jobs each at hand.
    pub fn new(who: Who, processors: BTreeMap<Key, Factory>) -> Self {
        const TWO: NonZeroU32 = NonZeroU32::new(2).expect("2 is not 0");
        Config { who, processors, at_hand: TWO }
    }
}

/// How long workers may take to join.
const JOIN: Duration = Duration::from_secs(30);
/// How long workers may take to leave.
const LEAVE: Duration = Duration::from_secs(5);
/// The most workers that one token lets in.
const USES: NonZeroU32 = NonZeroU32::new(1000).expect("1000 is not 0");

/// The queue, and those who work for it: threads of this process, processes that it starts, whoever dials in, and the
/// workers behind brokers. All of them may come and go while it works.
pub struct Pool {
    coordinator: Coordinator,
    /// Lanes that [`joined`](Self::joined) waits for.
    awaited: usize,
    leave: CancellationToken,
    local: Option<JoinHandle<Result<(), lane::local::Error>>>,
    brokers: JoinSet<Result<(), Stopped>>,
    door: Option<Door>,
}

/// Where workers dial in.
struct Door {
    listener: Arc<Listener>,
    accepting: JoinHandle<()>,
    token: String,
    /// Whether it is open to others than those that this process starts.
    open: bool,
    started: Processes,
    /// The workers' identities, and the authority's key.
    _state: tempfile::TempDir,
}

impl Pool {
    /// Starts all of them. A worker process is this program again, called with `worker` and what
    /// `framelane_worker::kit::Args` take. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`Error`].
    pub fn start(config: Config) -> Result<Pool, Error> {
        let Config { who, processors, at_hand } = config;
        let (coordinator, driver) = crate::new(queue::Config::default());
        tokio::spawn(driver);
        let door = match (who.workers(), who.listen) {
            (0, None) => None,
            (workers, listen) => Some(Door::open(&coordinator, listen, workers)?),
        };
        let leave = CancellationToken::new();
        #[allow(unused_mut, reason = "unless there are brokers")]
        let mut brokers = JoinSet::new();
        #[cfg(any(feature = "redis", feature = "amqp"))]
        for broker in who.brokers.lanes(&processors.keys().cloned().collect::<Vec<_>>())? {
            brokers.spawn(lane::broker::run(coordinator.clone(), broker, leave.clone()));
        }
        let local = threads(who.local, at_hand, processors).map(|threads| {
            // `joined` waits for it.
            let (joined, _) = oneshot::channel();
            tokio::spawn(lane::local::run(coordinator.clone(), threads, leave.clone(), joined))
        });
        let awaited = who.workers() as usize + usize::from(local.is_some());
        Ok(Pool { coordinator, awaited, leave, local, brokers, door })
    }

    /// Opens flows.
    pub fn coordinator(&self) -> &Coordinator {
        &self.coordinator
    }

    /// The command that starts another worker, with its token; none where it does not listen for any.
    pub fn command(&self) -> Option<String> {
        let door = self.door.as_ref().filter(|door| door.open)?;
        let (server, token) = (door.listener.local_addr(), &door.token);
        Some(format!("{} worker --server {server} --token {token}", processes::program()))
    }

    /// Waits until all that it started are there, for half a minute; workers that others start are not waited for. Nothing needs it, but the time that workers take
    /// to start is then not counted as work.
    ///
    /// # Errors
    /// [`Error::Local`] and [`Error::Ended`] where one never will be, [`Error::Absent`].
    pub async fn joined(&mut self) -> Result<(), Error> {
        let begun = Instant::now();
        loop {
            let joined = self.coordinator.lanes().await?.len();
            if joined >= self.awaited {
                return Ok(());
            }
            if let Some(ended) = self.local.take_if(|local| local.is_finished()) {
                ended.await.unwrap_or(Ok(()))?;
            }
            if let Some(door) = &mut self.door {
                door.started.live()?;
            }
            if begun.elapsed() > JOIN {
                return Err(Error::Absent { joined, awaited: self.awaited, within: JOIN });
            }
            // Nobody tells when a lane joins.
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// Lets everybody finish and leave.
    pub async fn stop(mut self) {
        self.leave.cancel();
        if let Some(local) = self.local {
            let _ = local.await;
        }
        // What is left in a broker that does not say goodbye expires.
        let gone = async { while self.brokers.join_next().await.is_some() {} };
        let _ = timeout(LEAVE, gone).await;
        if let Some(door) = self.door {
            door.listener.drain(LEAVE).await;
            door.listener.close().await;
            let _ = door.accepting.await;
            door.started.ended(LEAVE).await;
        }
    }
}

impl Door {
    fn open(coordinator: &Coordinator, listen: Option<SocketAddr>, workers: u32) -> Result<Door, Error> {
        let state = tempfile::tempdir().map_err(|source| Error::System {
            what: "no folder for the workers' identities".to_owned(),
            source,
        })?;
        let authority = Authority::load_or_create(state.path())?;
        let token = authority.token(TokenOptions { uses: USES, ..TokenOptions::default() })?.to_string();
        let address = listen.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 0)));
        let config = server::Config::default();
        let lanes = lane::quic::Config { max_credit: config.max_credit, ..Default::default() };
        let listener = Arc::new(Listener::bind(address, authority, config)?);
        let accepting = lane::quic::accept(coordinator.clone(), Arc::clone(&listener), lanes);
        let accepting = tokio::spawn(accepting);
        let started = Processes::start(workers, listener.local_addr(), &token, state.path())?;
        Ok(Door { listener, accepting, token, open: listen.is_some(), started, _state: state })
    }
}
