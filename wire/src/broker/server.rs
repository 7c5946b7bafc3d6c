//! The server's end of a broker: jobs go out, answers come in.

use std::time::Duration;

use bytes::Bytes;
use queue::{Key, Ticket};

use super::message::{self, AnswerHead, AnswerResult};
use super::{Error, Kind, Url};
use crate::framing::Limits;
use crate::process::{Timings, Unprocessed};
use crate::task::Message;

/// One session of one server.
#[derive(Debug, Clone)]
pub struct Config {
    /// For people who look into the broker: 1 to 64 bytes of `[A-Za-z0-9_-]`; others become `_`.
    pub server: String,
    /// What jobs may ask for.
    pub keys: Vec<Key>,
    /// How many jobs will be outstanding at most: bounds what is kept of answers.
    pub credit: u32,
    /// The longest messages.
    pub limits: Limits,
    /// The address of the session before this one, which is removed, so that workers let go of its jobs.
    pub before: Option<String>,
}

/// A job on its way out.
#[derive(Debug)]
pub struct Job {
    /// Names it in the answer.
    pub ticket: Ticket,
    /// What to do.
    pub key: Key,
    /// What is left of its budget.
    pub budget_left: Option<Duration>,
    /// The encoded job.
    pub message: Message,
}

/// What the broker made of a job.
#[derive(Debug)]
pub struct Placed {
    /// The job's.
    pub ticket: Ticket,
    /// Where it lies, or why it does not.
    pub place: Result<Place, NotPlaced>,
}

/// Where a job lies, for [`Sender::withdraw`].
#[derive(Debug, Clone)]
pub struct Place {
    #[cfg(feature = "redis")]
    pub(super) entry: Option<(Key, super::redis::Id)>,
}

impl Place {
    /// Where nothing can be taken back from.
    #[cfg(feature = "amqp")]
    pub(super) fn unknown() -> Self {
        Place {
            #[cfg(feature = "redis")]
            entry: None,
        }
    }
}

/// Why the broker has not got a job.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotPlaced {
    /// It can never be sent.
    #[error("the job cannot be sent: {0}")]
    Bad(String),
    /// There is no room. Later there may be.
    #[error("the broker takes no more jobs for now")]
    Full,
}

/// What comes in.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// Answers. One to a ticket that is not outstanding is a late one.
    Answers(Vec<Answer>),
    /// The keys for which workers are there: all of them, when that changes.
    Served(Vec<Key>),
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// The job's.
    pub ticket: Ticket,
    /// How it went.
    pub result: Result<Message, Missing>,
    /// Where the time went.
    pub timings: Timings,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Missing {
    /// The worker says so.
    Unprocessed(Unprocessed),
    /// The worker that had it is gone. It may be the job that ended it.
    Gone,
}

/// Sends jobs. Cheap to clone.
#[derive(Clone)]
pub struct Sender(Sends);

#[derive(Clone)]
enum Sends {
    #[cfg(feature = "redis")]
    Redis(super::redis::server::Sender),
    #[cfg(feature = "amqp")]
    Amqp(super::amqp::server::Sender),
}

/// Receives answers.
pub struct Events(Receives);

enum Receives {
    #[cfg(feature = "redis")]
    Redis(Box<super::redis::server::Events>),
    #[cfg(feature = "amqp")]
    Amqp(Box<super::amqp::server::Events>),
}

