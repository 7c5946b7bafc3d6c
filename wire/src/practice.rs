//! Practice: a job that does nothing, on the way that jobs go.
//!
//! What lies between two ends that wait for a job is soon no longer in their processors' caches, and the next job
//! then takes a few times as long as one that comes at once after another. So an end that would rather burn a
//! processor than sleep keeps in practice. It is no hand-out: it counts nowhere, takes no credit and has no deadline.

use std::sync::LazyLock;

use queue::{FlowId, Key, Seq, TaskName, Ticket};

/// The ability to do such jobs.
pub const ABILITY: &str = "practice";

/// The ticket of all of them, one at a time: no hand-out has it, since flows are numbered from the beginning.
pub(crate) const TICKET: Ticket = Ticket { flow: FlowId(u64::MAX), seq: Seq(0), part: 0, attempt: 0 };

static KEY: LazyLock<Key> =
    LazyLock::new(|| Key::task(TaskName::new("framelane.practice").expect("it is a name")));

/// What such a job asks for.
pub fn key() -> &'static Key {
    &KEY
}
