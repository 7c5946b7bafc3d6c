//! What `poll` tells its caller to do or to know.

use std::time::Instant;

use crate::id::{FlowId, LaneId, Ticket};

/// One step. The caller acts on it and polls again, until it is [`Step::Wait`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Send this part to this lane; [`hand_out`](crate::Dispatcher::hand_out) tells what to send.
    Assign {
        /// The lane.
        lane: LaneId,
        /// The hand-out.
        ticket: Ticket,
    },
    /// Tell the lane to let go of this ticket; its answer would no longer count. The lane has
    /// `Config::release_within` from here to answer it or to say that it is released.
    Cancel {
        /// The lane.
        lane: LaneId,
        /// The hand-out.
        ticket: Ticket,
    },
    /// The next place of the flow is settled: take until there is nothing.
    Ready {
        /// The flow.
        flow: FlowId,
    },
    /// Something was taken since an offer failed: offer again. Comes once for each failed offer.
    Room {
        /// The flow.
        flow: FlowId,
    },
    /// The flow has ended and everything in it was taken or discarded. Comes once, and last.
    Closed {
        /// The flow.
        flow: FlowId,
    },
    /// The lane drains and holds nothing any more: it may be let go. Comes once.
    Drained {
        /// The lane.
        lane: LaneId,
    },
    /// The lane kept a cancelled ticket for too long and is gone from the books: cut it off.
    Lost {
        /// The lane.
        lane: LaneId,
    },
    /// Nothing to do now: poll again after the next call, and no later than this moment.
    Wait(Option<Instant>),
}
