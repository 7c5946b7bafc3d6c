//! The server's end: workers come in, work goes out; and clients, whose tasks come in.
//!
//! [`Listener::accept_client`] gives a [`Caller`] with its [`Submits`] and [`Replies`] for each client.
//!
//! [`Listener::accept`] gives a [`Peer`] and its [`Events`] for each worker that passed TLS and the
//! greeting. [`Peer::hand_out`] sends a job and waits for its answer; every hand-out that was begun ends
//! in exactly one of these ways:
//!
//! - it gives an [`Answer`];
//! - it gives [`HandOutError::Cancelled`], or its future is dropped, and an [`Event::Released`] follows
//!   as soon as the worker let go, unless the connection ends first;
//! - it gives [`HandOutError::LaneClosed`], and [`Event::Closed`] comes.

mod answered;
mod batch;
mod caller;
mod door;
mod goodput;
mod greet;
mod hand_out;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod hostile_clients;
mod listener;
#[cfg(test)]
#[cfg(target_os = "linux")]
mod memory_tests;
pub(crate) mod operate;
mod peer;
mod practice;
mod roll;
mod silence;
mod strangers;
mod table;
mod tally;
#[cfg(test)]
mod tests;

pub use batch::{Batch, Outcome};
pub use caller::{Caller, Pushing, Replies, Reply, Submits};
pub use hand_out::{Answer, HandOut, HandOutError};
pub use listener::{BindError, Listener};
pub use operate::{Ask, Operation};
pub use peer::{Event, Events, Peer};
pub use tally::{Refusal, Refusals};

use std::time::Duration;

use crate::framing::Limits;
pub use crate::transport::Windows;

/// How the server treats workers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The longest messages. Default 64 KiB head, 64 MiB body.
    pub limits: Limits,
    /// The most credit counted for one worker, whatever it asks for. Default 1024: tasks of
    /// microseconds need hundreds under way.
    pub max_credit: u32,
    /// The most workers at once. Default 256.
    pub max_workers: usize,
    /// The most connections at once that have not been greeted yet. When it is reached, a newcomer takes
    /// the place of the oldest one of the address that has the most. Default 64.
    pub max_strangers: usize,
    /// How long a stranger may take for handshake and greeting, or for enrolment. Default 10 s.
    pub greeting: Duration,
    /// How often both ends say that they are here. Default 1 s.
    pub heartbeat: Duration,
    /// After how much silence, plus one round trip, a worker with work in hand is suspected
    /// ([`Event::Silent`]); none of its connection is lost by that. Default 240 ms, so that its work is in other
    /// hands within 300 ms of a sudden death, and that a busy machine's hiccups are mostly shorter.
    pub suspect_after: Duration,
    /// After how much silence the ends give each other up. Default 3 s.
    pub dead_after: Duration,
    /// What QUIC may have in flight.
    pub windows: Windows,
    /// Optional abilities of this end.
    pub capabilities: Vec<String>,
    /// The most memory, in bytes, that is shared with one worker on this host for the bodies of its jobs; 0
    /// for none. It is taken as it is needed, and a body that finds no room travels on its stream.
    /// Default 256 MiB.
    pub shared_memory: u64,
    /// Whether clients may push tasks, and operators may ask, and how much. Default none.
    pub clients: Option<Clients>,
}

/// What clients may do that push tasks. All of them together hold no more than `most` times one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clients {
    /// The most at once. Default 256.
    pub most: usize,
    /// The most tasks of one that may be unanswered. Default 4096: tasks of microseconds need thousands
    /// under way to keep several workers busy.
    pub tasks: u32,
    /// The most bytes of these tasks, not counting the first KiB of each. Default 32 MiB. Less than the
    /// longest task counts as that.
    pub bytes: u64,
    /// The longest head and body of a task. Default 64 KiB and 16 MiB.
    pub limits: Limits,
}

impl Clients {
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.max((self.limits.head + self.limits.body) as u64)
    }
}

impl Default for Clients {
    fn default() -> Self {
        Self {
            most: 256,
            tasks: 4096,
            bytes: 32 << 20,
            limits: Limits { head: Limits::HEAD, body: 16 << 20 },
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            max_credit: 1024,
            max_workers: 256,
            max_strangers: 64,
            greeting: Duration::from_secs(10),
            heartbeat: Duration::from_secs(1),
            suspect_after: Duration::from_millis(240),
            dead_after: Duration::from_secs(3),
            windows: Windows::default(),
            capabilities: Vec::new(),
            shared_memory: 256 << 20,
            clients: None,
        }
    }
}
