//! The lane's side of the queue: what every kind of lane is given, and what it must report.
//!
//! A lane receives [`Order`]s and reports through its [`Reporter`]. It owes exactly one
//! [`answered`](Reporter::answered) or [`released`](Reporter::released) for each hand-out; the
//! queue gives its credit back then and not before. Dropping the reporter is the lane's death: what
//! it still held goes back to the front of its flows.

#[cfg(any(feature = "redis", feature = "amqp"))]
pub mod broker;
mod habits;
pub mod local;
mod orders;
mod pace;
pub mod quic;
mod trouble;

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use queue::{Failure, Key, LaneId, LaneKey, Ticket, WorkerId};
use tokio::sync::{Notify, mpsc};
use wire::{Message, PayloadError, Timings, Unprocessed};

use crate::Stopped;
use crate::command::{Command, Reply, Report};
use crate::prepare::{Job, Link, Unprepared, Work};

pub use orders::Orders;

/// What the queue asks of a lane.
pub enum Order {
    /// Run this and report.
    HandOut(HandOut),
    /// Let go of this ticket and report its release; its answer would be stale.
    Cancel(Ticket),
    /// The lane holds nothing and will get nothing more: it may close.
    Drained,
    /// The queue has given the lane up, with everything it held.
    Lost,
}

/// One hand-out of one part.
pub struct HandOut {
    /// Names it in every report.
    pub ticket: Ticket,
    /// After this moment the answer is of no use.
    pub deadline: Option<Instant>,
    pub(crate) work: Arc<dyn Work>,
}

impl HandOut {
    /// What must be done.
    pub fn key(&self) -> &Key {
        self.work.key()
    }

    /// What is left of the budget; none where the flow has no budget.
    pub fn budget_left(&self, now: Instant) -> Option<Duration> {
        self.deadline.map(|deadline| deadline.saturating_duration_since(now))
    }

    /// Makes the job in its wire form.
    pub fn encoded(&self, link: &Link) -> Result<Message, Unprepared> {
        self.work.encoded(link)
    }

    /// Makes the job as a value of the task's job type, or as the [`Message`] that somebody else encoded.
    pub fn typed(&self) -> Result<Box<dyn std::any::Any + Send>, Unprepared> {
        Ok(match self.work.job()? {
            Job::Value(value) => value,
            Job::Encoded(message) => Box::new(message),
        })
    }

    /// Makes the job for this process.
    fn job(&self) -> Result<Job, Unprepared> {
        self.work.job()
    }

    /// Notes why a worker has no answer, for whoever asked.
    fn failed(&self, why: &Unprocessed) {
        self.work.failed(why);
    }

    fn decode(&self, answer: Message) -> Result<Box<dyn std::any::Any + Send>, PayloadError> {
        self.work.decode(answer)
    }
}

/// What a person sees of a lane.
#[derive(Debug, Clone)]
pub struct Label {
    /// The worker's own name.
    pub name: String,
    /// `quic`, `local`, `redis` or `amqp`.
    pub kind: &'static str,
    /// Where it dialled from, for one that did.
    pub remote: Option<SocketAddr>,
    /// Whether long bodies reach it through memory that it shares with this process.
    pub shared_memory: bool,
}

/// A lane at one moment.
#[derive(Debug, Clone)]
pub struct View {
    /// Name, kind and address.
    pub label: Label,
    /// The connection.
    pub lane: LaneId,
    /// The identity behind it, the same over reconnects.
    pub worker: WorkerId,
    /// What it serves.
    pub keys: Vec<LaneKey>,
    /// How many hand-outs it may hold.
    pub credit: u32,
    /// How many it holds.
    pub outstanding: u32,
    /// Whether it finishes what it holds and gets nothing more.
    pub draining: bool,
    /// Whether it is not heard: others get what it holds, and it gets nothing more until it is.
    pub suspected: bool,
    /// Answers of it that counted.
    pub answered: u64,
    /// Hand-outs that it failed.
    pub failed: u64,
    /// Answers that came too late to count.
    pub stale: u64,
    /// Hand-outs that it has had for far longer than is usual, with nothing to end them; each was told in the
    /// log. See [`Policy::answer_within`](queue::Policy::answer_within).
    pub overlong: u64,
}

/// How a lane reports. Every call waits while the owner is busy, and fails once the queue stopped.
#[derive(Clone)]
pub struct Reporter {
    inner: Arc<Guard>,
}

/// Tells the owner when the last reporter of a lane is dropped. The permit is taken when the lane
/// joins, so that this one message always has room.
struct Guard {
    lane: LaneId,
    commands: mpsc::Sender<Command>,
    leave: std::sync::Mutex<Option<mpsc::OwnedPermit<Command>>>,
    last_word: Arc<LastWord>,
}

