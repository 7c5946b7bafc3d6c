//! Polling: what other calls caused first, then hand-outs, then the wait.

use std::time::Instant;

use super::Dispatcher;
use crate::flow::{Bell, Phase};
use crate::id::{FlowId, LaneId, PartIndex, Seq, Ticket};
use crate::key::Key;
use crate::lane::{Held, Worth};
use crate::line::Waiting;
use crate::offer::{Outcome, Reason};
use crate::place::{Holder, Out, Second, State};
use crate::pool::PoolId;
use crate::slots::At;
use crate::step::Step;
use crate::timer::Due;

/// What to send for a ticket.
#[derive(Debug)]
pub struct HandOut<'a, I, P> {
    /// The item of the place.
    pub item: &'a I,
    /// The payload of the part.
    pub payload: &'a P,
    /// What must be done.
    pub key: &'a Key,
    /// When the item came into being.
    pub captured_at: Instant,
    /// When the place is settled without an answer; `None` without a budget.
    pub deadline: Option<Instant>,
}

impl<I, P, A> Dispatcher<I, P, A> {
    /// The next thing to do. Call it until it is [`Step::Wait`], after every other call and when the
    /// moment that `Wait` named has come.
    pub fn poll(&mut self, now: Instant) -> Step {
        self.advance(now);
        loop {
            if let Some(step) = self.next_step() {
                return step;
            }
            if let Some(step) = self.assign().or_else(|| self.hedge()) {
                return step;
            }
            // Looking for work may have settled parts that could not be done in time.
            if self.steps.is_empty() {
                return Step::Wait(self.next_due());
            }
        }
    }

