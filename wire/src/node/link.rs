//! A greeted connection, from the worker's side.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use queue::{Key, Ticket, WorkerId};
use quinn::{Connection, Endpoint, SendStream};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use super::connect::Greeted;
use super::hand_in::{self, Reply};
use super::table::{Cancel, Table};
use crate::close::Closed;
use crate::control::{self, Beat};
use crate::framing::Limits;
use crate::memory::Window;
use crate::protocol::{Control, HelloKey, MAX_CREDIT, MAX_KEYS, Welcome, cut, stream_limit};
use crate::stream::FrameReader;
use crate::task::Message;
use crate::under_way::{Reading, Sending};

/// What the server wants.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// Jobs to do, at least one: those that came together.
    Jobs(Vec<Job>),
    /// The answer to this ticket is no longer wanted. It may have been given already.
    Cancel(Ticket),
    /// Finish what you have, then leave.
    Drain,
    /// The connection ended. Nothing else follows.
    Closed(Closed),
}

/// A job to do.
#[derive(Debug)]
pub struct Job {
    /// Which hand-out.
    pub ticket: Ticket,
    /// What to do.
    pub key: Key,
    /// What was left of its budget when it was sent.
    pub budget_left: Option<Duration>,
    /// The encoded job.
    pub message: Message,
    /// Takes the answer.
    pub reply: Reply,
}

/// Speaks to the server. Cloning is a reference count.
#[derive(Debug, Clone)]
pub struct Node(Arc<Shared>);

/// What arrives from the server.
#[derive(Debug)]
pub struct Jobs {
    shared: Arc<Shared>,
    events: mpsc::Receiver<Event>,
}

#[derive(Debug)]
pub(super) struct Shared {
    endpoint: Endpoint,
    pub(super) connection: Connection,
    welcome: Welcome,
    pub(super) limits: Limits,
    pub(super) table: Table,
    /// Long bodies of answers, and of jobs.
    pub(super) sending: Sending,
    pub(super) reading: Reading,
    /// What the server shares; the connection's task owns it.
    pub(super) memory: Weak<Window>,
    control: mpsc::Sender<Control>,
    closed: OnceLock<Closed>,
    /// The most credit ever given: what the server may have sent on the strength of it.
    most_credit: AtomicU32,
    streams: TaskTracker,
}

/// How many events may wait for a worker that does not look; then streams wait, and in the end QUIC's
/// limit of streams holds the server back.
const EVENTS: usize = 64;
/// Control messages that may wait to be sent. Beyond that the server does not read.
const CONTROLS: usize = 4096;
/// A server that asks for fewer milliseconds would be a bug of its own.
const SHORTEST_BEAT: u32 = 10;

pub(super) fn start(
    endpoint: Endpoint,
    connection: Connection,
    credit: u32,
    limits: Limits,
    greeted: Greeted,
) -> (Node, Jobs) {
    let Greeted { welcome, send, reader, memory } = greeted;
    let memory = memory.map(Arc::new);
    let (control, controls) = mpsc::channel(CONTROLS);
    let (event, events) = mpsc::channel(EVENTS);
    let beat = Beat {
        every: Duration::from_millis(welcome.heartbeat_ms.max(SHORTEST_BEAT).into()),
        dead_after: Duration::from_millis(
            welcome.dead_after_ms.max(welcome.heartbeat_ms).max(SHORTEST_BEAT).into(),
        ),
    };
    let shared = Arc::new(Shared {
        endpoint,
        connection,
        most_credit: AtomicU32::new(credit.min(welcome.max_credit)),
        welcome,
        limits,
        table: Table::new(),
        sending: Sending::new(),
        reading: Reading::new(limits.body),
        memory: memory.as_ref().map(Arc::downgrade).unwrap_or_default(),
        control,
        closed: OnceLock::new(),
        streams: TaskTracker::new(),
    });
    let run = run(shared.clone(), event, send, controls, reader, beat);
    tokio::spawn(async move {
        run.await;
        drop(memory);
    });
    (Node(shared.clone()), Jobs { shared, events })
}

impl Node {
    /// The id by which the server knows this worker.
    pub fn worker(&self) -> WorkerId {
        WorkerId(self.0.welcome.worker)
    }

    /// The most credit that the server counts.
    pub fn max_credit(&self) -> u32 {
        self.0.welcome.max_credit
    }

    /// The round trip time as QUIC measures it.
    pub fn rtt(&self) -> Duration {
        self.0.connection.rtt()
    }

    /// Abilities that both ends named.
    pub fn capabilities(&self) -> &[String] {
        &self.0.welcome.capabilities
    }

    /// Whether long bodies come through memory that the server shares. False once the connection has ended.
    pub fn shares_memory(&self) -> bool {
        self.0.memory.strong_count() > 0
    }

    /// How many jobs are held: arriving, worked on, or cancelled and not let go.
    pub fn held(&self) -> usize {
        self.0.table.len()
    }

    /// Bytes of long bodies that are on their way.
    #[cfg(test)]
    pub(crate) fn reading(&self) -> usize {
        self.0.reading.now()
    }

