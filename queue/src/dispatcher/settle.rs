//! Parts between their states: into a line, to their outcome, and what follows for place and flow.

use std::time::Instant;

use super::Dispatcher;
use crate::flow::Bell;
use crate::id::{FlowId, PartIndex, Seq, Ticket};
use crate::lane::Worth;
use crate::line::Waiting;
use crate::offer::{Outcome, Reason};
use crate::place::{Culprit, Holder, Second, State};
use crate::policy::NoLane;
use crate::pool::PoolId;
use crate::slots::At;
use crate::step::Step;
use crate::timer::Due;

impl<I, P, A> Dispatcher<I, P, A> {
    /// Puts an open part into its line that nobody has, or a suspected lane. One that nobody has may be
    /// settled instead where no lane serves it.
    pub(super) fn enqueue(&mut self, at: At<FlowId>, seq: Seq, part: PartIndex) {
        let flow = &mut self.flows[at];
        let (no_lane, weight) = (flow.policy.no_lane, flow.policy.weight.get());
        let place = flow.place_mut(seq).expect("the caller has seen the place");
        let deadline = place.deadline;
        let slot = &mut place.parts[usize::from(part)];
        let pool = slot.pool;
        let idle = slot.out().is_none();
        if idle && no_lane == NoLane::Pass && !self.pools.get(pool).is_served() {
            return self.settle(at, seq, part, Outcome::Missing(Reason::NoLane));
        }
        match &mut slot.state {
            State::Out(out) => out.second = Second::Doubted,
            state => *state = State::Waiting,
        }
        let line = flow.line(pool);
        if line.is_empty() {
            self.pools.wake(at, line, weight);
        }
        line.insert(Waiting { deadline, seq, part });
    }

    /// Takes a waiting part out of its line.
    pub(super) fn dequeue(&mut self, at: At<FlowId>, pool: At<PoolId>, part: Waiting) {
        let flow = &mut self.flows[at];
        let weight = flow.policy.weight.get();
        let line = flow.line(pool);
        line.remove(part);
        if line.is_empty() {
            self.pools.sleep(pool, weight);
        }
    }

    /// Takes the first waiting part out of a line, and charges the flow for the hand-out.
    pub(super) fn serve_next(&mut self, at: At<FlowId>, pool: At<PoolId>) {
        let flow = &mut self.flows[at];
        let weight = flow.policy.weight.get();
        let line = flow.line(pool);
        line.pop();
        self.pools.charge(line, weight);
        if line.is_empty() {
            self.pools.sleep(pool, weight);
        }
    }

    /// Settles every open part of a place as missing, and so the place.
    pub(super) fn settle_place(&mut self, at: At<FlowId>, seq: Seq, reason: Reason) {
        let place = self.flows[at].place(seq);
        let parts = place.expect("the caller has seen the place").parts.len();
        for part in 0..parts {
            let part = PartIndex::try_from(part).expect("Config::parts bounds the parts");
            let place = self.flows[at].place(seq);
            if place.is_some_and(|place| place.parts[usize::from(part)].is_open()) {
                self.settle(at, seq, part, Outcome::Missing(reason));
            }
        }
    }

    /// Settles one open part, cancelling its ticket where a lane still holds it.
    pub(super) fn settle(&mut self, at: At<FlowId>, seq: Seq, part: PartIndex, outcome: Outcome<A>) {
        let flow = &mut self.flows[at];
        let id = flow.id;
        match outcome {
            Outcome::Answer(_) => flow.parts.answered += 1,
            Outcome::Missing(reason) => flow.parts.missing.add(reason, 1),
        }
        flow.parts.open -= 1;
        let place = flow.place_mut(seq).expect("the caller has seen the place");
        if part < place.first && matches!(outcome, Outcome::Missing(_)) {
            place.sealed = true;
        }
        let deadline = place.deadline;
        let slot = &mut place.parts[usize::from(part)];
        let pool = slot.pool;
        let before = std::mem::replace(&mut slot.state, State::Done(outcome));
        slot.payload = None;
        place.open -= 1;
        place.live -= usize::from(matches!(before, State::Out(_)));
        let settled = place.is_settled();
        flow.line(pool).open -= 1;
        if settled {
            flow.pending -= 1;
        }
        match before {
            State::Waiting => self.dequeue(at, pool, Waiting { deadline, seq, part }),
            State::Out(out) => {
                for Holder { lane, attempt } in out.holders() {
                    let ticket = Ticket { flow: id, seq, part, attempt };
                    let lane = &mut self.lanes[lane];
                    if let Some(held) = lane.held.get_mut(&ticket) {
                        held.worth = Worth::Cancelled;
                        let lane = lane.id;
                        self.steps.push_back(Step::Cancel { lane, ticket });
                    }
                }
                self.no_second(at, pool, out.second, Waiting { deadline, seq, part });
            }
            State::Idle | State::Resting(_) | State::Done(_) => {}
        }
        if settled {
            self.ring(at);
        }
    }

