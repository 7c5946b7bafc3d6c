//! A greeted worker: [`Peer`] hands out, [`Events`] tells what it says on its own account.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use queue::{Ticket, WorkerId};
use quinn::{Connection, SendStream};
use tokio::sync::mpsc;

use super::goodput::Goodput;
use super::silence::Silence;
use super::table::{Cancel, Table};
use crate::close::Closed;
use crate::control::{self, Beat};
use crate::framing::Limits;
use crate::memory::Arena;
use crate::practice;
use crate::protocol::{Control, Hello, HelloKey, MAX_KEYS, cut};
use crate::stream::FrameReader;
use crate::under_way::{Reading, Sending};

/// What a worker says on its own account.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// From now on so many hand-outs may be outstanding; capped by [`Config`](super::Config).
    Credit(u32),
    /// The worker let go of a cancelled ticket.
    Released(Ticket),
    /// What it serves from now on, all of it.
    Keys(Vec<HelloKey>),
    /// Nothing was heard of it for longer than [`Config::suspect_after`](super::Config) though it has, or
    /// had in the last minute, work: it is dead, or pauses, or the network does.
    Silent,
    /// It is heard again.
    Heard,
    /// It wants no more hand-outs, and leaves when it has answered what it holds.
    Drain,
    /// The connection ended. Nothing else follows.
    Closed(Closed),
}

/// The sending half of a worker's connection. Cloning is a reference count; the connection lives until
/// it is closed, not until the last clone is gone.
#[derive(Debug, Clone)]
pub struct Peer(pub(super) Arc<Shared>);

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) connection: Connection,
    worker: WorkerId,
    /// Without the abilities that are this crate's own.
    hello: Hello,
    pub(super) practises: bool,
    pub(super) limits: Limits,
    max_credit: u32,
    pub(super) table: Table,
    pub(super) goodput: Goodput,
    /// Long bodies of jobs, and of answers.
    pub(super) sending: Sending,
    pub(super) reading: Reading,
    /// What is shared with the worker; the driver owns it, so that it ends with the connection.
    pub(super) memory: Weak<Arena>,
    control: mpsc::Sender<Control>,
    /// The worker is not to come back by itself.
    away: AtomicBool,
    /// Set once, by whoever ends the connection first.
    closed: OnceLock<Closed>,
}

/// The receiving half of a worker's connection.
#[derive(Debug)]
pub struct Events {
    shared: Arc<Shared>,
    events: mpsc::Receiver<Event>,
}

/// What the connection's own task needs.
pub(super) struct Driver {
    shared: Arc<Shared>,
    memory: Option<Arc<Arena>>,
    events: mpsc::Sender<Event>,
    control: mpsc::Receiver<Control>,
}

/// How many events may wait for a caller that does not look. Then the worker's control stream waits.
const EVENTS: usize = 256;

pub(super) fn new(
    connection: Connection,
    worker: WorkerId,
    mut hello: Hello,
    limits: Limits,
    max_credit: u32,
    memory: Option<Arc<Arena>>,
) -> (Peer, Events, Driver) {
    let outstanding = max_credit as usize * 2 + 8;
    // One cancel for each hand-out, and a drain or two: a full channel means a stuck worker.
    let (control, controls) = mpsc::channel(outstanding + 8);
    let (event, events) = mpsc::channel(EVENTS);
    let table = Table::new(outstanding);
    let abilities = hello.capabilities.len();
    hello.capabilities.retain(|ability| ability != practice::ABILITY);
    let practises = hello.capabilities.len() < abilities;
    let shared = Arc::new(Shared {
        connection,
        worker,
        hello,
        practises,
        limits,
        max_credit,
        table,
        goodput: Goodput::default(),
        sending: Sending::new(),
        reading: Reading::new(limits.body),
        memory: memory.as_ref().map(Arc::downgrade).unwrap_or_default(),
        control,
        away: AtomicBool::new(false),
        closed: OnceLock::new(),
    });
    let driver = Driver { shared: shared.clone(), memory, events: event, control: controls };
    (Peer(shared.clone()), Events { shared, events }, driver)
}

impl Peer {
    /// The id in the worker's certificate.
    pub fn worker(&self) -> WorkerId {
        self.0.worker
    }

    /// What the worker said first; its credit is capped as later ones are.
    pub fn hello(&self) -> &Hello {
        &self.0.hello
    }

    /// Where it connects from.
    pub fn remote(&self) -> SocketAddr {
        self.0.connection.remote_address()
    }

    /// The round trip time as QUIC measures it.
    pub fn rtt(&self) -> Duration {
        self.0.connection.rtt()
    }

    /// What the connection carries of bodies, in bytes a second, where bodies of some size were sent in the last
    /// half minute. It says what was reached, so it is no more than a guess at what could be.
    pub fn bytes_per_s(&self) -> Option<f64> {
        self.0.goodput.bytes_per_s()
    }

    /// Whether long bodies go to the worker through memory, since it is on this host. False once the
    /// connection has ended.
    pub fn shares_memory(&self) -> bool {
        self.0.memory.strong_count() > 0
    }

