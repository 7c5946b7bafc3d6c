//! From an item to the job that is sent for it, just before a lane takes it.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use queue::{Key, LaneId, WorkerId};
use wire::framing::{FrameError, Limits};
use wire::{Message, PayloadError, Task, Unprocessed};

/// The job type of a [`Prepare`].
pub type JobOf<P> = <<P as Prepare>::Task as Task>::Job;
/// The answer type of a [`Prepare`].
pub type AnswerOf<P> = <<P as Prepare>::Task as Task>::Answer;

/// Makes the job for an item: the smallest thing worth sending.
///
/// It runs after the queue has chosen a lane, in that lane's own task or thread, so items of one
/// flow are prepared in parallel and an item that is never assigned costs nothing. It may run
/// again for another attempt. More than about a millisecond of work belongs into
/// `tokio::task::block_in_place`, since a QUIC lane shares its thread with others.
pub trait Prepare: Send + Sync + 'static {
    /// What the worker does with the job.
    type Task: Task;
    /// What the flow holds until the place is taken.
    type Item: Send + Sync + 'static;

    /// Makes the job. An error settles the part as missing, since no other lane would fare better.
    fn prepare(&self, item: &Self::Item, link: &Link) -> Result<JobOf<Self>, Unprepared>;
}

/// The way to the worker that a job is made for, so that a thin one can be given a smaller job.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Link {
    /// A thread of this process: the job is handed over as it is.
    Local,
    /// A connection over a network.
    Remote {
        /// Who is at the other end, the same over reconnects.
        worker: WorkerId,
        /// The connection itself, as [`View`](crate::lane::View) names it.
        lane: LaneId,
        /// What it named in its greeting beside its keys, of what the server knows.
        abilities: Arc<[String]>,
        /// What the connection carries, in bytes a second, where that was measured lately.
        bytes_per_s: Option<f64>,
        /// The round trip time as the connection measures it.
        rtt: Duration,
    },
}

impl Link {
    /// A connection over a network, for lanes of other crates and for tests of a [`Prepare`].
    pub fn remote(
        worker: WorkerId,
        lane: LaneId,
        abilities: Arc<[String]>,
        bytes_per_s: Option<f64>,
        rtt: Duration,
    ) -> Self {
        Link::Remote { worker, lane, abilities, bytes_per_s, rtt }
    }
}

/// An item that no job can be made of.
#[derive(Debug, Clone, thiserror::Error)]
#[error("no job can be made of this item: {0}")]
pub struct Unprepared(pub String);

/// Why a job cannot be written, with what to do about it where that is known.
fn unwritten(error: PayloadError) -> Unprepared {
    Unprepared(match error {
        PayloadError::Head(FrameError::HeadTooLong { len, limit }) => format!(
            "its head has {len} bytes, and a head may have {limit} at most: put what is long into the job's body, \
             which may have {} MiB",
            Limits::BODY >> 20
        ),
        error => error.to_string(),
    })
}

/// A part's work with its types erased, so that flows of different tasks share one queue.
pub(crate) trait Work: Send + Sync {
    /// What must be done: lent, since all threads that hold clones of a key would write to the same few bytes.
    fn key(&self) -> &Key;
    /// The job as it crosses the wire.
    fn encoded(&self, link: &Link) -> Result<Message, Unprepared>;
    /// The job for a lane in this process.
    fn job(&self) -> Result<Job, Unprepared>;
    /// The answer out of its wire form.
    fn decode(&self, answer: Message) -> Result<Box<dyn Any + Send>, PayloadError>;
    /// A worker says why it has none.
    fn failed(&self, _: &Unprocessed) {}
}

/// A job in this process.
pub(crate) enum Job {
    /// A value of the task's job type.
    Value(Box<dyn Any + Send>),
    /// As it came from somebody else, who wants the answer in the same form.
    Encoded(Message),
}

/// What the parts of a flow share.
pub(crate) struct Kind<P> {
    pub(crate) key: Key,
    pub(crate) prepare: P,
}

/// An item, which is its own work: one allocation for both, shared by the place that holds it and the lanes that
/// have it.
pub(crate) struct Asked<P: Prepare> {
    pub(crate) kind: Arc<Kind<P>>,
    pub(crate) item: P::Item,
}

impl<P: Prepare> Work for Asked<P> {
    fn key(&self) -> &Key {
        &self.kind.key
    }

    fn encoded(&self, link: &Link) -> Result<Message, Unprepared> {
        let job = self.kind.prepare.prepare(&self.item, link)?;
        wire::encode(job).map_err(unwritten)
    }

    fn job(&self) -> Result<Job, Unprepared> {
        Ok(Job::Value(Box::new(self.kind.prepare.prepare(&self.item, &Link::Local)?)))
    }

    fn decode(&self, answer: Message) -> Result<Box<dyn Any + Send>, PayloadError> {
        Ok(Box::new(wire::decode::<AnswerOf<P>>(answer)?))
    }
}
