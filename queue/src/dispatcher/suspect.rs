//! Lanes that are not heard: suspected, and trusted again.
//!
//! Silence may be death or a pause, and nobody can tell which. So what a suspected lane has is handed out a
//! second time, in its old turn and uncharged, and the lane keeps it all the same: whoever answers first
//! settles the part. A lane that only paused loses nothing by it, and work longer than all pauses gets done.
//!
//! No more than two lanes ever have a part. One that two suspected lanes have waits until one of them is
//! heard or gone, so that work which kills its workers does not go through all of them in a second.

use std::time::Instant;

use super::Dispatcher;
use crate::id::{FlowId, LaneId, PartIndex, Seq, Ticket};
use crate::lane::Worth;
use crate::line::Waiting;
use crate::place::{Second, State};
use crate::slots::At;
use crate::timer::Due;

impl<I, P, A> Dispatcher<I, P, A> {
    /// A lane has not been heard for longer than is usual. It gets nothing until [`trust`](Self::trust),
    /// and what it holds is handed out to others too, before all that came later; its own answers count
    /// where they are first. Nobody is charged an attempt.
    ///
    /// It serves its keys as before, so that parts wait for it where there is no other, and it may keep
    /// cancelled tickets for as long as it is silent. Whoever owns it ends the silence, by `trust` or
    /// [`leave`](Self::leave).
    pub fn suspect(&mut self, lane: LaneId, now: Instant) {
        self.advance(now);
        let Some(at) = self.lanes.find(lane) else {
            return;
        };
        if std::mem::replace(&mut self.lanes[at].suspected, true) {
            return;
        }
        self.lane_changed(at);
        for ticket in self.tickets(at) {
            if let Some(held) = self.lanes[at].held.get_mut(&ticket) {
                match held.worth {
                    Worth::Live => {
                        if let Some(flow) = self.flows.find(ticket.flow) {
                            self.doubt(flow, ticket.seq, ticket.part);
                        }
                    }
                    Worth::Cancelled => {}
                    Worth::Told(_) => held.worth = Worth::Told(None),
                }
            }
        }
    }

    /// A suspected lane is heard again: it gets work as before, and what nobody else has taken yet of what
    /// it holds is left to it.
    pub fn trust(&mut self, lane: LaneId, now: Instant) {
        self.advance(now);
        let Some(at) = self.lanes.find(lane) else {
            return;
        };
        if !std::mem::replace(&mut self.lanes[at].suspected, false) {
            return;
        }
        self.lane_changed(at);
        for ticket in self.tickets(at) {
            match self.lanes[at].held.get(&ticket).map(|held| held.worth) {
                Some(Worth::Live) => {
                    if let Some(flow) = self.flows.find(ticket.flow) {
                        self.leave_to_its_lane(flow, ticket.seq, ticket.part);
                    }
                }
                Some(Worth::Told(_)) => self.await_release(at, ticket),
                Some(Worth::Cancelled) | None => {}
            }
        }
    }

    /// The tickets of a lane in order: the same calls must always lead to the same steps.
    fn tickets(&self, at: At<LaneId>) -> Vec<Ticket> {
        let mut tickets: Vec<Ticket> = self.lanes[at].held.keys().copied().collect();
        tickets.sort_unstable();
        tickets
    }

    /// Puts a part into its line that is handed out, if the only lane that has it is suspected.
    pub(super) fn doubt(&mut self, at: At<FlowId>, seq: Seq, part: PartIndex) {
        let place = self.flows[at].place_mut(seq).expect("the caller has seen the place");
        let deadline = place.deadline;
        let slot = &mut place.parts[usize::from(part)];
        let pool = slot.pool;
        let State::Out(out) = &mut slot.state else {
            return;
        };
        let alone = out.other.is_none() && self.lanes[out.first.lane].suspected;
        if !alone || out.second == Second::Doubted {
            return;
        }
        let second = std::mem::replace(&mut out.second, Second::No);
        self.no_second(at, pool, second, Waiting { deadline, seq, part });
        self.enqueue(at, seq, part);
    }

    /// Takes a part out of its line that a lane has. Returns whether it was such a part.
    pub(super) fn leave_to_its_lane(&mut self, at: At<FlowId>, seq: Seq, part: PartIndex) -> bool {
        let place = self.flows[at].place_mut(seq).expect("the caller has seen the place");
        let deadline = place.deadline;
        let slot = &mut place.parts[usize::from(part)];
        let pool = slot.pool;
        let State::Out(out) = &mut slot.state else {
            return false;
        };
        if out.second == Second::Doubted {
            out.second = Second::No;
            self.dequeue(at, pool, Waiting { deadline, seq, part });
        }
        true
    }

    /// Notes by when a lane must have let go of a ticket that it was told to, from now. One that is not
    /// heard may not have heard either.
    pub(super) fn await_release(&mut self, at: At<LaneId>, ticket: Ticket) {
        let lane = &mut self.lanes[at];
        let (id, suspected) = (lane.id, lane.suspected);
        let until = self.now.and_then(|now| now.checked_add(self.config.release_within));
        let until = until.filter(|_| !suspected);
        if let Some(held) = lane.held.get_mut(&ticket) {
            held.worth = Worth::Told(until);
        }
        if let Some(until) = until {
            self.set_timer(until, Due::Release(id, ticket));
        }
    }
}