    /// How many hand-outs are not over, cancelled ones that were not released included.
    pub fn outstanding(&self) -> usize {
        self.0.table.len()
    }

    /// Cancels a hand-out. Nothing happens if it is over: then its future has given its answer, or
    /// will, and no [`Event::Released`] comes.
    pub fn cancel(&self, ticket: Ticket) {
        self.0.cancel(&ticket);
    }

    /// Asks the worker to finish what it has and leave. It answers with [`Event::Drain`], and comes back
    /// once the connection has ended.
    pub fn drain(&self) {
        self.0.tell(Control::Drain);
    }

    /// As [`drain`](Self::drain), but the worker is not to come back by itself: however this end then
    /// closes the connection, the worker sees [`Closed::SentAway`].
    pub fn send_away(&self) {
        self.0.away.store(true, Ordering::Relaxed);
        self.drain();
    }

    /// Ends the connection now. Pending hand-outs give [`HandOutError::LaneClosed`].
    pub fn close(&self, reason: &str) {
        let reason = cut(reason.to_owned(), 200);
        self.0.close(match self.0.away.load(Ordering::Relaxed) {
            true => Closed::SentAway(reason),
            false => Closed::Here(reason),
        });
    }

    /// Ends the connection now, and says why in a way that the worker understands.
    pub(super) fn end(&self, reason: Closed) {
        self.0.close(reason);
    }
}

impl Events {
    /// The next event. After [`Event::Closed`], the same again. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Event {
        match self.events.recv().await {
            Some(event) => event,
            // The driver is gone, and it sets the reason before it goes; a runtime that shuts down
            // may drop it before.
            None => Event::Closed(
                self.shared
                    .closed
                    .get()
                    .cloned()
                    .unwrap_or_else(|| Closed::Here("the runtime stopped".into())),
            ),
        }
    }
}

impl Shared {
    pub(super) fn cancel(&self, ticket: &Ticket) {
        if self.table.cancel(ticket) == Cancel::Tell {
            self.tell(Control::Cancel { ticket: *ticket });
        }
    }

    /// Says something that the worker's end of the connection must acknowledge. Where there is no room
    /// for it, other things are on their way.
    pub(super) fn probe(&self) {
        let _ = self.control.try_send(Control::Beat);
    }

    fn tell(&self, message: Control) {
        match self.control.try_send(message) {
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => {}
            Err(mpsc::error::TrySendError::Full(_)) => {
                self.close(Closed::Violation("it does not read its control stream".into()));
            }
        }
    }

    pub(super) fn close(&self, reason: Closed) {
        let (code, text) = (reason.code(), reason.text());
        // A connection that ended by itself keeps its own reason.
        if self.connection.close_reason().is_none() {
            let _ = self.closed.set(reason);
            self.connection.close(code.varint(), text.as_bytes());
        }
    }
}

impl Driver {
    /// Runs the connection until it ends, and gives how.
    pub(super) async fn run(
        self,
        send: SendStream,
        mut reader: FrameReader,
        beat: Beat,
        silence: Silence,
    ) -> Closed {
        let Self { shared, memory, events, control } = self;
        let closed = tokio::select! {
            biased;
            error = shared.connection.closed() => Closed::from_quic(error),
            closed = listen(&shared, &events, &mut reader, beat) => closed,
            () = silence.watch(&shared, &events) => unreachable!("it watches until the connection ends"),
            () = control::write(send, control, beat) => match shared.connection.close_reason() {
                Some(error) => Closed::from_quic(error),
                None => Closed::Violation("it stopped the control stream".into()),
            },
        };
        shared.close(closed.clone());
        drop(memory);
        let closed = shared.closed.get_or_init(|| closed).clone();
        tracing::debug!(worker = %shared.worker, reason = ?closed, "a worker's connection ended");
        closed
    }
}

/// Reads the control stream until it fails.
async fn listen(
    shared: &Shared,
    events: &mpsc::Sender<Event>,
    reader: &mut FrameReader,
    beat: Beat,
) -> Closed {
    loop {
        let event = match control::read(reader, beat).await {
            Err(closed) => return closed,
            Ok(Control::Beat) => continue,
            Ok(Control::Credit { n }) => Event::Credit(n.min(shared.max_credit)),
            Ok(Control::Released { ticket }) if shared.table.released(&ticket) => Event::Released(ticket),
            // A release that crossed an answer, or a second one.
            Ok(Control::Released { .. }) => continue,
            Ok(Control::Keys { keys }) if keys.len() <= MAX_KEYS => Event::Keys(keys),
            Ok(Control::Keys { .. }) => return Closed::Violation("it names too many keys".into()),
            Ok(Control::Drain) => Event::Drain,
            Ok(Control::Cancel { .. }) => return Closed::Violation("a worker cancels nothing".into()),
        };
        // Waits while the caller does not look; a caller that went away wants no events.
        let _ = events.send(event).await;
    }
}
