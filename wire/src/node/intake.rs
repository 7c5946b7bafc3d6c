//! Reads jobs off a stream and gives them to the worker: those that came together, together.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use queue::{Key, Ticket};
use tokio::sync::mpsc;

use super::hand_in::{End, Reply};
use super::link::{Event, Job, Shared};
use super::outbox::Outbox;
use crate::close::{CANCELLED, Closed};
use crate::control::broken;
use crate::memory::{self, Taking, Window};
use crate::process::Unprocessed;
use crate::protocol::{JobHead, Place};
use crate::stream::{FrameReader, ReadFailed};
use crate::task::Message;

/// The most jobs in one event: more are read when the worker has looked at these.
const TOGETHER: usize = 256;

/// The reading end of one stream.
pub(super) struct Intake<'a> {
    pub(super) shared: &'a Arc<Shared>,
    pub(super) events: &'a mpsc::Sender<Event>,
    pub(super) outbox: &'a Arc<Outbox>,
    pub(super) reader: FrameReader,
    /// What the last job was about: the next one need not say it again.
    pub(super) key: Option<Key>,
    /// Whether that one has its body in shared memory.
    pub(super) alone: bool,
}

/// What came.
pub(super) enum Received {
    /// The worker has these jobs, and their answers will come to the outbox.
    Given(Vec<Ticket>),
    /// There are no more jobs on this stream.
    End,
    /// This one cannot be taken, and nothing behind it will be read.
    TooLong(Ticket, Unprocessed),
    Failed(End),
}

/// A job that is here, whole.
struct Whole<'a> {
    arriving: Arriving<'a>,
    key: Key,
    budget_left: Option<Duration>,
    message: Message,
}

impl<'a> Intake<'a> {
    /// Receives at least one job, and gives it to the worker with those that are here already.
    pub(super) async fn receive(mut self) -> (Self, Received) {
        let received = self.receive_with().await.unwrap_or_else(Received::Failed);
        (self, received)
    }

    async fn receive_with(&mut self) -> Result<Received, End> {
        let limits = self.shared.limits;
        let Some(incoming) = self.reader.head::<JobHead>(limits.head).await.map_err(unread)? else {
            return Ok(Received::End);
        };
        let length = incoming.head.place.map_or(0, |place| place.len as usize).max(incoming.body);
        if length > limits.body {
            let why =
                format!("a body of {length} bytes is longer than this worker's limit of {}", limits.body);
            self.reader.stop(CANCELLED);
            return Ok(Received::TooLong(incoming.head.ticket, Unprocessed::Bad(why)));
        }
        let (arriving, key) = self.begin(&incoming.head)?;
        let body = self.reader.body_beside(incoming.body, &self.shared.reading).await.map_err(unread)?;
        let body = match incoming.head.place {
            Some(place) => self.shared_body(&incoming.head, place, body).await?,
            None => body,
        };
        let mut whole = vec![Whole::new(arriving, key, incoming.head, body)];
        while whole.len() < TOGETHER
            && !self.alone
            && let Some((head, body)) = self.reader.here::<JobHead>(limits).map_err(|e| unread(e.into()))?
        {
            let (arriving, key) = self.begin(&head)?;
            whole.push(Whole::new(arriving, key, head, body));
        }
        Ok(Received::Given(self.give(whole).await))
    }

    /// Notes a job whose head is here.
    fn begin(&mut self, head: &JobHead) -> Result<(Arriving<'a>, Key), End> {
        let ticket = head.ticket;
        if self.shared.table.len() >= self.shared.most_held() {
            return violated("it hands out far more than the credit".into());
        }
        // Also so that what is said in the memory meanwhile concerns no other job.
        if self.alone || (head.place.is_some() && self.key.is_some()) {
            return violated(format!("{ticket} is on one stream with a job whose body is in memory"));
        }
        self.alone = head.place.is_some();
        if let Some(key) = &head.key {
            self.key = Some(key.clone());
        }
        let Some(key) = self.key.clone() else {
            return violated(format!("it does not say what {ticket} is about"));
        };
        if !self.shared.table.arrive(ticket) {
            return violated(format!("it handed out {ticket} twice"));
        }
        Ok((Arriving { shared: self.shared, ticket, given: false }, key))
    }

