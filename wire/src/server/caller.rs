//! A greeted client: [`Caller`] is its connection, [`Submits`] what it pushes, [`Replies`] what it is answered.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use queue::{Key, WorkerId};
use quinn::{Connection, SendStream};
use tokio::sync::mpsc;

use super::{Clients, answered};
use crate::close::Closed;
use crate::control::{self, Beat, broken};
use crate::protocol::{Control, cut};
use crate::pushed::{ClientHello, FREE, NoAnswer, Pushed, Wishes, cut_up};
use crate::stream::FrameReader;
use crate::task::Message;

/// What a client says on its task stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pushing {
    /// The next tasks, at least one, all of this key. They are numbered by their order, from 0.
    Tasks(Key, Vec<Message>),
    /// Nobody wants these tasks any more; any of them may be answered already, or never have been pushed.
    Cancel(Vec<u64>),
    /// It pushes no more, and waits for what is not answered.
    End,
}

/// What became of a task: its answer, or why there is none and a text that explains it.
pub type Reply = Result<Message, (NoAnswer, String)>;

/// A client's connection. Cloning is a reference count; it lives until it is closed.
#[derive(Debug, Clone)]
pub struct Caller(pub(super) Arc<Shared>);

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) connection: Connection,
    client: WorkerId,
    hello: ClientHello,
    allowed: Clients,
    control: mpsc::Sender<Control>,
    away: AtomicBool,
    closed: OnceLock<Closed>,
    open: Mutex<Open>,
}

/// What is not answered, in order.
#[derive(Debug, Default)]
struct Open {
    weights: VecDeque<u64>,
    bytes: u64,
}

/// What the connection's own task needs.
pub(super) struct Driver {
    shared: Arc<Shared>,
    controls: mpsc::Receiver<Control>,
}

/// Drains that may wait to be told.
const CONTROLS: usize = 8;

pub(super) fn new(
    connection: Connection,
    client: WorkerId,
    hello: ClientHello,
    allowed: Clients,
    (send, reader): (SendStream, FrameReader),
) -> (Caller, Submits, Replies, Driver) {
    let (control, controls) = mpsc::channel(CONTROLS);
    let shared = Arc::new(Shared {
        connection,
        client,
        hello,
        allowed,
        control,
        away: AtomicBool::new(false),
        closed: OnceLock::new(),
        open: Mutex::default(),
    });
    let submits = Submits { shared: Arc::clone(&shared), reader, key: None };
    let replies = Replies::new(Arc::clone(&shared), send);
    (Caller(Arc::clone(&shared)), submits, replies, Driver { shared, controls })
}

impl Caller {
    /// The id in the client's certificate.
    pub fn client(&self) -> WorkerId {
        self.0.client
    }

    /// The name that it gave.
    pub fn name(&self) -> &str {
        &self.0.hello.name
    }

    /// How it wants its tasks treated.
    pub fn wishes(&self) -> &Wishes {
        &self.0.hello.wishes
    }

    /// What it was allowed.
    pub fn allowed(&self) -> &Clients {
        &self.0.allowed
    }

    /// Where it connects from.
    pub fn remote(&self) -> SocketAddr {
        self.0.connection.remote_address()
    }

    /// Asks it to push nothing more here. What it has pushed is still to be answered.
    pub fn drain(&self) {
        // A full channel has a drain in it already.
        let _ = self.0.control.try_send(Control::Drain);
    }

    /// As [`drain`](Self::drain), and it is not to come back by itself.
    pub fn send_away(&self) {
        self.0.away.store(true, Ordering::Relaxed);
        self.drain();
    }

    /// Ends the connection now.
    pub fn close(&self, reason: &str) {
        let reason = cut(reason.to_owned(), 200);
        self.end(match self.0.away.load(Ordering::Relaxed) {
            true => Closed::SentAway(reason),
            false => Closed::Here(reason),
        });
    }

    /// Ends the connection now, and says why in a way that the client understands.
    pub(super) fn end(&self, reason: Closed) {
        self.0.close(reason);
    }

    /// Waits until the connection has ended.
    pub async fn closed(&self) -> Closed {
        let error = self.0.connection.closed().await;
        self.0.closed.get().cloned().unwrap_or_else(|| Closed::from_quic(error))
    }
}

