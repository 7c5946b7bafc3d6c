//! The worker's end: [`connect`] gives a [`Node`] to speak with and the [`Jobs`] that arrive.
//!
//! Each job comes with a [`Reply`]. Whoever holds the reply works on the job; it is let go of by
//! answering, or by dropping the reply, which answers "failed". After [`Event::Cancel`] nobody wants the
//! answer any more, and letting go tells the server `Released` by itself; a worker that lets go of a
//! cancelled job before it can drop the reply says so with [`Node::released`].

mod connect;
pub(crate) mod dial;
mod hand_in;
mod intake;
mod link;
mod outbox;
mod table;

#[cfg(test)]
pub(crate) use connect::speak;
pub use connect::{ConnectError, connect};
pub use dial::DialError;
pub use hand_in::{Reply, ReplyError};
pub use link::{Event, Job, Jobs, Node};

use std::time::Duration;

use crate::framing::Limits;
pub use crate::protocol::{Hello, HelloKey};
pub use crate::transport::Windows;

/// How a worker connects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The longest messages. Default 64 KiB head, 64 MiB body.
    pub limits: Limits,
    /// How long the server may take for handshake and greeting. Default 10 s.
    pub greeting: Duration,
    /// What QUIC may have in flight.
    pub windows: Windows,
    /// Whether job bodies may come through shared memory if the server is on this host. Default true.
    pub shared_memory: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            greeting: Duration::from_secs(10),
            windows: Windows::default(),
            shared_memory: true,
        }
    }
}