    /// From now on `n` hand-outs may be outstanding: an absolute number, capped by the server. A lower
    /// one takes effect as answers are given.
    pub fn credit(&self, n: u32) {
        let n = n.min(self.max_credit()).min(MAX_CREDIT);
        let before = self.0.most_credit.fetch_max(n, Ordering::Relaxed);
        if n > before {
            self.0.connection.set_max_concurrent_bi_streams(stream_limit(n).into());
        }
        self.0.tell(Control::Credit { n });
    }

    /// Lets go of a cancelled ticket whose reply cannot be dropped yet. Otherwise nothing happens:
    /// dropping or answering the reply does it.
    pub fn released(&self, ticket: Ticket) {
        if self.0.table.release(&ticket) {
            self.0.tell(Control::Released { ticket });
        }
    }

    /// Says what this worker serves from now on: all keys, at most 1024; more are cut off.
    pub fn keys(&self, mut keys: Vec<HelloKey>) {
        keys.truncate(MAX_KEYS);
        self.0.tell(Control::Keys { keys });
    }

    /// Asks for no more hand-outs. What is held is still to be answered.
    pub fn drain(&self) {
        self.0.tell(Control::Drain);
    }

    /// Ends the connection once the answers that were given have arrived, after 2 s at the latest.
    pub async fn close(&self, reason: &str) {
        self.0.streams.close();
        // Jobs that nobody answers are given up with the connection.
        let _ = timeout(Duration::from_secs(2), self.0.streams.wait()).await;
        self.0.close(Closed::Here(cut(reason.to_owned(), 200)));
        let _ = timeout(Duration::from_secs(1), self.0.endpoint.wait_idle()).await;
    }
}

impl Jobs {
    /// What comes next. After [`Event::Closed`], the same again. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Event {
        match self.events.recv().await {
            Some(event) => event,
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
    pub(super) fn tell(&self, message: Control) {
        match self.control.try_send(message) {
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => {}
            Err(mpsc::error::TrySendError::Full(_)) => {
                self.close(Closed::Violation("the server does not read its control stream".into()));
            }
        }
    }

    /// A reply is gone.
    pub(super) fn let_go(&self, ticket: Ticket) {
        if self.table.let_go(&ticket) {
            self.tell(Control::Released { ticket });
        }
    }

    pub(super) fn close(&self, reason: Closed) {
        let (code, text) = (reason.code(), reason.text());
        if self.connection.close_reason().is_none() {
            let _ = self.closed.set(reason);
            self.connection.close(code.varint(), text.as_bytes());
        }
    }

    /// How many jobs the server may have under way here at most.
    pub(super) fn most_held(&self) -> usize {
        stream_limit(self.most_credit.load(Ordering::Relaxed)) as usize
    }
}

async fn run(
    shared: Arc<Shared>,
    events: mpsc::Sender<Event>,
    send: SendStream,
    controls: mpsc::Receiver<Control>,
    mut reader: FrameReader,
    beat: Beat,
) {
    let closed = tokio::select! {
        biased;
        error = shared.connection.closed() => Closed::from_quic(error),
        closed = listen(&shared, &events, &mut reader, beat) => closed,
        closed = accept(&shared, &events) => closed,
        () = control::write(send, controls, beat) => match shared.connection.close_reason() {
            Some(error) => Closed::from_quic(error),
            None => Closed::Violation("it stopped the control stream".into()),
        },
    };
    shared.close(closed.clone());
    let _ = shared.closed.set(closed);
}

/// Reads the control stream until it fails.
async fn listen(
    shared: &Arc<Shared>,
    events: &mpsc::Sender<Event>,
    reader: &mut FrameReader,
    beat: Beat,
) -> Closed {
    loop {
        match control::read(reader, beat).await {
            Err(closed) => return closed,
            Ok(Control::Beat) => {}
            Ok(Control::Cancel { ticket }) => cancel(shared, events, ticket, true).await,
            Ok(Control::Drain) => drop(events.send(Event::Drain).await),
            Ok(other) => return Closed::Violation(format!("a server does not say {other:?}")),
        }
    }
}

/// Takes the server's streams, each in a task of its own.
async fn accept(shared: &Arc<Shared>, events: &mpsc::Sender<Event>) -> Closed {
    loop {
        match shared.connection.accept_bi().await {
            Ok((send, recv)) => {
                shared.streams.spawn(hand_in::serve(shared.clone(), events.clone(), send, recv));
            }
            Err(error) => return Closed::from_quic(error),
        }
    }
}

/// A ticket is not wanted: by control message, which is answered, or by its stopped stream, whose
/// control message is on its way.
pub(super) async fn cancel(shared: &Shared, events: &mpsc::Sender<Event>, ticket: Ticket, asked: bool) {
    match shared.table.cancel(&ticket) {
        Cancel::Release if asked => shared.tell(Control::Released { ticket }),
        Cancel::Release | Cancel::Nothing => {}
        // A worker that went away needs no events.
        Cancel::Tell => drop(events.send(Event::Cancel(ticket)).await),
    }
}