impl Shared {
    pub(super) fn close(&self, reason: Closed) {
        let (code, text) = (reason.code(), reason.text());
        // A connection that ended by itself keeps its own reason.
        if self.connection.close_reason().is_none() {
            let _ = self.closed.set(reason);
            self.connection.close(code.varint(), text.as_bytes());
        }
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        // No step panics half-way, so a poisoned one is whole.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next tasks of the client have their answers: their room is its own again.
    pub(super) fn over(&self, tasks: usize) {
        let mut open = self.open();
        let tasks = tasks.min(open.weights.len());
        let bytes: u64 = open.weights.drain(..tasks).sum();
        open.bytes -= bytes;
    }

    pub(super) fn violated(&self, what: String) -> Closed {
        let closed = Closed::Violation(what);
        self.close(closed.clone());
        closed
    }
}

pub use answered::Replies;

/// What a client pushes.
#[derive(Debug)]
pub struct Submits {
    shared: Arc<Shared>,
    reader: FrameReader,
    /// What the last tasks were about: the next ones need not say it again.
    key: Option<Key>,
}

impl Submits {
    /// What comes next. Not to be dropped half-way: that loses what the stream carried. After
    /// [`Pushing::End`], the same again.
    ///
    /// # Errors
    /// How the connection ended; a client that breaks the protocol has been cut off then.
    pub async fn next(&mut self) -> Result<Pushing, Closed> {
        let limits = self.shared.allowed.limits;
        loop {
            let incoming = match self.reader.head::<Pushed>(limits.head).await {
                Ok(Some(incoming)) => incoming,
                Ok(None) => return Ok(Pushing::End),
                Err(error) => return Err(self.failed(broken(error))),
            };
            let (key, lengths) = match incoming.head {
                Pushed::Cancel { .. } if incoming.body > 0 => {
                    return Err(self.shared.violated("a cancel has no body".into()));
                }
                Pushed::Cancel { tasks } => return Ok(Pushing::Cancel(tasks)),
                Pushed::Submit { key, lengths } => (key, lengths),
            };
            if let Some(key) = key {
                self.key = Some(key);
            }
            // Before anything is set aside for it.
            self.admit(&lengths, incoming.body)?;
            let body = match self.reader.body(incoming.body).await {
                Ok(body) => body,
                Err(error) => return Err(self.failed(broken(error))),
            };
            let tasks = match cut_up(&lengths, body, limits) {
                Ok(tasks) => tasks,
                Err(error) => return Err(self.shared.violated(error.to_string())),
            };
            if tasks.is_empty() {
                continue;
            }
            let Some(key) = self.key.clone() else {
                return Err(self.shared.violated("it does not say what its tasks are about".into()));
            };
            return Ok(Pushing::Tasks(key, tasks));
        }
    }

    /// Counts tasks as not answered, if there is room for them.
    fn admit(&self, lengths: &[u32], body: usize) -> Result<(), Closed> {
        let allowed = &self.shared.allowed;
        let (pairs, _) = lengths.as_chunks::<2>();
        let weight =
            |&[head, body]: &[u32; 2]| (u64::from(head) + u64::from(body)).saturating_sub(FREE as u64);
        let weights = pairs.iter().map(weight);
        // Lengths that are not those of the body are found later; here they must not overflow.
        let sum = pairs.iter().flatten().map(|&len| u64::from(len)).sum::<u64>();
        if sum != body as u64 {
            return Err(self.shared.violated("lengths that are not those of the body".into()));
        }
        let mut open = self.shared.open();
        let (tasks, bytes) = (open.weights.len() + pairs.len(), open.bytes + weights.clone().sum::<u64>());
        if tasks > allowed.tasks as usize || bytes > allowed.bytes() {
            drop(open);
            return Err(self.shared.violated("it pushes more than its window allows".into()));
        }
        open.bytes = bytes;
        open.weights.extend(weights);
        Ok(())
    }

    fn failed(&self, closed: Closed) -> Closed {
        if matches!(closed, Closed::Violation(_)) {
            self.shared.close(closed.clone());
        }
        self.shared.closed.get().cloned().unwrap_or(closed)
    }
}

impl Driver {
    /// Runs the connection until it ends, and gives how.
    pub(super) async fn run(self, send: SendStream, mut reader: FrameReader, beat: Beat) -> Closed {
        let Self { shared, controls } = self;
        let closed = tokio::select! {
            biased;
            error = shared.connection.closed() => Closed::from_quic(error),
            closed = listen(&mut reader, beat) => closed,
            () = control::write(send, controls, beat) => match shared.connection.close_reason() {
                Some(error) => Closed::from_quic(error),
                None => Closed::Violation("it stopped the control stream".into()),
            },
        };
        shared.close(closed.clone());
        let closed = shared.closed.get_or_init(|| closed).clone();
        tracing::debug!(client = %shared.client, reason = ?closed, "a client's connection ended");
        closed
    }
}

/// Reads the control stream, on which a client says nothing but that it is here, until it fails.
async fn listen(reader: &mut FrameReader, beat: Beat) -> Closed {
    loop {
        match control::read(reader, beat).await {
            Err(closed) => return closed,
            Ok(Control::Beat) => {}
            Ok(other) => return Closed::Violation(format!("a client does not say {other:?}")),
        }
    }
}
