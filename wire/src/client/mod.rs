//! The client's end: [`Seat::connect`], or [`connect()`] with an identity that is there, gives a [`Raw`] to submit with, and the [`RawAnswers`] that come to it.
//!
//! A client pushes tasks to a coordinator, which hands them to whatever workers there are. There are two
//! ways to learn what became of them:
//!
//! - [`Raw::submit`] gives a [`Submitted`], a future of the answer. Dropping it cancels the task.
//! - [`Raw::push`] names the task by the caller's own [`Id`], and its answer comes to [`RawAnswers`], in the
//!   order of the pushes.
//!
//! Both wait while the coordinator has no room: so a client is held to the pace of the workers. What is
//! submitted while the connection is busy shares a message, and none waits for others. [`Client`] is the same
//! for one [`Task`], with values instead of messages.
//!
//! A client is one flow of the coordinator: **its answers come in the order of its tasks**, so one that is
//! slow holds up those behind it. Work that has nothing to do with each other is pushed by several clients;
//! they may share an identity.
//!
//! ```no_run
//! use framelane_wire as wire;
//! use wire::client::{self, Client, Seat};
//! use wire::identity::Token;
//! use wire::{Cbor, Task};
//!
//! struct Count;
//! impl Task for Count {
//!     const NAME: &'static str = "count-words";
//!     type Job = Cbor<String>;
//!     type Answer = Cbor<u64>;
//! }
//!
//! # async fn run(token: Token) -> Result<(), Box<dyn std::error::Error>> {
//! let seat = Seat::new("127.0.0.1:4433", "me", "client.pem").token(Some(token));
//! let (raw, _) = seat.connect(client::Config::new("me")).await?;
//! let counts = Client::<Count>::new(raw)?;
//! let first = counts.submit(Cbor("the books".into())).await?;
//! let second = counts.submit(Cbor("always balance".into())).await?;
//! println!("{} and {}", first.await?.0, second.await?.0);
//! # Ok(())
//! # }
//! ```

mod answers;
mod backoff;
mod connect;
mod error;
mod raw;
mod run;
mod seat;
mod session;
mod state;
mod typed;

pub use crate::server::operate::{Ask, OperateError, operate};
pub use answers::RawAnswers;
pub use connect::connect;
pub use error::{ConnectError, SubmitError, Unanswered};
pub use raw::{Raw, Submitted};
pub use seat::{EntryError, Seat};
#[cfg(any(test, feature = "fuzz"))]
pub(crate) use session::outcomes;
pub(crate) use session::write_together;
pub use typed::{Answering, Answers, Client, Named};

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;

pub use crate::pushed::Wishes;
use crate::task::Message;
pub use crate::transport::Windows;

/// The answer to a task.
pub type Answer = Message;

/// The caller's own name for a task. It never leaves this process.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Id {
    /// A number.
    Number(u64),
    /// Anything else.
    Bytes(Bytes),
}

impl From<u64> for Id {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl From<Bytes> for Id {
    fn from(bytes: Bytes) -> Self {
        Self::Bytes(bytes)
    }
}

/// How a client connects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// For people: 1 to 64 bytes without control characters.
    pub name: String,
    /// How the coordinator is to treat the tasks.
    pub wishes: Wishes,
    /// Whether to connect again when the connection is lost, for as long as it takes. What was not sent then
    /// waits for the next connection; what was ends as [`Unanswered::Lost`], since it may have run. Default
    /// true.
    pub reconnect: bool,
    /// The first wait before another try; it doubles from there. Default 100 ms.
    pub retry_first: Duration,
    /// The longest wait before another try. Default 5 s.
    pub retry_most: Duration,
    /// How long the coordinator may take for handshake and greeting. Default 10 s.
    pub greeting: Duration,
    /// Where a renewed identity is written. Default: nowhere, it is renewed for this client alone.
    pub keep: Option<PathBuf>,
    /// What QUIC may have in flight.
    pub windows: Windows,
}

impl Config {
    /// The defaults, under this name.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            wishes: Wishes::default(),
            reconnect: true,
            retry_first: Duration::from_millis(100),
            retry_most: Duration::from_secs(5),
            greeting: Duration::from_secs(10),
            keep: None,
            windows: Windows::default(),
        }
    }
}
