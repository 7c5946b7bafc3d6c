//! The worker: offers what it can do to a server, does what it is handed, and comes back when the
//! connection is lost. Also the kit for workers with tasks of their own.
//!
//! - [`Registry`] says which task (and model) is done by which [`Processor`].
//! - [`Host`] runs the processors on threads, each with processors of its own, and survives their panics.
//! - [`node::run`] connects a host to a server and keeps it connected; [`identity`] is how it gets in.
//! - `broker::run`, by the features `redis` and `amqp`, connects it to a message broker instead.
//!
//! - [`kit`] makes a whole program of a registry.
//!
//! A worker for a custom task is a [`Task`], a [`Processor`], and the few lines that [`kit`] shows;
//! `examples/wordcount` of this repository is a whole one. What [`kit::Program`] does can be done step by step:
//!
//! ```no_run
//! # use std::sync::Arc;
//! # use framelane_worker as worker;
//! # use tokio_util::sync::CancellationToken;
//! use worker::{Host, Registry, host, identity, node};
//!
//! # async fn run(registry: Registry) -> Result<(), Box<dyn std::error::Error>> {
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
pub mod drive;
pub mod host;
pub mod identity;
pub mod kit;
pub mod node;
mod registry;
pub mod watchdog;
#[cfg(feature = "onnx")]
pub mod zoo;

pub use drive::Drive;
pub use host::Host;
pub use program::signals;
pub use registry::{Registry, RegistryError};

// What a custom task is written with, so that its author needs one crate.
pub use queue::{Key, ModelHash, TaskName, Ticket};
pub use wire::{
    Array, BoxError, Cbor, Checked, DType, Message, Object, Payload, PayloadError, Processor, Task, Timings,
    Unprocessed, Untyped,
};
