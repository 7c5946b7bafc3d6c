//! What happens to those who knock.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use quinn::{Connection, ConnectionError, Endpoint, Incoming};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::greet::{Greeted, GreetedClient, admit, greet, greet_client};
use super::operate::{self, ALPN_OPERATE};
use super::roll::{Member, Roll};
use super::silence::Silence;
use super::strangers::{Stranger, Strangers};
use super::tally::{Refusal, Tally};
use super::{Caller, Config, Events, Operation, Peer, Replies, Submits, caller, peer};
use crate::close::{Closed, Code};
use crate::identity::{Authority, Role, serve_enrolment, serve_renewal};
use crate::node::dial::{alert, alert_of};
use crate::protocol::{ALPN_ENROL, ALPN_LANE, ALPN_RENEW, ALPN_VERSIONS, MAX_TEXT, cut};
use crate::pushed::ALPN_CLIENT;
use crate::tls::Shown;
use crate::version::{self, Speaks};
use crate::{exchange, transport};

/// How often files and certificates are looked at: what an operator says takes effect within a second.
const LOOK: Duration = Duration::from_millis(400);
/// How long the server waits before it tries again to make a certificate for itself.
const REMAKE: Duration = Duration::from_secs(60);

pub(super) struct Door {
    pub(super) authority: Authority,
    pub(super) config: Config,
    pub(super) accepted: mpsc::Sender<(Peer, Events)>,
    pub(super) called: mpsc::Sender<(Caller, Submits, Replies)>,
    pub(super) asked: mpsc::Sender<Operation>,
    pub(super) strangers: Arc<Strangers>,
    pub(super) places: Arc<Semaphore>,
    pub(super) client_places: Arc<Semaphore>,
    pub(super) roll: Roll,
    pub(super) tally: Tally,
    /// What this server shows, and when it is to show another.
    pub(super) shown: Arc<Shown>,
    pub(super) renew_at: std::sync::Mutex<SystemTime>,
    pub(super) tasks: TaskTracker,
    /// Nobody new is let in.
    pub(super) closing: CancellationToken,
}

/// A connection that is turned away: how it is counted, and what it is told.
pub(super) struct Turned {
    pub(super) refusal: Refusal,
    pub(super) code: Code,
    pub(super) why: String,
}

impl Turned {
    pub(super) fn new(refusal: Refusal, code: Code, why: impl Into<String>) -> Self {
        Self { refusal, code, why: why.into() }
    }

    fn crowded() -> Self {
        Self::new(Refusal::Crowded, Code::Busy, "too many others are at the door")
    }

    fn slow() -> Self {
        Self::new(Refusal::Slow, Code::NoHello, "it took too long")
    }
}

/// Somebody that was greeted.
enum Guest {
    Worker(Box<Greeted>),
    Client(Box<GreetedClient>),
}

