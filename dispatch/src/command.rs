//! What the handles ask of the owner task.

use std::any::Any;
use std::sync::Arc;

use queue::{Books, Failure, FlowId, Key, LaneId, LaneKey, Policy, Seq, Taken, Ticket, WorkerId};
use tokio::sync::{Notify, mpsc, oneshot};
use wire::Timings;

use crate::coordinator::Snapshot;
use crate::dump::Dump;
use crate::inbox::Inbox;
use crate::lane::{Label, LastWord, Order};
use crate::prepare::Work;
use crate::room::Room;

/// An item of any flow.
pub(crate) type Item = Arc<dyn Any + Send + Sync>;
/// A part of any flow.
pub(crate) type Payload = Arc<dyn Work>;

/// An answer of any flow.
pub(crate) struct Reply {
    pub(crate) value: Box<dyn Any + Send>,
    pub(crate) timings: Timings,
}

/// What became of one hand-out.
pub(crate) enum Report {
    Answered(Ticket, Result<Reply, Failure>),
    Released(Ticket),
}

pub(crate) type Core = queue::Dispatcher<Item, Payload, Reply>;
pub(crate) type Offer = queue::Offer<Item, Payload>;

/// What an outlet gets for one request.
pub(crate) enum Takings {
    /// Settled places, in order, at least one.
    Places(Vec<Taken<Item, Reply>>),
    /// The flow is over; these are its last books.
    Closed(Box<Books>),
}

/// One request to the owner. None waits inside the owner but a take, at most one per flow. An offer
/// has room already, see [`Room`](crate::room::Room).
pub(crate) enum Command {
    Open {
        policy: Policy,
        /// For people.
        key: Key,
        /// Where its inlet puts its offers, for one that does.
        inbox: Arc<Inbox>,
        reply: oneshot::Sender<(FlowId, Arc<Room>)>,
    },
    /// Something lies in the flow's inbox.
    Inbox {
        flow: FlowId,
    },
    /// Several offers at once, each with its room.
    Offers {
        flow: FlowId,
        offers: Vec<Offer>,
    },
    /// Nobody wants these places any more.
    Cancel {
        flow: FlowId,
        seqs: Vec<Seq>,
    },
    Take {
        flow: FlowId,
        max: usize,
        reply: oneshot::Sender<Takings>,
    },
    Close {
        flow: FlowId,
    },
    Abort {
        flow: FlowId,
    },
    /// The outlet is gone: nobody will take from this flow again.
    Forget {
        flow: FlowId,
    },
    Snapshot {
        flows: Vec<FlowId>,
        reply: oneshot::Sender<Snapshot>,
    },
    Dump {
        reply: oneshot::Sender<Dump>,
    },
    Join {
        worker: WorkerId,
        label: Label,
        keys: Vec<LaneKey>,
        credit: u32,
        orders: mpsc::Sender<Vec<Order>>,
        last_word: Arc<LastWord>,
        practice: Option<Arc<Notify>>,
        reply: oneshot::Sender<LaneId>,
    },
    Keys {
        lane: LaneId,
        keys: Vec<LaneKey>,
    },
    Credit {
        lane: LaneId,
        credit: u32,
    },
    /// What became of hand-outs of one lane, in the order in which they ended.
    Report {
        lane: LaneId,
        reports: Vec<Report>,
    },
    Drain {
        lane: LaneId,
    },
    /// A lane is not heard, or is heard again.
    Silent {
        lane: LaneId,
        silent: bool,
    },
    DrainWorker {
        worker: WorkerId,
        reply: oneshot::Sender<bool>,
    },
    Leave {
        lane: LaneId,
        blame: Option<Ticket>,
    },
    Serves {
        key: Key,
        reply: oneshot::Sender<bool>,
    },
}

impl Command {
    /// Whether it is a sign of work that goes on, and not of people who look.
    pub(crate) fn is_work(&self) -> bool {
        matches!(self, Command::Inbox { .. } | Command::Offers { .. } | Command::Report { .. })
    }
}