    /// Rings `Ready` where the head of the flow is settled and the bell is armed.
    pub(super) fn ring(&mut self, at: At<FlowId>) {
        let flow = &mut self.flows[at];
        if flow.bell == Bell::Armed && flow.head_is_settled() {
            flow.bell = Bell::Rung;
            let flow = flow.id;
            self.steps.push_back(Step::Ready { flow });
        }
    }

    /// Takes a part from the lane that has it by this ticket. Returns whether another has it still.
    pub(super) fn take_back(&mut self, at: At<FlowId>, ticket: Ticket) -> bool {
        let Ticket { seq, part, .. } = ticket;
        let place = self.flows[at].place_mut(seq);
        let place = place.expect("a live ticket's place is not settled");
        let (pool, deadline) = (place.parts[usize::from(part)].pool, place.deadline);
        let (second, other) = place.take_back(part, ticket.attempt);
        self.no_second(at, pool, second, Waiting { deadline, seq, part });
        other
    }

    /// A part that was to have a second lane is not any more.
    pub(super) fn no_second(&mut self, at: At<FlowId>, pool: At<PoolId>, second: Second, part: Waiting) {
        match second {
            Second::Slow(turn) => self.not_slow(at, pool, turn),
            Second::Doubted => self.dequeue(at, pool, part),
            Second::No | Second::WhenSlow => {}
        }
    }

    /// Notes which lane has failed a part. That is held against the lane where the part has not failed before:
    /// then the part may be the cause itself, and would take down one lane after the other.
    fn blame(&mut self, at: At<FlowId>, seq: Seq, part: PartIndex, culprit: Culprit, now: Instant) {
        let place = self.flows[at].place_mut(seq).expect("the caller has seen the place");
        let slot = &mut place.parts[usize::from(part)];
        slot.charged += 1;
        slot.failed_by = Some(culprit);
        let pool = slot.pool;
        if slot.charged > 1 {
            return;
        }
        if let Some(lane) = self.lanes.find(culprit.lane)
            && let Some(until) = self.pools.lane_failed(pool, lane, now)
        {
            self.set_timer(until, Due::Rested(self.pools.get(pool).id, culprit.lane));
        }
    }

    /// Counts a failure against a part, and tries it again or gives it up; while another lane has it
    /// (`other`), that one may still answer.
    pub(super) fn charge(
        &mut self,
        at: At<FlowId>,
        seq: Seq,
        part: PartIndex,
        culprit: Culprit,
        other: bool,
        now: Instant,
    ) {
        self.blame(at, seq, part, culprit, now);
        let flow = &mut self.flows[at];
        let (id, limit, rest) = (flow.id, flow.policy.attempts, flow.policy.retry_after);
        let place = flow.place_mut(seq).expect("the caller has seen the place");
        let slot = &mut place.parts[usize::from(part)];
        let over = limit.is_some_and(|limit| slot.charged >= limit.get());
        if other {
            // One that must rest is left to the suspected lane: it rests until that one is heard or gone.
            if !over && rest.is_none() {
                self.doubt(at, seq, part);
            }
            return;
        }
        if over {
            return self.settle(at, seq, part, Outcome::Missing(Reason::Failed));
        }
        match rest.and_then(|rest| now.checked_add(rest)) {
            Some(until) if until > now => {
                slot.state = State::Resting(until);
                self.set_timer(until, Due::Retry(id, seq, part));
            }
            _ => self.enqueue(at, seq, part),
        }
    }
}