    /// The body of a job that is in shared memory, or is being laid there.
    async fn shared_body(&mut self, head: &JobHead, place: Place, on_stream: Bytes) -> Result<Bytes, End> {
        let len = place.len as usize;
        if !on_stream.is_empty() || (place.laid.is_some() && len < memory::FROM) {
            return violated(format!("{} names a body in memory that it cannot have", head.ticket));
        }
        // One that is still being laid takes memory for as long as the server likes.
        let begun = place.laid.map(|_| self.shared.reading.begin(len)).transpose();
        let _begun = begun.map_err(|e| unread(e.into()))?;
        let mut taking = self.memory(head)?.begin(place).or_else(|e| violated(e.to_string()))?;
        if !self.take(head, &mut taking)? {
            // The rest is there when the stream ends.
            if !self.reader.ends().await.map_err(|e| unread(e.into()))? {
                return violated(format!("something follows {}, whose body is not laid yet", head.ticket));
            }
            if !self.take(head, &mut taking)? {
                // One that was cancelled meanwhile has lost its place to another. Nobody else would do this.
                return Err(End::Stopped);
            }
        }
        Ok(taking.body())
    }

    fn take(&self, head: &JobHead, taking: &mut Taking) -> Result<bool, End> {
        self.memory(head)?.take(taking).or_else(|outside| violated(outside.to_string()))
    }

    /// The memory that the server shares, not to be kept: it goes with the connection.
    fn memory(&self, head: &JobHead) -> Result<Arc<Window>, End> {
        match self.shared.memory.upgrade() {
            Some(memory) => Ok(memory),
            // Another task has ended the connection. Otherwise there never was any.
            None if self.shared.connection.close_reason().is_some() => Err(End::Stopped),
            None => violated(format!("{} has its body in memory, and none is shared", head.ticket)),
        }
    }

    /// Gives jobs to the worker but for those that were cancelled on their way; all of them where there
    /// is no worker any more.
    async fn give(&self, whole: Vec<Whole<'_>>) -> Vec<Ticket> {
        let Ok(place) = self.events.reserve().await else { return Vec::new() };
        let mut tickets = Vec::with_capacity(whole.len());
        let mut jobs = Vec::with_capacity(whole.len());
        let coming = whole.iter().map(|whole| whole.arriving.ticket).collect();
        // Dropped outside of the table's lock, which each of them takes.
        let mut cancelled = Vec::new();
        // In one step with the event: a cancel is told after its job, or instead of it, never before.
        self.shared.table.begin(coming, |begun| {
            // In the same order, without the cancelled ones.
            let mut begun = begun.iter().peekable();
            for Whole { mut arriving, key, budget_left, message } in whole {
                let ticket = arriving.ticket;
                if begun.next_if_eq(&&ticket).is_none() {
                    cancelled.push(arriving);
                    continue;
                }
                arriving.given = true;
                let reply = Reply::new(self.shared, ticket, self.outbox);
                jobs.push(Job { ticket, key, budget_left, message, reply });
                tickets.push(ticket);
            }
            if !jobs.is_empty() {
                place.send(Event::Jobs(jobs));
            }
        });
        tickets
    }
}

impl<'a> Whole<'a> {
    fn new(arriving: Arriving<'a>, key: Key, head: JobHead, body: Bytes) -> Self {
        let budget_left = head.budget_left_us.map(Duration::from_micros);
        Self { arriving, key, budget_left, message: Message { head: head.job, body } }
    }
}

/// A ticket whose body is on its way: forgotten if the stream is given up before the worker has it.
struct Arriving<'a> {
    shared: &'a Shared,
    ticket: Ticket,
    given: bool,
}

impl Drop for Arriving<'_> {
    fn drop(&mut self) {
        if !self.given {
            self.shared.let_go(self.ticket);
        }
    }
}

fn violated<T>(why: String) -> Result<T, End> {
    Err(End::Broken(Closed::Violation(why)))
}

fn unread(error: ReadFailed) -> End {
    match error {
        ReadFailed::Stream(quinn::ReadError::Reset(_)) => End::Stopped,
        other => End::Broken(broken(other)),
    }
}
