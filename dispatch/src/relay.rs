//! Flows whose tasks are not known here: heads and bodies go through as they are.
//!
//! Somebody else has encoded the jobs and will decode the answers, so nothing here looks into them. Each item
//! may be of another task; what can be done is what the lanes serve.

use std::any::Any;
use std::sync::{Arc, Mutex, PoisonError};
use std::vec;

use queue::{FlowId, Key, Parts, Reason, Seq, SourceCounts, TaskName, Verdict};
use tokio::sync::{mpsc, oneshot};
use wire::{Message, PayloadError, Unprocessed};

use crate::Stopped;
use crate::command::{Command, Item, Offer, Payload, Reply, Takings};
use crate::prepare::{Job, Link, Unprepared, Work};
use crate::room::Room;

/// An item of a relayed flow, which is its own work: one allocation for both.
struct Relayed {
    key: Key,
    job: Message,
    /// Why the last try failed.
    trouble: Mutex<Option<String>>,
}

impl Work for Relayed {
    fn key(&self) -> &Key {
        &self.key
    }

    fn encoded(&self, _: &Link) -> Result<Message, Unprepared> {
        Ok(self.job.clone())
    }

    fn job(&self) -> Result<Job, Unprepared> {
        Ok(Job::Encoded(self.job.clone()))
    }

    fn decode(&self, answer: Message) -> Result<Box<dyn Any + Send>, PayloadError> {
        Ok(Box::new(answer))
    }

    fn failed(&self, why: &Unprocessed) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(why.to_string());
    }
}

/// Where encoded jobs enter a flow. One producer, so that numbers follow the order of its calls.
pub struct Inlet {
    flow: FlowId,
    next: Seq,
    room: Arc<Room>,
    commands: mpsc::Sender<Command>,
    close: Option<mpsc::OwnedPermit<Command>>,
}

/// Where their answers leave it, in order, once each.
pub struct Outlet {
    flow: FlowId,
    over: bool,
    commands: mpsc::Sender<Command>,
    forget: Option<mpsc::OwnedPermit<Command>>,
}

/// The flow takes no more, or the queue has stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the flow is closed")]
pub struct Closed;

/// What became of a job: its answer, or why there is none, and what the last worker said of it.
pub type Outcome = Result<Message, (Reason, String)>;

/// What people see as the key of a flow whose jobs have keys of their own.
pub(crate) fn of_any_key() -> Key {
    Key::task(TaskName::new("pushed").expect("it is a name"))
}

pub(crate) fn new(
    flow: FlowId,
    room: Arc<Room>,
    commands: mpsc::Sender<Command>,
    [close, forget]: [mpsc::OwnedPermit<Command>; 2],
) -> (Inlet, Outlet) {
    let outlet = Outlet { flow, over: false, commands: commands.clone(), forget: Some(forget) };
    (Inlet { flow, next: Seq(0), room, commands, close: Some(close) }, outlet)
}

impl Inlet {
    /// The flow's id, for its books.
    pub fn flow(&self) -> FlowId {
        self.flow
    }

    /// Offers jobs of one key, and waits while the flow is full. Gives the number of the first: the others
    /// follow it.
    ///
    /// # Errors
    /// [`Closed`]: then none or only the first of them were admitted, and the flow is over.
    pub async fn send(&mut self, key: &Key, jobs: Vec<Message>) -> Result<Seq, Closed> {
        let first = self.next;
        let mut jobs: vec::IntoIter<Message> = jobs.into_iter();
        while jobs.len() > 0 {
            // As many as there is room for now, at least one.
            let places = self.room.some(jobs.len()).await.map_err(|_| Closed)?;
            let now = tokio::time::Instant::now().into_std();
            let offer = |job| {
                let work = Arc::new(Relayed { key: key.clone(), job, trouble: Mutex::new(None) });
                let payload = Arc::clone(&work) as Payload;
                Offer {
                    item: work as Item,
                    parts: Parts::one(queue::Part { key: key.clone(), payload }),
                    sealed: true,
                    captured_at: now,
                    source: SourceCounts::default(),
                }
            };
            let offers: Vec<Offer> = jobs.by_ref().take(places).map(offer).collect();
            self.next = Seq(self.next.get() + offers.len() as u64);
            self.commands.send(Command::Offers { flow: self.flow, offers }).await.map_err(|_| Closed)?;
        }
        Ok(first)
    }

    /// Nobody wants these any more: each leaves in its turn all the same, as cancelled if it was not settled.
    ///
    /// # Errors
    /// [`Stopped`].
    pub async fn cancel(&self, seqs: Vec<Seq>) -> Result<(), Stopped> {
        self.commands.send(Command::Cancel { flow: self.flow, seqs }).await.map_err(|_| Stopped)
    }

    /// Ends the flow; what was admitted still leaves. Dropping the inlet does the same.
    pub fn close(self) {}
}

impl Drop for Inlet {
    fn drop(&mut self) {
        if let Some(permit) = self.close.take() {
            permit.send(Command::Close { flow: self.flow });
        }
    }
}

impl Outlet {
    /// What became of the next jobs: at least one, at most `most`. None after the last one, or once the
    /// queue has stopped. Dropping the outlet aborts the flow.
    pub async fn next(&mut self, most: usize) -> Option<Vec<Outcome>> {
        if self.over {
            return None;
        }
        let (reply, takings) = oneshot::channel();
        self.commands.send(Command::Take { flow: self.flow, max: most, reply }).await.ok()?;
        match takings.await.ok()? {
            Takings::Places(places) => Some(places.into_iter().map(outcome).collect()),
            Takings::Closed(_) => {
                self.over = true;
                None
            }
        }
    }
}

impl Drop for Outlet {
    fn drop(&mut self) {
        if let Some(permit) = self.forget.take() {
            permit.send(Command::Forget { flow: self.flow });
        }
    }
}

fn outcome(taken: queue::Taken<Item, Reply>) -> Outcome {
    let reason = match taken.verdict {
        Verdict::Answered => Reason::Failed,
        Verdict::Missing(reason) => reason,
        // Every item of a relayed flow is asked about.
        Verdict::NotAsked => Reason::Cancelled,
    };
    for (_, outcome) in taken.parts {
        if let queue::Outcome::Answer(reply) = outcome
            && let Ok(message) = reply.value.downcast::<Message>()
        {
            return Ok(*message);
        }
    }
    let trouble = taken
        .item
        .downcast::<Relayed>()
        .ok()
        .and_then(|relayed| relayed.trouble.lock().unwrap_or_else(PoisonError::into_inner).take());
    Err((reason, if reason == Reason::Failed { trouble.unwrap_or_default() } else { String::new() }))
}
