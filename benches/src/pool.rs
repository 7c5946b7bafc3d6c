//! A queue with its listener in this process: what a server of one's own consists of.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use dispatch::lane::quic::Batching;
use dispatch::{Coordinator, lane};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_util::task::TaskTracker;
use wire::identity::{Authority, TokenOptions};
use wire::server::{Config, Listener};

/// Everything is slow on a machine that has just compiled for minutes.
const JOINED_WITHIN: Duration = Duration::from_secs(60);
/// The most that one token lets in.
const USES: NonZeroU32 = NonZeroU32::new(1000).expect("1000 is not 0");

/// The queue, and the door for workers.
pub struct Pool {
    /// Opens flows, reads the books.
    pub coordinator: Coordinator,
    authority: Authority,
    listener: Arc<Listener>,
    accepting: JoinHandle<()>,
    peers: TaskTracker,
}

impl Pool {
    /// Listens on `addr` with the authority in `state`, which is made if it is not there.
    pub fn start(addr: SocketAddr, state: &Path, config: Config) -> anyhow::Result<Pool> {
        Self::batching(addr, state, config, Batching::default())
    }

    /// The same, with small tasks sharing streams in this way.
    pub fn batching(
        addr: SocketAddr,
        state: &Path,
        config: Config,
        batching: Batching,
    ) -> anyhow::Result<Pool> {
        Self::of(addr, state, config, batching, dispatch::Config::default())
    }

    /// Like [`start`](Self::start), with a queue that does not sleep for so long after some work.
    pub fn polling(addr: SocketAddr, state: &Path, busy_poll: Duration) -> anyhow::Result<Pool> {
        let queue = dispatch::Config { busy_poll, ..dispatch::Config::default() };
        Self::of(addr, state, Config::default(), Batching::default(), queue)
    }

    fn of(
        addr: SocketAddr,
        state: &Path,
        config: Config,
        batching: Batching,
        queue: dispatch::Config,
    ) -> anyhow::Result<Pool> {
        let authority = Authority::load_or_create(state).context("no authority")?;
        let lane = lane::quic::Config { max_credit: config.max_credit, batching };
        let listener =
            Listener::bind(addr, authority.clone(), config).context("cannot listen for workers")?;
        let (coordinator, driver) = dispatch::new(queue);
        tokio::spawn(driver);
        let (listener, peers) = (Arc::new(listener), TaskTracker::new());
        let accepting = tokio::spawn(accept(Arc::clone(&listener), coordinator.clone(), lane, peers.clone()));
        Ok(Pool { coordinator, authority, listener, accepting, peers })
    }

    /// Where workers dial in.
    pub fn addr(&self) -> SocketAddr {
        self.listener.local_addr()
    }

    /// Who signs.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// Lets workers in.
    pub fn token(&self) -> anyhow::Result<String> {
        let options = TokenOptions { uses: USES, ..TokenOptions::default() };
        Ok(self.authority.token(options).context("no token")?.to_string())
    }

    /// Waits until so many workers are connected.
    pub async fn joined(&self, count: usize) -> anyhow::Result<()> {
        let begin = Instant::now();
        loop {
            let lanes = self.coordinator.lanes().await?.len();
            if lanes == count {
                return Ok(());
            }
            let within = JOINED_WITHIN.as_secs();
            anyhow::ensure!(begin.elapsed() < JOINED_WITHIN, "{lanes} of {count} workers within {within} s");
            // Nobody tells when a lane joins.
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// How many workers get their bodies through shared memory.
    pub async fn sharing(&self) -> anyhow::Result<usize> {
        let lanes = self.coordinator.lanes().await?;
        Ok(lanes.iter().filter(|lane| lane.label.shared_memory).count())
    }

    /// Closes every connection.
    pub async fn stop(self) {
        self.listener.close().await;
        // It ends with the listener.
        let _ = self.accepting.await;
        self.peers.close();
        self.peers.wait().await;
    }
}

async fn accept(
    listener: Arc<Listener>,
    coordinator: Coordinator,
    config: lane::quic::Config,
    peers: TaskTracker,
) {
    while let Some((peer, events)) = listener.accept().await {
        let coordinator = coordinator.clone();
        peers.spawn(async move {
            let name = peer.hello().name.clone();
            match lane::quic::run(coordinator, peer, events, config).await {
                Ok(reason) => tracing::info!(name, %reason, "worker left"),
                Err(stopped) => tracing::debug!(name, %stopped, "worker let go"),
            }
        });
    }
}