impl Door {
    /// The protocols of a server, but for the one that compares versions.
    pub(super) fn speaks(config: &Config) -> &'static [&'static [u8]] {
        match config.clients {
            Some(_) => &[ALPN_LANE, ALPN_CLIENT, ALPN_ENROL, ALPN_RENEW, ALPN_OPERATE],
            None => &[ALPN_LANE, ALPN_ENROL, ALPN_RENEW],
        }
    }

    /// Lets in whoever may, until `stop`.
    pub(super) async fn stand(self: Arc<Self>, endpoint: Endpoint, stop: CancellationToken) {
        loop {
            let incoming = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                incoming = endpoint.accept() => incoming,
            };
            let Some(incoming) = incoming else { return };
            if self.closing.is_cancelled() {
                incoming.refuse();
                continue;
            }
            if self.strangers.crowded() && !incoming.remote_address_validated() && incoming.may_retry() {
                // It may fail only if the address was validated meanwhile, and then it comes again.
                let _ = incoming.retry();
                continue;
            }
            let remote = incoming.remote_address();
            match self.strangers.enter(remote.ip(), Instant::now().into_std()) {
                Some(stranger) => drop(self.tasks.spawn(self.clone().meet(incoming, stranger))),
                None => {
                    self.count(remote, &Turned::crowded());
                    incoming.refuse();
                }
            }
        }
    }

    /// Looks after those who were let in, until `stop`.
    pub(super) async fn look_after(self: Arc<Self>, stop: CancellationToken) {
        let mut tick = interval(LOOK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                _ = tick.tick() => {}
            }
            self.tally.tick(Instant::now().into_std());
            let door = self.clone();
            let looked = tokio::task::spawn_blocking(move || {
                door.roll.check(&door.authority);
                door.renew(SystemTime::now());
            });
            if let Err(error) = looked.await {
                tracing::error!(%error, "looking after the workers failed");
            }
        }
    }

    /// Shows a new certificate if the present one has less than a third of its time left.
    pub(super) fn renew(&self, now: SystemTime) {
        let mut renew_at = self.renew_at.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if now < *renew_at {
            return;
        }
        let made = self.authority.server_leaf().map_err(|e| e.to_string()).and_then(|leaf| {
            self.shown.replace(leaf.chain, leaf.key).map_err(|e| e.to_string())?;
            Ok(leaf.renew_at)
        });
        *renew_at = match made {
            Ok(next) => {
                tracing::info!("this server has a new certificate");
                next.max(now + REMAKE)
            }
            Err(error) => {
                tracing::error!(error, "this server cannot make itself a new certificate");
                now + REMAKE
            }
        };
    }

    fn count(&self, remote: SocketAddr, turned: &Turned) {
        tracing::debug!(%remote, reason = turned.refusal.name(), why = turned.why, "a connection was refused");
        self.tally.count(turned.refusal, remote, &turned.why, Instant::now().into_std());
    }

    /// One connection, from handshake to end.
    async fn meet(self: Arc<Self>, incoming: Incoming, stranger: Stranger) {
        let remote = incoming.remote_address();
        let deadline = Instant::now() + self.config.greeting;
        let shaken = tokio::select! {
            biased;
            () = stranger.evicted() => Err(Turned::crowded()),
            shaken = timeout_at(deadline, shake(incoming)) => shaken.unwrap_or_else(|_| Err(Turned::slow())),
        };
        let connection = match shaken {
            Ok(connection) => connection,
            Err(turned) => return self.count(remote, &turned),
        };
        let met = tokio::select! {
            biased;
            () = stranger.evicted() => Err(Turned::crowded()),
            met = timeout_at(deadline, self.serve(&connection)) => met.unwrap_or_else(|_| Err(Turned::slow())),
        };
        let met = match met {
            // Its place was taken at the last moment.
            Ok(Some(_)) if !stranger.greeted() => Err(Turned::crowded()),
            met => met,
        };
        match met {
            Ok(None) => {}
            Ok(Some((Guest::Worker(greeted), place))) => {
                self.keep(connection, *greeted, place, stranger).await;
            }
            Ok(Some((Guest::Client(greeted), place))) => {
                self.keep_client(connection, *greeted, place, stranger).await;
            }
            Err(turned) => {
                // Who was refused finds it counted.
                self.count(remote, &turned);
                connection.close(turned.code.varint(), turned.why.as_bytes());
            }
        }
    }

    /// Serves a stranger: gives the worker or client that it is, or nothing if it came for something else and has it.
    async fn serve(&self, connection: &Connection) -> Result<Option<(Guest, OwnedSemaphorePermit)>, Turned> {
        let served = |(refusal, why): (Refusal, String)| Turned::new(refusal, Code::Done, why);
        match &version::alpn(connection)[..] {
            ALPN_LANE => {
                let place = place(&self.places, "as many workers as it takes are connected")?;
                let remote = connection.remote_address();
                let no_memory = |why: &str| {
                    self.tally.count(Refusal::SharedMemory, remote, why, Instant::now().into_std());
                };
                let greeted = greet(connection, &self.config, &self.authority, no_memory).await?;
                Ok(Some((Guest::Worker(Box::new(greeted)), place)))
            }
            ALPN_CLIENT => {
                let place = place(&self.client_places, "as many clients as it takes are connected")?;
                let greeted = greet_client(connection, &self.config, &self.authority).await?;
                Ok(Some((Guest::Client(Box::new(greeted)), place)))
            }
            ALPN_OPERATE => {
                admit(connection, &self.authority, &[Role::Operator]).await?;
                operate::serve(connection, &self.asked).await?;
                Ok(None)
            }
            ALPN_ENROL => {
                serve_enrolment(connection, &self.authority).await.map_err(served)?;
                Ok(None)
            }
            ALPN_RENEW => {
                let (subject, _) = admit(connection, &self.authority, &Role::ALL).await?;
                serve_renewal(connection, &self.authority, &subject).await.map_err(served)?;
                Ok(None)
            }
            ALPN_VERSIONS => Err(self.compare(connection).await),
            _ => Err(Turned::new(Refusal::Protocol, Code::Violation, "unknown protocol")),
        }
    }

    /// Tells a peer of another version what this one speaks.
    async fn compare(&self, connection: &Connection) -> Turned {
        let (ours, mut text) =
            (Speaks::these(Self::speaks(&self.config)), String::from("nothing that it would name"));
        let told = exchange::serve(connection, async |theirs: Speaks| {
            text = theirs.text();
            (&ours, ())
        });
        let told = told.await;
        let why = match told {
            Ok(()) => {
                format!("this server speaks {}, the peer {text}: upgrade the older of the two", ours.text())
            }
            Err(broken) => format!("no protocol in common: {broken}"),
        };
        Turned::new(Refusal::Protocol, Code::Done, cut(why, MAX_TEXT))
    }

    /// Runs a greeted worker's connection until it ends.
    async fn keep(
        &self,
        connection: Connection,
        greeted: Greeted,
        _place: OwnedSemaphorePermit,
        stranger: Stranger,
    ) {
        let remote = connection.remote_address();
        // A stranger has room for its greeting alone, a worker for its answers.
        connection.set_receive_window(transport::receive(self.config.windows, self.config.max_credit));
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
        let _entry = self.roll.enter(Member::Worker(peer.clone()), &greeted.record);
        if self.closing.is_cancelled() {
            // Too late to be among those who were asked.
            peer.drain();
        }
        let accepted = self.accepted.clone();
        // Held as a stranger until the caller takes it, so that a caller that does not look bounds
        // what waits for it.
        let hand_over = async move {
            let _ = accepted.send((peer, events)).await;
            drop(stranger);
        };
        let silence = Silence::new(self.config.suspect_after);
        let run = driver.run(greeted.send, greeted.reader, greeted.beat, silence);
        let (closed, ()) = tokio::join!(run, hand_over);
        self.count_end(remote, &closed);
    }

    /// Runs a greeted client's connection until it ends.
    async fn keep_client(
        &self,
        connection: Connection,
        greeted: GreetedClient,
        _place: OwnedSemaphorePermit,
        stranger: Stranger,
    ) {
        let remote = connection.remote_address();
        let GreetedClient { subject, record, hello, allowed, control, tasks, beat } = greeted;
        let (caller, submits, replies, driver) =
            caller::new(connection, subject.worker, hello, allowed, tasks);
        tracing::debug!(%remote, client = %caller.client(), "a client was greeted");
        let _entry = self.roll.enter(Member::Client(caller.clone()), &record);
        if self.closing.is_cancelled() {
            // Too late to be among those who were asked.
            caller.drain();
        }
        let called = self.called.clone();
        let hand_over = async move {
            let _ = called.send((caller, submits, replies)).await;
            drop(stranger);
        };
        let (closed, ()) = tokio::join!(driver.run(control.0, control.1, beat), hand_over);
        self.count_end(remote, &closed);
    }

    /// Counts the end of a connection that was greeted, where it is a refusal.
    fn count_end(&self, remote: SocketAddr, closed: &Closed) {
        let refusal = match closed {
            Closed::Violation(_) => Refusal::Violation,
            Closed::Revoked(_) => Refusal::Revoked,
            Closed::Expired => Refusal::ExpiredCertificate,
            _ => return,
        };
        self.count(remote, &Turned::new(refusal, closed.code(), closed.to_string()));
    }
}

/// One of a bounded number of places.
fn place(places: &Arc<Semaphore>, full: &str) -> Result<OwnedSemaphorePermit, Turned> {
    places.clone().try_acquire_owned().map_err(|_| Turned::new(Refusal::Full, Code::Busy, full))
}

async fn shake(incoming: Incoming) -> Result<Connection, Turned> {
    let failed = |error: ConnectionError| {
        let refusal = match &error {
            // An alert of this end, about what the other one showed.
            ConnectionError::TransportError(e) => match alert_of(e.code) {
                Some(alert::NO_APPLICATION_PROTOCOL) => Refusal::Protocol,
                Some(alert::CERTIFICATE_EXPIRED) => Refusal::ExpiredCertificate,
                Some(
                    alert::UNKNOWN_CA
                    | alert::BAD_CERTIFICATE
                    | alert::UNSUPPORTED_CERTIFICATE
                    | alert::CERTIFICATE_UNKNOWN,
                ) => Refusal::BadCertificate,
                _ => Refusal::Handshake,
            },
            _ => Refusal::Handshake,
        };
        Turned::new(refusal, Code::Done, error.to_string())
    };
    incoming.accept().map_err(failed)?.await.map_err(failed)
}
