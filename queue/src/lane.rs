//! Lanes: connections of workers, with the keys they serve and the credit they gave.

use std::time::Instant;

use crate::id::{LaneId, Ticket, WorkerId};
use crate::key::Key;
use crate::place::Culprit;
use crate::pool::PoolId;
use crate::slots::{At, NumberMap};

/// A key that a lane serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneKey {
    /// The key.
    pub key: Key,
    /// Whether the worker is ready for it at once (model loaded); warm lanes are preferred.
    pub warm: bool,
}

/// A lane on its way in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Join {
    /// Whose lane it is.
    pub worker: WorkerId,
    /// What it serves. Of a key named twice the first counts.
    pub keys: Vec<LaneKey>,
    /// The most tickets it may hold; 0 is fine, it serves its keys and gets nothing yet.
    pub credit: u32,
}

/// A lane as seen from outside, at one moment.
#[derive(Debug, Clone, Copy)]
pub struct LaneView<'a> {
    /// The lane.
    pub lane: LaneId,
    /// Whose it is.
    pub worker: WorkerId,
    /// What it declares to serve.
    pub keys: &'a [LaneKey],
    /// The most tickets it may hold.
    pub credit: u32,
    /// The tickets it holds, cancelled ones included.
    pub outstanding: u32,
    /// It gets nothing more.
    pub draining: bool,
    /// It gets nothing until it is heard again, and others get what it holds.
    pub suspected: bool,
    /// Answers of it that settled a part.
    pub answered: u64,
    /// Failures of it that counted.
    pub failed: u64,
    /// Answers of it that came too late to count.
    pub stale: u64,
    /// Hand-outs that it has had for far too long, with nothing to end them, as told by
    /// [`overlong`](crate::Dispatcher::overlong).
    pub overlong: u64,
}

/// What a lane's ticket is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Worth {
    /// Its answer counts.
    Live,
    /// Its part was settled without it; it still counts against the credit. `Cancel` was not told yet.
    Cancelled,
    /// As before, and told: the lane must let go by this moment, or whenever it is heard again.
    Told(Option<Instant>),
}

/// A ticket in the hands of a lane.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Held {
    /// The pool whose service time the answer tells; it may be gone by then.
    pub(crate) pool: PoolId,
    pub(crate) since: Instant,
    pub(crate) worth: Worth,
    /// It was found to take long.
    pub(crate) slow: bool,
    /// It was handed out beside another one, because that one was slow.
    pub(crate) hedge: bool,
    /// It was told to have been out for far too long.
    pub(crate) overlong: bool,
}

/// One lane.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) id: LaneId,
    pub(crate) worker: WorkerId,
    pub(crate) keys: Vec<LaneKey>,
    /// The pools it serves now; none while it drains.
    pub(crate) pools: Vec<At<PoolId>>,
    pub(crate) credit: u32,
    pub(crate) draining: bool,
    pub(crate) suspected: bool,
    pub(crate) held: NumberMap<Ticket, Held>,
    pub(crate) answered: u64,
    pub(crate) failed: u64,
    pub(crate) stale: u64,
    pub(crate) overlong: u64,
}

impl Lane {
    pub(crate) fn new(id: LaneId, join: Join) -> Self {
        Self {
            id,
            worker: join.worker,
            keys: join.keys,
            pools: Vec::new(),
            credit: join.credit,
            draining: false,
            suspected: false,
            held: NumberMap::default(),
            answered: 0,
            failed: 0,
            stale: 0,
            overlong: 0,
        }
    }

    pub(crate) fn culprit(&self) -> Culprit {
        Culprit { lane: self.id, worker: self.worker }
    }

    /// Tickets it holds, cancelled ones included.
    pub(crate) fn outstanding(&self) -> u32 {
        u32::try_from(self.held.len()).unwrap_or(u32::MAX)
    }

    /// How many more tickets it may hold.
    pub(crate) fn room(&self) -> u32 {
        if self.draining || self.suspected {
            return 0;
        }
        self.credit.saturating_sub(self.outstanding())
    }

    /// It is heard and has credit, used up or not: sooner or later it works on what it gets.
    pub(crate) fn is_able(&self) -> bool {
        self.credit > 0 && !self.draining && !self.suspected
    }

    pub(crate) fn view(&self) -> LaneView<'_> {
        LaneView {
            lane: self.id,
            worker: self.worker,
            keys: &self.keys,
            credit: self.credit,
            outstanding: self.outstanding(),
            draining: self.draining,
            suspected: self.suspected,
            answered: self.answered,
            failed: self.failed,
            stale: self.stale,
            overlong: self.overlong,
        }
    }
}