    /// What to send for a ticket; `None` once the ticket is not live any more.
    #[must_use]
    pub fn hand_out(&self, ticket: Ticket) -> Option<HandOut<'_, I, P>> {
        let flow = &self.flows[self.flows.find(ticket.flow)?];
        let place = flow.place(ticket.seq)?;
        let part = place.parts.get(usize::from(ticket.part))?;
        if !part.out()?.holders().any(|holder| holder.attempt == ticket.attempt) {
            return None;
        }
        Some(HandOut {
            item: &place.item,
            payload: part.payload.as_ref()?,
            key: &part.key,
            captured_at: place.captured_at,
            deadline: place.deadline,
        })
    }

    /// The next noted step that still means something.
    fn next_step(&mut self) -> Option<Step> {
        while let Some(step) = self.steps.pop_front() {
            let tell = match step {
                Step::Ready { flow } => self.tell_ready(flow),
                Step::Room { flow } => self.tell_room(flow),
                Step::Closed { flow } => self.tell_closed(flow),
                Step::Cancel { lane, ticket } => self.tell_cancel(lane, ticket),
                Step::Drained { lane } => self.lanes.find(lane).is_some(),
                Step::Lost { .. } | Step::Assign { .. } | Step::Wait(_) => true,
            };
            if tell {
                return Some(step);
            }
        }
        None
    }

    fn tell_ready(&mut self, flow: FlowId) -> bool {
        let Some(at) = self.flows.find(flow) else {
            return false;
        };
        let flow = &mut self.flows[at];
        // What rang may have been taken before anyone heard it.
        let ready = flow.head_is_settled();
        flow.bell = if ready { Bell::Told } else { Bell::Armed };
        ready
    }

    fn tell_room(&mut self, flow: FlowId) -> bool {
        let Some(at) = self.flows.find(flow) else {
            return false;
        };
        let rooms = &mut self.flows[at].rooms;
        let Some(left) = rooms.checked_sub(1) else {
            return false;
        };
        *rooms = left;
        if left > 0 {
            self.steps.push_back(Step::Room { flow });
        }
        true
    }

    fn tell_closed(&mut self, flow: FlowId) -> bool {
        let Some(at) = self.flows.find(flow) else {
            return false;
        };
        self.flows[at].phase = Phase::Closed;
        true
    }

    fn tell_cancel(&mut self, lane: LaneId, ticket: Ticket) -> bool {
        // The lane may have answered, or left, in the meantime.
        let Some(at) = self.lanes.find(lane) else {
            return false;
        };
        if !self.lanes[at].held.contains_key(&ticket) {
            return false;
        }
        self.await_release(at, ticket);
        true
    }

    /// Hands out one part where there is one that waits and a lane with room that serves it.
    fn assign(&mut self) -> Option<Step> {
        let now = self.now?;
        loop {
            let pool = self.pools.pick()?;
            let (at, part) = self.first_waiting(pool);
            if let Some(deadline) = part.deadline {
                let left = deadline.saturating_duration_since(now);
                if !self.pools.get(pool).service.fits(left, now) {
                    // A suspected lane may have done most of it already.
                    if !self.leave_to_its_lane(at, part.seq, part.part) {
                        let late = Outcome::Missing(Reason::Late);
                        self.settle(at, part.seq, part.part, late);
                    }
                    continue;
                }
            }
            let lane_at = self.lane_for(at, pool, part);
            let lane_at = lane_at.expect("a runnable pool has a lane that may have a part");

            self.serve_next(at, pool);
            let (ticket, beside) = self.hand_to(lane_at, at, part.seq, part.part, now);
            if beside {
                self.flows[at].parts.rescued += 1;
            } else {
                self.watch(at, pool, ticket, now);
            }
            let lane = self.lanes[lane_at].id;
            return Some(Step::Assign { lane, ticket });
        }
    }

    /// The lane that is to have a part: rather not the one that failed it last.
    #[inline]
    fn lane_for(&self, at: At<FlowId>, pool: At<PoolId>, part: Waiting) -> Option<At<LaneId>> {
        let place = self.flows[at].place(part.seq).expect("a part that waits is not settled");
        match place.parts[usize::from(part.part)].failed_by {
            None => self.pools.freest(pool, None, |_| 0),
            Some(culprit) => self.pools.freest(pool, None, |lane| culprit.keeps(&self.lanes[lane])),
        }
    }

    /// The flow whose turn it is in a pool that some flow waits for, and the part that is first in it.
    fn first_waiting(&mut self, pool: At<PoolId>) -> (At<FlowId>, Waiting) {
        loop {
            let at = self.pools.first(pool).expect("a runnable pool has a waiting flow");
            let line = self.flows[at].line(pool);
            match line.front() {
                Some(part) => return (at, part),
                None => self.pools.pass_over(line),
            }
        }
    }

    /// Hands a part to a lane. Returns whether another one has it too.
    pub(super) fn hand_to(
        &mut self,
        lane: At<LaneId>,
        at: At<FlowId>,
        seq: Seq,
        part: PartIndex,
        now: Instant,
    ) -> (Ticket, bool) {
        let flow = &mut self.flows[at];
        let id = flow.id;
        let place = flow.place_mut(seq).expect("its part is open");
        let slot = &mut place.parts[usize::from(part)];
        slot.attempt += 1;
        let ticket = Ticket { flow: id, seq, part, attempt: slot.attempt };
        let holder = Holder { lane, attempt: slot.attempt };
        let (beside, hedge) = match &mut slot.state {
            State::Out(out) => {
                let hedge = out.second != Second::Doubted;
                *out = Out::new(out.first, Some(holder));
                (true, hedge)
            }
            state => {
                *state = State::Out(Out::new(holder, None));
                place.live += 1;
                (false, false)
            }
        };
        let pool_at = slot.pool;
        let pool = self.pools.get(pool_at).id;
        let held = Held { pool, since: now, worth: Worth::Live, slow: false, hedge, overlong: false };
        self.lanes[lane].held.insert(ticket, held);
        self.lane_changed(lane);
        if let Some(until) = self.pools.lane_handed(pool_at, lane, now) {
            self.set_timer(until, Due::Rested(pool, self.lanes[lane].id));
        }
        let until = self.flows[at].policy.answer_within.and_then(|within| now.checked_add(within));
        if let Some(until) = until {
            self.set_timer(until, Due::Answer(ticket, self.lanes[lane].id));
        }
        (ticket, beside)
    }
}
