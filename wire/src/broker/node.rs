//! The worker's end of a broker.

use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

use queue::{Key, Ticket};
use tokio_util::sync::CancellationToken;

use super::{Error, Kind, Url};
use crate::framing::Limits;
use crate::process::{Timings, Unprocessed};
use crate::task::Message;

/// How a worker serves.
#[derive(Debug, Clone)]
pub struct Config {
    /// For people who look into the broker.
    pub name: String,
    /// What it does, at least one.
    pub keys: Vec<Key>,
    /// How many jobs it takes at once.
    pub credit: NonZeroU32,
    /// After how long without a sign of life a worker counts as gone, and others speak for what it had
    /// (Redis; RabbitMQ knows from the connection). Default 3 s; the same for all workers of a broker.
    pub dead_after: Duration,
    /// How long what is in hand may take after the stop. Default 30 s.
    pub drain_within: Duration,
    /// The longest messages.
    pub limits: Limits,
}

impl Config {
    /// The defaults.
    pub fn new(name: impl Into<String>, keys: Vec<Key>, credit: NonZeroU32) -> Self {
        Config {
            name: name.into(),
            keys,
            credit,
            dead_after: Duration::from_secs(3),
            drain_within: Duration::from_secs(30),
            limits: Limits::default(),
        }
    }
}

/// A job to do.
pub struct Job {
    /// The hand-out of the server that sent it. Servers that share a broker count alike: it is no name here.
    pub ticket: Ticket,
    /// What to do.
    pub key: Key,
    /// What is left of its budget, as far as the broker tells.
    pub budget_left: Option<Duration>,
    /// The encoded job.
    pub message: Message,
    /// Takes the answer.
    pub reply: Reply,
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Job({} {})", self.ticket, self.key)
    }
}

/// Owed for each job. Dropped, it answers "failed".
pub struct Reply(Option<Send>);

type Send = Box<dyn FnOnce(Result<Message, Unprocessed>, Timings) + std::marker::Send>;

impl Reply {
    pub(super) fn new(
        send: impl FnOnce(Result<Message, Unprocessed>, Timings) + std::marker::Send + 'static,
    ) -> Self {
        Reply(Some(Box::new(send)))
    }

    /// Answers. It does not block and may be called on any thread.
    pub fn send(mut self, result: Result<Message, Unprocessed>, timings: Timings) {
        if let Some(send) = self.0.take() {
            send(result, timings);
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if let Some(send) = self.0.take() {
            send(Err(Unprocessed::Failed("the worker let go of it".into())), Timings::default());
        }
    }
}

/// What a session did besides its work.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Jobs that were taken.
    pub taken: u64,
    /// Jobs of servers, or sessions of servers, that are over: dropped.
    pub dead: u64,
    /// Jobs whose budget was over: dropped.
    pub late: u64,
    /// Jobs that another worker had: acknowledged, and their servers told.
    pub redelivered: u64,
    /// Messages that cannot be read: dropped.
    pub unreadable: u64,
}

/// Serves the broker for one connection, until `stop`; then answers what is in hand. `take` gets the jobs and
/// must not block; `ready` is called once, when jobs can come.
///
/// # Errors
/// [`Error`]: the session is over, what is in hand will be told to be gone by others, and its answers go
/// nowhere. Try again.
pub async fn serve(
    url: &Url,
    config: &Config,
    ready: impl FnOnce() + std::marker::Send,
    take: impl FnMut(Vec<Job>) + std::marker::Send,
    stop: &CancellationToken,
) -> Result<Counts, Error> {
    match url.kind() {
        #[cfg(feature = "redis")]
        Kind::Redis => super::redis::node::serve(url, config, ready, take, stop).await,
        #[cfg(feature = "amqp")]
        Kind::Amqp => super::amqp::node::serve(url, config, ready, take, stop).await,
        #[allow(unreachable_patterns, reason = "unless one of the two is left out")]
        kind => Err(super::server::not_built(url, kind)),
    }
}
