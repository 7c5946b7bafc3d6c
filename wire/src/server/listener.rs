//! The listening socket.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quinn::{Endpoint, ServerConfig};
use tokio::sync::{Mutex, Semaphore, mpsc};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::door::Door;
use super::roll::{Member, Roll};
use super::strangers::Strangers;
use super::tally::{Refusals, Tally};
use super::{Caller, Config, Events, Operation, Peer, Replies, Submits};
use crate::close::Code;
use crate::identity::{Authority, AuthorityError};
use crate::{tls, transport};

/// Accepts workers, and clients where they are let in.
///
/// It runs one task that accepts, one that looks after the workers' standing, one for each stranger, and
/// one for each worker, on the runtime that [`bind`](Self::bind) was called on; each ends with its
/// connection, and [`close`](Self::close) waits for all of them.
pub struct Listener {
    endpoint: Endpoint,
    local: SocketAddr,
    workers: Mutex<mpsc::Receiver<(Peer, Events)>>,
    clients: Mutex<mpsc::Receiver<(Caller, Submits, Replies)>>,
    operations: Mutex<mpsc::Receiver<Operation>>,
    pub(super) door: Arc<Door>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// Why nothing can be listened on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// Another program has the port.
    #[error("UDP {0} is taken by another program: stop it, or choose another address for workers")]
    Taken(SocketAddr),
    /// The address cannot be used.
    #[error("cannot listen on UDP {addr}: {source}")]
    Address {
        /// Which.
        addr: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// No certificate for this server.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// TLS does not take the certificate.
    #[error("TLS cannot be set up: {0}")]
    Tls(String),
}

impl Listener {
    /// Listens. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`BindError`]; a taken port is [`BindError::Taken`].
    pub fn bind(addr: SocketAddr, authority: Authority, config: Config) -> Result<Self, BindError> {
        let unfit = |e: rustls::Error| BindError::Tls(e.to_string());
        let leaf = authority.server_leaf()?;
        let shown = tls::Shown::new(leaf.chain, leaf.key).map_err(unfit)?;
        let speaks = Door::speaks(&config);
        let tls = tls::server(shown.clone(), authority.certificate(), speaks).map_err(unfit)?;
        let mut server = ServerConfig::with_crypto(Arc::new(tls));
        // A worker opens one stream, for control. Silence is found by heartbeats, and before the
        // greeting by its own time limit; QUIC's limit only must not be shorter than theirs.
        let silence = config.greeting.max(config.dead_after) + Duration::from_secs(5);
        server
            .transport_config(transport::strangers(config.windows, silence))
            .max_incoming(config.max_strangers)
            // A stranger's early packets: a handshake has no more than a few.
            .incoming_buffer_size(64 << 10)
            .incoming_buffer_size_total(4 << 20);
        let bound = transport::endpoint(addr, Some(server), Some(authority.recall()))
            .and_then(|endpoint| endpoint.local_addr().map(|local| (endpoint, local)));
        let (endpoint, local) = bound.map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => BindError::Taken(addr),
            _ => BindError::Address { addr, source },
        })?;
        let (accepted, workers) = mpsc::channel(16);
        let (called, clients) = mpsc::channel(16);
        let (asked, operations) = mpsc::channel(1);
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let door = Arc::new(Door {
            authority,
            accepted,
            called,
            asked,
            strangers: Strangers::new(config.max_strangers),
            places: Arc::new(Semaphore::new(config.max_workers)),
            client_places: Arc::new(Semaphore::new(config.clients.map_or(0, |clients| clients.most))),
            roll: Roll::default(),
            tally: Tally::default(),
            shown,
            renew_at: std::sync::Mutex::new(leaf.renew_at),
            tasks: tasks.clone(),
            closing: CancellationToken::new(),
            config,
        });
        tasks.spawn(door.clone().stand(endpoint.clone(), stop.clone()));
        tasks.spawn(door.clone().look_after(stop.clone()));
        Ok(Self {
            endpoint,
            local,
            workers: Mutex::new(workers),
            clients: Mutex::new(clients),
            operations: Mutex::new(operations),
            door,
            stop,
            tasks,
        })
    }

    /// Where it listens; the port is the real one if 0 was asked for.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// The next worker, past TLS and greeting; `None` once closed. Enrolments are served meanwhile.
    pub async fn accept(&self) -> Option<(Peer, Events)> {
        let mut workers = self.workers.lock().await;
        tokio::select! {
            biased;
            () = self.stop.cancelled() => None,
            worker = workers.recv() => worker,
        }
    }

    /// The next client, past TLS and greeting; `None` once closed. Whoever lets clients in must ask for them.
    pub async fn accept_client(&self) -> Option<(Caller, Submits, Replies)> {
        let mut clients = self.clients.lock().await;
        tokio::select! {
            biased;
            () = self.stop.cancelled() => None,
            client = clients.recv() => client,
        }
    }

    /// The next question of an operator; `None` once closed.
    pub async fn operation(&self) -> Option<Operation> {
        let mut operations = self.operations.lock().await;
        tokio::select! {
            biased;
            () = self.stop.cancelled() => None,
            operation = operations.recv() => operation,
        }
    }

    /// How many connections were refused so far, by reason.
    pub fn refusals(&self) -> Refusals {
        self.door.tally.counts()
    }

    /// Lets nobody in any more and asks every client to push nothing more. Waits until all have their
    /// answers and have left, or for `within`. [`drain`](Self::drain) follows.
    pub async fn drain_clients(&self, within: Duration) {
        self.door.closing.cancel();
        for member in self.door.roll.members().into_iter().filter(Member::is_client) {
            member.drain();
        }
        let _ = timeout(within, self.door.roll.without(Member::is_client)).await;
    }

    /// Lets nobody in any more and asks every worker to finish what it holds and leave, and every client to
    /// push nothing more; they come back when a server is here again. Waits until all have left, or for
    /// `within`. [`close`](Self::close) follows.
    pub async fn drain(&self, within: Duration) {
        self.door.closing.cancel();
        for member in self.door.roll.members() {
            member.drain();
        }
        // What is held for longer is given up by `close`.
        let _ = timeout(within, self.door.roll.without(|_| true)).await;
    }

    /// Stops accepting, ends all connections, and waits until the farewells are sent, at most 3 s.
    pub async fn close(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.endpoint.close(Code::Done.varint(), b"the server stops");
        let quiet = async {
            self.tasks.wait().await;
            self.endpoint.wait_idle().await;
        };
        // A farewell that nobody acknowledges is no reason to stay.
        let _ = timeout(Duration::from_secs(3), quiet).await;
    }
}

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listener").field("local", &self.local).finish_non_exhaustive()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.stop.cancel();
        self.endpoint.close(Code::Done.varint(), b"the server stops");
    }
}
