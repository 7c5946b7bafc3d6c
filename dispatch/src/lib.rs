//! The asynchronous shell over the ordered task queue. It knows of no video.
//!
//! [`new`] makes a [`Coordinator`] and the driver of the one task that owns the
//! [`queue::Dispatcher`]; the caller spawns it. On one side **flows** are opened: an [`Inlet`] admits
//! items, and the [`Outlet`] gives every admitted item back exactly once, in order, with its answer
//! or the reason why it has none. On the other side **lanes** join: [`lane::quic`] for a worker that
//! dialled in, [`lane::local`] for threads of this process, and by the features `redis` and `amqp`
//! `lane::broker` for all workers behind a message broker.
//!
//! A **client** that pushes tasks from elsewhere is a flow too: [`client::run`] serves one, and [`relay`] is
//! what it goes through, without a look into jobs and answers.
//!
//! A user's own task is three short pieces, none of which touches this crate:
//!
//! 1. the task: a type that implements [`wire::Task`], with its job and its answer;
//! 2. [`Prepare`], which makes the job for an item, and [`Finish`], which takes what leaves;
//! 3. a [`wire::Processor`], which does the job, in a worker or here.
//!
//! `examples/wordcount` of this repository is such a task in full. The feature `kit` has what a program needs around
//! it: a pool of threads, worker processes and whoever dials in, on one command line.
//!
//! ```text
//! Inlet ──offer──▶ ┌───────┐ ──Assign──▶ lane: Prepare ─▶ worker ─┐
//!                  │ owner │ ◀──────────────answer────────────────┘
//! Outlet ◀──take── └───────┘
//! ```
//!
//! Nothing here waits inside the owner: a take that cannot be served at once is parked, one per flow; an
//! inlet knows of room ahead and offers nothing without it; and a lane that does not read its orders is
//! lost.

pub mod client;
mod command;
mod coordinator;
pub mod dump;
mod finish;
mod flow;
mod inbox;
#[cfg(feature = "kit")]
pub mod kit;
pub mod lane;
mod owner;
mod practice;
mod prepare;
pub mod relay;
mod room;
#[cfg(feature = "tasks")]
pub mod tasks;
mod watch;

pub use coordinator::{Config, Coordinator, Snapshot, new};
pub use finish::{Done, Finish, Held};
pub use flow::{Admission, Batches, Inlet, Outlet, Refusal, Refused};
pub use prepare::{AnswerOf, JobOf, Link, Prepare, Unprepared};

/// The queue has stopped: its driver was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the queue has stopped")]
pub struct Stopped;