/// Begins a session: makes what has to be there, and an address for answers of its own.
///
/// # Errors
/// [`Error`]: try again.
pub async fn connect(url: &Url, mut config: Config) -> Result<(Sender, Events), Error> {
    let fine = |c: char| if c.is_ascii_alphanumeric() || c == '-' || c == '_' { c } else { '_' };
    config.server = config.server.chars().map(fine).take(64).collect();
    match url.kind() {
        #[cfg(feature = "redis")]
        Kind::Redis => {
            let (sender, events) = super::redis::server::connect(url, config).await?;
            Ok((Sender(Sends::Redis(sender)), Events(Receives::Redis(Box::new(events)))))
        }
        #[cfg(feature = "amqp")]
        Kind::Amqp => {
            let (sender, events) = super::amqp::server::connect(url, config).await?;
            Ok((Sender(Sends::Amqp(sender)), Events(Receives::Amqp(Box::new(events)))))
        }
        #[allow(unreachable_patterns, reason = "unless one of the two is left out")]
        kind => Err(not_built(url, kind)),
    }
}

#[allow(dead_code, reason = "used where one of the two is left out")]
pub(super) fn not_built(url: &Url, kind: Kind) -> Error {
    let why = format!("this program was built without {}", kind.name());
    Error::Unreachable { url: url.clone(), why }
}

impl Sender {
    /// The address for answers of this session.
    pub fn address(&self) -> &str {
        match &self.0 {
            #[cfg(feature = "redis")]
            Sends::Redis(sender) => sender.address(),
            #[cfg(feature = "amqp")]
            Sends::Amqp(sender) => sender.address(),
        }
    }

    /// Sends jobs, and waits until the broker has said of each what became of it.
    ///
    /// # Errors
    /// [`Error`]: the session is over, and the broker may have some of the jobs or none.
    pub async fn send(&self, jobs: Vec<Job>) -> Result<Vec<Placed>, Error> {
        match &self.0 {
            #[cfg(feature = "redis")]
            Sends::Redis(sender) => sender.send(jobs).await,
            #[cfg(feature = "amqp")]
            Sends::Amqp(sender) => sender.send(jobs).await,
        }
    }

    /// Takes jobs back that no worker has begun, where the broker can: RabbitMQ cannot.
    ///
    /// # Errors
    /// [`Error`]: the session is over.
    pub async fn withdraw(&self, places: Vec<Place>) -> Result<(), Error> {
        match &self.0 {
            #[cfg(feature = "redis")]
            Sends::Redis(sender) => sender.withdraw(places).await,
            #[cfg(feature = "amqp")]
            Sends::Amqp(_) => {
                drop(places);
                Ok(())
            }
        }
    }

    /// Ends the session: its address goes, so that workers let go of what is left of it. What fails in that
    /// goes by itself in some seconds.
    pub async fn leave(&self) {
        match &self.0 {
            #[cfg(feature = "redis")]
            Sends::Redis(sender) => sender.leave().await,
            #[cfg(feature = "amqp")]
            Sends::Amqp(sender) => sender.leave().await,
        }
    }
}

impl Events {
    /// Waits for something to come in. Not to be dropped half-way and called again: answers could be lost.
    ///
    /// # Errors
    /// [`Error`]: the session is over.
    pub async fn next(&mut self) -> Result<Event, Error> {
        match &mut self.0 {
            #[cfg(feature = "redis")]
            Receives::Redis(events) => events.next().await,
            #[cfg(feature = "amqp")]
            Receives::Amqp(events) => events.next().await,
        }
    }
}

/// Reads the answers of one message onto `answers`.
pub(super) fn read(bytes: Bytes, limits: Limits, answers: &mut Vec<Answer>) {
    let (read, end) = message::read_answers(bytes, limits);
    for (AnswerHead { ticket, result, timings }, body) in read {
        let result = match result {
            AnswerResult::Ok(head) => Ok(Message { head, body }),
            AnswerResult::Bad(text) => Err(Missing::Unprocessed(Unprocessed::Bad(text))),
            AnswerResult::Failed(text) => Err(Missing::Unprocessed(Unprocessed::Failed(text))),
            AnswerResult::Gone => Err(Missing::Gone),
        };
        answers.push(Answer { ticket, result, timings });
    }
    if let Err(error) = end {
        tracing::warn!(%error, "a message among the answers cannot be read");
    }
}
