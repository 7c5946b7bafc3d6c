//! The worker: offers what it can do to a server, does what it is handed, and comes back when the
//! connection is lost. Also the kit for workers with tasks of their own.
//!
//! - [`Registry`] says which task (and model) is done by which [`Processor`].
//! - [`Host`] runs the processors on threads, each with processors of its own, and survives their panics.
//! - [`node::run`] connects a host to a server and keeps it connected; [`identity`] is how it gets in.
//! - `broker::run`, by the features `redis` and `amqp`, connects it to a message broker instead.
//!
//! A worker for a custom task is a [`Task`], a [`Processor`], and these few lines
//! (`examples/wordcount_worker.rs` is a whole one):
//!
//! ```no_run
//! use std::sync::Arc;
//! use framelane_worker as worker;
//! use tokio_util::sync::CancellationToken;
//! use worker::{Cbor, Host, Key, Processor, Registry, Task, TaskName, Unprocessed, host, identity, node};
//!
//! struct Shout;
//! impl Task for Shout {
//!     const NAME: &'static str = "shout";
//!     type Job = Cbor<String>;
//!     type Answer = Cbor<String>;
//! }
//! impl Processor for Shout {
//!     type Task = Self;
//!     fn process(&mut self, Cbor(text): Cbor<String>) -> Result<Cbor<String>, Unprocessed> {
//!         Ok(Cbor(text.to_uppercase()))
//!     }
//! }
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let mut registry = Registry::new();
//! registry.serve(Key::task(TaskName::new(Shout::NAME)?), || Ok::<_, std::convert::Infallible>(Shout))?;
//! let host = Arc::new(Host::start(&registry, host::Config::default())?);
//! let stop = CancellationToken::new();
//! let seat = identity::Seat::new("127.0.0.1:4433", "shouter", "worker-state");
//! let papers = seat.take(Some("fl1_…".parse()?), &stop).await?;
//! node::run(&node::Config::new("127.0.0.1:4433", "shouter"), &papers, host, stop).await?;
//! # Ok(())
//! # }
//! ```

mod backoff;
#[cfg(any(feature = "redis", feature = "amqp"))]
pub mod broker;
pub mod host;
pub mod identity;
pub mod node;
mod registry;
pub mod watchdog;
#[cfg(feature = "onnx")]
pub mod zoo;

pub use host::Host;
pub use registry::{Registry, RegistryError};

// What a custom task is written with, so that its author needs one crate.
pub use queue::{Key, ModelHash, TaskName, Ticket};
pub use wire::{
    Array, BoxError, Cbor, DType, Message, Object, Payload, PayloadError, Processor, Task, Timings,
    Unprocessed, Untyped,
};
