//! Every moment at which something is due, in one table.
//!
//! A flow has one entry for the deadlines of all its places, which is set anew when it comes to the
//! front. Nothing is taken out when it is no longer due: it is recognised when it comes to the front, and
//! the table is swept whenever it has doubled since the last sweep, so it is never larger than twice
//! what was due then.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

use crate::id::{FlowId, LaneId, PartIndex, Seq, Ticket};
use crate::pool::PoolId;

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Due {
    /// A place of the flow must be settled, or a little later: its next deadline is no earlier.
    ///
    /// Which entry of the flow it is: an earlier one of the same flow means nothing.
    Deadline(FlowId, u64),
    /// A part has rested long enough after a failure.
    Retry(FlowId, Seq, PartIndex),
    /// A lane must have let go of a cancelled ticket.
    Release(LaneId, Ticket),
    /// A hand-out of a flow that hedges has become slow.
    Slow(Ticket),
    /// A lane must have answered.
    Answer(Ticket, LaneId),
    /// A lane has rested long enough after its failures.
    Rested(PoolId, LaneId),
}

/// Below this size sweeping would cost more than it saves.
const SMALL: usize = 64;

/// The table.
#[derive(Debug)]
pub(crate) struct Timers {
    heap: BinaryHeap<Reverse<(Instant, Due)>>,
    sweep_at: usize,
}

impl Timers {
    pub(crate) fn new() -> Self {
        Self { heap: BinaryHeap::new(), sweep_at: SMALL }
    }

    pub(crate) fn set(&mut self, at: Instant, due: Due) {
        self.heap.push(Reverse((at, due)));
    }

    pub(crate) fn wants_sweep(&self) -> bool {
        self.heap.len() >= self.sweep_at
    }

    pub(crate) fn sweep(&mut self, still_due: impl Fn(Instant, Due) -> bool) {
        self.heap.retain(|&Reverse((at, due))| still_due(at, due));
        self.sweep_at = (2 * self.heap.len()).max(SMALL);
    }

    /// The moment of the next entry, due or not.
    pub(crate) fn next_at(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    /// The next entry, due or not.
    pub(crate) fn peek(&self) -> Option<(Instant, Due)> {
        self.heap.peek().map(|&Reverse(next)| next)
    }

    /// Moves the next entry to a later moment.
    pub(crate) fn put_off(&mut self, to: Instant) {
        if let Some(mut next) = self.heap.peek_mut() {
            next.0.0 = to;
        }
    }

    /// Takes the next entry out.
    pub(crate) fn pop(&mut self) {
        self.heap.pop();
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.heap.len()
    }
}
