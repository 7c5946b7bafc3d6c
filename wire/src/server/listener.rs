//! The listening socket, and what happens to those who knock.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quinn::{Endpoint, Incoming, ServerConfig};
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::greet::{alpn, greet};
use super::silence::Silence;
use super::{Config, Events, Peer, peer};
use crate::close::Code;
use crate::identity::{Authority, AuthorityError, serve_enrolment};
use crate::protocol::{ALPN_ENROL, ALPN_LANE};
use crate::{tls, transport};

/// Accepts workers.
///
/// It runs one task that accepts, one for each stranger, and one for each worker, on the runtime that
/// [`bind`](Self::bind) was called on; each ends with its connection, and [`close`](Self::close) waits
/// for all of them.
#[derive(Debug)]
pub struct Listener {
    endpoint: Endpoint,
    local: SocketAddr,
    workers: Mutex<mpsc::Receiver<(Peer, Events)>>,
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

struct Door {
    authority: Authority,
    config: Config,
    accepted: mpsc::Sender<(Peer, Events)>,
    strangers: Arc<Semaphore>,
    places: Arc<Semaphore>,
    tasks: TaskTracker,
}

impl Listener {
    /// Listens. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`BindError`]; a taken port is [`BindError::Taken`].
    pub fn bind(addr: SocketAddr, authority: Authority, config: Config) -> Result<Self, BindError> {
        let (chain, key) = authority.server_certificate()?;
        let tls =
            tls::server(chain, key, authority.certificate()).map_err(|e| BindError::Tls(e.to_string()))?;
        let mut server = ServerConfig::with_crypto(Arc::new(tls));
        // A worker opens one stream, for control. Silence is found by heartbeats, and before the
        // greeting by its own time limit; QUIC's limit only must not be shorter than theirs.
        let silence = config.greeting.max(config.dead_after) + Duration::from_secs(5);
        server
            .transport_config(transport::config(config.windows, 1, config.max_credit, silence))
            .max_incoming(config.max_strangers)
            // A stranger's early packets: a handshake has no more than a few.
            .incoming_buffer_size(64 << 10)
            .incoming_buffer_size_total(4 << 20);
        let bound = transport::endpoint(addr, Some(server))
            .and_then(|endpoint| endpoint.local_addr().map(|local| (endpoint, local)));
        let (endpoint, local) = bound.map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => BindError::Taken(addr),
            _ => BindError::Address { addr, source },
        })?;
        let (accepted, workers) = mpsc::channel(16);
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let door = Arc::new(Door {
            authority,
            accepted,
            strangers: Arc::new(Semaphore::new(config.max_strangers)),
            places: Arc::new(Semaphore::new(config.max_workers)),
            tasks: tasks.clone(),
            config,
        });
        tasks.spawn(door.stand(endpoint.clone(), stop.clone()));
        Ok(Self { endpoint, local, workers: Mutex::new(workers), stop, tasks })
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

impl Drop for Listener {
    fn drop(&mut self) {
        self.stop.cancel();
        self.endpoint.close(Code::Done.varint(), b"the server stops");
    }
}

impl Door {
    async fn stand(self: Arc<Self>, endpoint: Endpoint, stop: CancellationToken) {
        loop {
            let incoming = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                incoming = endpoint.accept() => incoming,
            };
            let Some(incoming) = incoming else { return };
            let Ok(permit) = self.strangers.clone().try_acquire_owned() else {
                incoming.refuse();
                continue;
            };
            // With many at the door, only those get in that can be reached at the address they name:
            // a flood of forged addresses must not hold the places.
            if self.strangers.available_permits() < self.config.max_strangers / 2
                && !incoming.remote_address_validated()
                && incoming.may_retry()
            {
                // It may fail only if the address was validated meanwhile, and then it comes again.
                let _ = incoming.retry();
                continue;
            }
            self.tasks.spawn(self.clone().meet(incoming, permit));
        }
    }

    /// One connection, from handshake to end.
    async fn meet(self: Arc<Self>, incoming: Incoming, stranger: OwnedSemaphorePermit) {
        let remote = incoming.remote_address();
        let deadline = tokio::time::Instant::now() + self.config.greeting;
        let connection = match incoming.accept() {
            Ok(connecting) => match tokio::time::timeout_at(deadline, connecting).await {
                Ok(Ok(connection)) => connection,
                Ok(Err(error)) => return tracing::debug!(%remote, %error, "a handshake failed"),
                Err(_) => return tracing::debug!(%remote, "a handshake took too long"),
            },
            Err(error) => return tracing::debug!(%remote, %error, "a handshake failed"),
        };
        let alpn = alpn(&connection);
        if alpn == ALPN_ENROL {
            if tokio::time::timeout_at(deadline, serve_enrolment(&connection, &self.authority)).await.is_err()
            {
                connection.close(Code::NoHello.varint(), b"the enrolment took too long");
            }
            return;
        }
        if alpn != ALPN_LANE {
            return connection.close(Code::Violation.varint(), b"unknown protocol");
        }
        let Ok(_place) = self.places.clone().try_acquire_owned() else {
            return connection.close(Code::Busy.varint(), b"the server has as many workers as it takes");
        };
        let greeted = match tokio::time::timeout_at(deadline, greet(&connection, &self.config)).await {
            Ok(Ok(greeted)) => greeted,
            Ok(Err((code, why))) => {
                tracing::warn!(%remote, why, "a worker was turned away");
                return connection.close(code.varint(), why.as_bytes());
            }
            Err(_) => return connection.close(Code::NoHello.varint(), b"no greeting in time"),
        };
        let (peer, events, driver) = peer::new(
            connection,
            greeted.subject.worker,
            greeted.hello,
            self.config.limits,
            self.config.max_credit,
            greeted.memory,
        );
        let shared_memory = peer.shares_memory();
        tracing::debug!(%remote, worker = %peer.worker(), shared_memory, "a worker was greeted");
        let accepted = self.accepted.clone();
        // Held as a stranger until the caller takes it, so that a caller that does not look bounds
        // what waits for it.
        let hand_over = async move {
            let _ = accepted.send((peer, events)).await;
            drop(stranger);
        };
        let run =
            driver.run(greeted.send, greeted.reader, greeted.beat, Silence::new(self.config.suspect_after));
        tokio::join!(run, hand_over);
    }
}
