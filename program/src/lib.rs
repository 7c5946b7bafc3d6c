//! What every program has around it, the server, the workers and the coordinator of tasks alike: a [`Log`] to stderr or
//! to a file that nobody waits for, a [`Profile`] of where its time goes, and the [`signals`] that end it.
//!
//! `Log` and `Profile` are flags of a command line, for `#[command(flatten)]`.

mod log;
mod profile;
pub mod signals;

pub use log::{Log, LogError, Logging};
pub use profile::{Profile, ProfileError, Profiling};
