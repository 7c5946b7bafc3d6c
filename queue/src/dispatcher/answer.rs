//! What lanes say about their tickets: answers, failures, releases.

use std::time::{Duration, Instant};

use super::Dispatcher;
use crate::id::{FlowId, LaneId, PartIndex, Seq, Ticket};
use crate::lane::Held;
use crate::offer::{Outcome, Part, Reason};
use crate::place::State;
use crate::slots::At;

/// Why a lane has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Failure {
    /// The part is bad in itself: it is settled as `Missing(Failed)` at once.
    Bad,
    /// Another attempt may go well, if the policy allows one.
    Failed,
}

/// What a lane sends back for a ticket.
#[derive(Debug)]
pub struct Answered<A, P> {
    /// The answer, or why there is none.
    pub result: Result<A, Failure>,
    /// Further parts of the same place that this answer asks for, each with its own payload. They
    /// count only beside an answer; in a sealed place they are `Missing(Cancelled)` at once.
    pub asks: Vec<Part<P>>,
    /// After these asks nobody may ask for more in this place. Counts only beside an answer.
    pub seal: bool,
    /// How long the work took, where the lane measures it; else the time since the hand-out counts.
    pub service: Option<Duration>,
}

impl<A, P> Answered<A, P> {
    /// A result that asks for nothing and seals.
    #[must_use]
    pub fn new(result: Result<A, Failure>) -> Self {
        Self { result, asks: Vec::new(), seal: true, service: None }
    }
}

/// Whether an answer counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Settled {
    /// The ticket was live: the result counts.
    Counted,
    /// The part was settled or handed out anew in the meantime, or the lane never had the ticket.
    Stale,
}

impl<I, P, A> Dispatcher<I, P, A> {
    /// A lane has a result for a ticket. It gives the ticket's credit back in any case.
    pub fn answer(
        &mut self,
        lane: LaneId,
        ticket: Ticket,
        answered: Answered<A, P>,
        now: Instant,
    ) -> Settled {
        self.advance(now);
        let Some((at, held)) = self.let_go(lane, ticket) else {
            return Settled::Stale;
        };
        // A late answer tells as much about the time that work takes as one in time.
        if answered.result.is_ok() {
            let now = self.now.unwrap_or(now);
            let took = answered.service;
            let took = took.unwrap_or_else(|| now.saturating_duration_since(held.since));
            if let Some(pool) = self.pools.by_id(held.pool) {
                pool.service.learn(took, now);
            }
        }
        let lane = &mut self.lanes[at];
        if held.cancelled {
            lane.stale += 1;
            return Settled::Stale;
        }
        match answered.result {
            Ok(_) => lane.answered += 1,
            Err(_) => lane.failed += 1,
        }
        self.count(ticket, answered);
        Settled::Counted
    }

    /// A lane lets go of a ticket without a result: its credit comes back. Where the ticket was
    /// cancelled that is all; a live one waits again at the front, uncharged (it could not be sent).
    pub fn released(&mut self, lane: LaneId, ticket: Ticket, now: Instant) {
        self.advance(now);
        if let Some((_, held)) = self.let_go(lane, ticket)
            && !held.cancelled
        {
            self.give_back(ticket, false);
        }
    }

    /// Takes a ticket from a lane, with its credit.
    fn let_go(&mut self, lane: LaneId, ticket: Ticket) -> Option<(At<LaneId>, Held)> {
        let at = self.lanes.find(lane)?;
        let held = self.lanes[at].held.remove(&ticket)?;
        self.lane_changed(at);
        self.tell_drained(at);
        Some((at, held))
    }

    /// Settles the part of a live ticket that came back with a result.
    fn count(&mut self, ticket: Ticket, answered: Answered<A, P>) {
        let Ticket { flow, seq, part, .. } = ticket;
        let at = self.flows.find(flow).expect("a live ticket's flow is there");
        let place = self.flows[at].place_mut(seq);
        let place = place.expect("a live ticket's place is not settled");
        place.live -= 1;
        place.parts[usize::from(part)].state = State::Idle;
        match (answered.result, self.now) {
            (Ok(answer), _) => {
                if !answered.asks.is_empty() {
                    self.ask(at, seq, answered.asks);
                }
                if answered.seal
                    && let Some(place) = self.flows[at].place_mut(seq)
                {
                    place.sealed = true;
                }
                self.settle(at, seq, part, Outcome::Answer(answer));
            }
            (Err(Failure::Failed), Some(now)) => self.charge(at, seq, part, now),
            (Err(_), _) => self.settle(at, seq, part, Outcome::Missing(Reason::Failed)),
        }
    }

    /// Adds parts to a place that has an open one. Beyond `Config::parts` they are counted as evicted
    /// and not kept.
    fn ask(&mut self, at: At<FlowId>, seq: Seq, asks: Vec<Part<P>>) {
        let most = usize::from(self.config.parts);
        for part in asks {
            let place = self.flows[at].place(seq).expect("it has an open part");
            let index = place.parts.len();
            if index >= most {
                let parts = &mut self.flows[at].parts;
                parts.asked += 1;
                parts.missing.add(Reason::Evicted, 1);
                continue;
            }
            let born_missing = place.sealed.then_some(Reason::Cancelled);
            let slot = self.slot(at, part, born_missing);
            let open = slot.is_open();
            let place = self.flows[at].place_mut(seq).expect("it has an open part");
            place.parts.push(slot);
            if open {
                place.open += 1;
                let index = PartIndex::try_from(index).expect("Config::parts bounds the parts");
                self.enqueue(at, seq, index);
            }
        }
    }
}
