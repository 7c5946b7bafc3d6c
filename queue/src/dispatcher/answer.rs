//! What lanes say about their tickets: answers, failures, releases.

use std::time::{Duration, Instant};

use super::Dispatcher;
use crate::id::{FlowId, LaneId, PartIndex, Seq, Ticket};
use crate::lane::{Held, Worth};
use crate::offer::{Outcome, Part, Reason};
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
        self.learn(&held, answered.result.is_ok(), answered.service);
        let lane = &mut self.lanes[at];
        if held.worth != Worth::Live {
            lane.stale += 1;
            return Settled::Stale;
        }
        match answered.result {
            Ok(_) => lane.answered += 1,
            Err(_) => lane.failed += 1,
        }
        self.count(at, ticket, held.hedge, answered);
        Settled::Counted
    }

    /// A lane lets go of a ticket without a result: its credit comes back. Where the ticket was
    /// cancelled that is all; a live one waits again at the front, uncharged (it could not be sent).
    pub fn released(&mut self, lane: LaneId, ticket: Ticket, now: Instant) {
        self.advance(now);
        if let Some((_, held)) = self.let_go(lane, ticket) {
            self.learn(&held, false, None);
            if held.worth == Worth::Live {
                self.give_back(ticket, None);
            }
        }
    }

    /// Learns from a ticket that has ended how long work takes: an answer that comes late tells as much
    /// as one in time, and of one that was slow and gave none it is known that it took as long as this.
    pub(super) fn learn(&mut self, held: &Held, answered: bool, service: Option<Duration>) {
        let (Some(now), Some(pool)) = (self.now, self.pools.by_id(held.pool)) else {
            return;
        };
        let took = now.saturating_duration_since(held.since);
        if answered {
            pool.service.learn(service.unwrap_or(took), now);
        }
        if (answered || held.slow)
            && let Some(spread) = &mut pool.spread
        {
            spread.learn(took, now);
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
    fn count(&mut self, lane: At<LaneId>, ticket: Ticket, hedge: bool, answered: Answered<A, P>) {
        let Ticket { flow, seq, part, .. } = ticket;
        let at = self.flows.find(flow).expect("a live ticket's flow is there");
        let other = self.take_back(at, ticket);
        match (answered.result, self.now) {
            (Ok(answer), _) => {
                let place = self.flows[at].place(seq).expect("a live ticket's place is not settled");
                self.pools.lane_answered(place.parts[usize::from(part)].pool, lane);
                if !answered.asks.is_empty() {
                    self.ask(at, seq, answered.asks);
                }
                if answered.seal
                    && let Some(place) = self.flows[at].place_mut(seq)
                {
                    place.sealed = true;
                }
                self.flows[at].parts.hedges_won += u64::from(hedge);
                self.settle(at, seq, part, Outcome::Answer(answer));
            }
            (Err(Failure::Failed), Some(now)) => {
                let culprit = self.lanes[lane].culprit();
                self.charge(at, seq, part, culprit, other, now);
            }
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