/// Whom a lane that leaves blames, from the moment that it says so. The command that tells the owner may lie
/// behind others, and the owner find the lane's orders closed before it comes to that.
pub(crate) type LastWord = OnceLock<Option<Ticket>>;

impl Drop for Guard {
    fn drop(&mut self) {
        let lane = self.lane;
        let permit = self.leave.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        if let Some(permit) = permit {
            permit.send(Command::Leave { lane, blame: None });
        }
    }
}

impl Reporter {
    pub(crate) fn new(
        lane: LaneId,
        commands: mpsc::Sender<Command>,
        leave: mpsc::OwnedPermit<Command>,
        last_word: Arc<LastWord>,
    ) -> Self {
        let leave = std::sync::Mutex::new(Some(leave));
        Reporter { inner: Arc::new(Guard { lane, commands, leave, last_word }) }
    }

    /// The lane this reports for.
    pub fn lane(&self) -> LaneId {
        self.inner.lane
    }

    /// Settles a hand-out with the answer's value or the reason why there is none.
    pub async fn answered(
        &self,
        ticket: Ticket,
        result: Result<(Box<dyn std::any::Any + Send>, Timings), Failure>,
    ) -> Result<(), Stopped> {
        self.report(vec![answered(ticket, result)]).await
    }

    /// Lets go of a cancelled hand-out.
    pub async fn released(&self, ticket: Ticket) -> Result<(), Stopped> {
        self.report(vec![Report::Released(ticket)]).await
    }

    /// Several of the above at once, in order.
    pub(crate) async fn report(&self, reports: Vec<Report>) -> Result<(), Stopped> {
        self.send(Command::Report { lane: self.lane(), reports }).await
    }

    /// Sets how many hand-outs the lane may hold at a time.
    pub async fn credit(&self, credit: u32) -> Result<(), Stopped> {
        self.send(Command::Credit { lane: self.lane(), credit }).await
    }

    /// Replaces the keys that the lane serves.
    pub async fn keys(&self, keys: Vec<LaneKey>) -> Result<(), Stopped> {
        self.send(Command::Keys { lane: self.lane(), keys }).await
    }

    /// Asks for no more work; [`Order::Drained`] comes when the lane holds none.
    pub async fn drain(&self) -> Result<(), Stopped> {
        self.send(Command::Drain { lane: self.lane() }).await
    }

    /// Says that the worker is not heard, or is heard again. While it is silent it gets nothing, and what
    /// it holds goes to others too; see [`queue::Dispatcher::suspect`].
    pub async fn silent(&self, silent: bool) -> Result<(), Stopped> {
        self.send(Command::Silent { lane: self.lane(), silent }).await
    }

    /// Leaves now. `blame` names the ticket that is known to have ended the worker, if one is. To be said before
    /// the orders are dropped, since a lane that only drops them has each of its tickets charged.
    pub fn leave(&self, blame: Option<Ticket>) {
        let permit = self.inner.leave.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        if let Some(permit) = permit {
            let _ = self.inner.last_word.set(blame);
            permit.send(Command::Leave { lane: self.lane(), blame });
        }
    }

    /// [`report`](Self::report) for a thread outside the runtime.
    pub(crate) fn report_blocking(&self, reports: Vec<Report>) -> Result<(), Stopped> {
        self.inner.commands.blocking_send(Command::Report { lane: self.lane(), reports }).map_err(|_| Stopped)
    }

    async fn send(&self, command: Command) -> Result<(), Stopped> {
        self.inner.commands.send(command).await.map_err(|_| Stopped)
    }
}

pub(crate) fn answered(
    ticket: Ticket,
    result: Result<(Box<dyn std::any::Any + Send>, Timings), Failure>,
) -> Report {
    Report::Answered(ticket, result.map(|(value, timings)| Reply { value, timings }))
}

/// A lane that joins.
pub struct Join {
    /// Its identity over reconnects.
    pub worker: WorkerId,
    /// What people see of it.
    pub label: Label,
    /// What it serves.
    pub keys: Vec<LaneKey>,
    /// How many hand-outs it may hold at first.
    pub credit: u32,
    /// The most it will ever ask for: bounds the orders that can wait for it.
    pub max_credit: u32,
    /// Rung now and then, for those who wait, while the queue [polls](crate::Config::busy_poll) and there is no work:
    /// a lane with a way to its worker may then send a job that does nothing, see [`wire::practice`].
    pub practice: Option<Arc<Notify>>,
}
