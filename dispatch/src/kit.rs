//! What a program with tasks of its own needs beside them, on the side that asks: a [`Pool`] where it offers the items
//! itself, [`Serve`] where it takes what clients push. The worker's side is `framelane_worker::kit`.
//!
//! ```no_run
//! # use framelane_dispatch::kit::{Config, Pool, Who};
//! # async fn count(_: &framelane_dispatch::Coordinator) {}
//! # async fn run(who: Who, processors: std::collections::BTreeMap<queue::Key, wire::Factory>) -> Result<(), framelane_dispatch::kit::Error> {
//! let mut pool = Pool::start(Config::new(who, processors))?;
//! pool.joined().await?;
//! count(pool.coordinator()).await;
//! pool.stop().await;
//! # Ok(())
//! # }
//! ```

#[cfg(any(feature = "redis", feature = "amqp"))]
mod brokers;
mod pool;
mod processes;
mod serve;

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::process::ExitStatus;
use std::time::Duration;

use queue::{Key, WorkerId};
use wire::Factory;
use wire::identity::{AuthorityError, HoldError};
use wire::server::BindError;

use crate::lane::local;

#[cfg(any(feature = "redis", feature = "amqp"))]
pub use brokers::Brokers;
pub use pool::{Config, Pool, Who};
pub use serve::{Serve, State};

/// Why there is no coordinator, or nobody to work for it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Nobody can be let in.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// Another coordinator serves with its folder.
    #[error(transparent)]
    Hold(#[from] HoldError),
    /// It cannot listen.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// Its own threads cannot work.
    #[error(transparent)]
    Local(#[from] local::Error),
    /// A broker is asked for its workers by what they do.
    #[error("what do the workers behind the broker do? None of their tasks is named")]
    NoTask,
    /// The queue has stopped.
    #[error(transparent)]
    Stopped(#[from] crate::Stopped),
    /// The system refused.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: String,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A worker that was started did not get as far as to join.
    #[error("{name} ended before it had joined: {status}; what it said is above")]
    Ended {
        /// Its name.
        name: String,
        /// How it ended.
        status: ExitStatus,
    },
    /// Not all workers came in time.
    #[error("{joined} of {awaited} workers joined within {} s", within.as_secs())]
    Absent {
        /// Lanes that are there.
        joined: usize,
        /// Lanes that were waited for.
        awaited: usize,
        /// For how long.
        within: Duration,
    },
}

/// Threads of this process as a lane; none where `threads` is zero. `at_hand` says how many jobs each has at a time:
/// two keep it busy while an answer travels, jobs of microseconds want some hundreds.
pub fn threads(
    threads: u32,
    at_hand: NonZeroU32,
    processors: BTreeMap<Key, Factory>,
) -> Option<local::Config> {
    let threads = NonZeroU32::new(threads)?;
    Some(local::Config {
        name: "this process".to_owned(),
        // Workers that dial in have random numbers, never this one.
        worker: WorkerId(0),
        threads,
        credit: threads.saturating_mul(at_hand),
        processors,
    })
}
