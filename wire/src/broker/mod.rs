//! A message broker between servers and workers: Redis Streams, or RabbitMQ.
//!
//! Neither end listens: servers and workers both dial the broker, so several servers share one pool of
//! workers. [`server::connect`] is the server's end of it, for one lane; [`node::serve`] is the worker's.
//! The broker only carries. It retries nothing: the queue of the server that sent a job decides what
//! becomes of it, as with every other lane.
//!
//! **Names.** For each key (task, or `task@model hash`), with the colons of Redis; RabbitMQ has dots:
//!
//! | | Redis | RabbitMQ |
//! | --- | --- | --- |
//! | jobs | stream `framelane:jobs:KEY`, group `framelane` | queue `framelane.jobs.KEY` |
//! | answers | stream `framelane:reply:SERVER:SESSION` | queue `framelane.reply.SERVER.SESSION` |
//! | that workers are there | `framelane:alive:KEY`, which expires | the queue's consumers |
//!
//! **Messages** lie in the framing of protocol 1, head and body together: one job in a message, one or more
//! answers in another ([`message`]). A job carries the address for its answer, its ticket, its key and what
//! was left of its budget when it was sent. No clock crosses: a worker on Redis learns how long a job lay
//! there from Redis alone, which numbers entries by its own clock; RabbitMQ lets a message expire by itself.
//!
//! **Dead jobs.** The address for answers is made for one session of one server: when the session ends, by
//! whatever end, its address goes, and workers acknowledge and drop what still names it. A job whose budget
//! is over is dropped the same way. So nothing that a server has given up is worked on for long.
//!
//! **Redelivered jobs** are never worked on. The broker gives them to another worker when the one that had
//! them is gone, and that one acknowledges them and answers [`Missing::Gone`](server::Missing::Gone): the
//! server's queue hands the part out anew, under a new ticket, if it still wants it.

mod batch;
#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod fuzz;
mod heads;
pub mod message;
pub mod node;
pub mod server;
mod url;

#[cfg(feature = "amqp")]
mod amqp;
#[cfg(feature = "redis")]
mod redis;

use std::time::Duration;

pub use url::{Kind, Url, UrlError};

/// How long a broker may take to answer before it counts as lost.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// How often each end says that it is there.
pub(crate) const BEAT: Duration = Duration::from_millis(500);

/// The most messages that are read at once.
pub(crate) const TOGETHER: usize = 256;

/// Why there is no broker, or none any more. Everything may pass: try again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It cannot be reached, or refuses the login.
    #[error("cannot reach {url}: {why}")]
    Unreachable {
        /// Without its password.
        url: Url,
        /// The client's words.
        why: String,
    },
    /// The connection ended, or the broker answers no more.
    #[error("{url} is lost: {why}")]
    Lost {
        /// Without its password.
        url: Url,
        /// The client's words.
        why: String,
    },
    /// The broker was emptied: the address for answers is gone, and so may be the jobs.
    #[error("{url} has forgotten this session")]
    Forgotten {
        /// Without its password.
        url: Url,
    },
}
