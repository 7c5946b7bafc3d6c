//! Second hand-outs beside slow ones.
//!
//! A first hand-out of a flow that hedges earns a share of a hedge and is watched. Once it has been out
//! for longer than nearly all others of its key, and a whole hedge is earned, the part waits for a
//! second lane: one with room, other than its own, that no first hand-out wants. What happens then is
//! no matter of this file: the first answer settles the part, and settling it cancels the other ticket.

use std::time::Instant;

use super::Dispatcher;
use crate::id::{FlowId, Ticket};
use crate::place::{Second, State};
use crate::pool::{PoolId, SlowPart, SlowTurn};
use crate::slots::At;
use crate::step::Step;
use crate::timer::Due;

/// What a hedge costs, in thousandths of one.
const ONE: u32 = 1000;
/// No more hedges are saved up than this: enough for all that one silent lane may hold, and too few
/// to be felt when every lane becomes slow after a long good time.
const SAVED: u32 = 16 * ONE;

impl<I, P, A> Dispatcher<I, P, A> {
    /// Notes a first hand-out of a flow that may hedge it.
    pub(super) fn watch(&mut self, at: At<FlowId>, pool: At<PoolId>, ticket: Ticket, now: Instant) {
        let flow = &mut self.flows[at];
        let Some(hedge) = flow.policy.hedge else {
            return;
        };
        flow.hedges = (flow.hedges + u32::from(hedge.extra.per_mille())).min(SAVED);
        let spread = &mut self.pools.get_mut(pool).spread;
        let slow_after = spread.as_mut().and_then(|spread| spread.slowest(hedge.slowest, now));
        if let Some(moment) = slow_after.and_then(|slow_after| now.checked_add(slow_after)) {
            let place = self.flows[at].place_mut(ticket.seq).expect("it was handed out just now");
            if let State::Out(out) = &mut place.parts[usize::from(ticket.part)].state {
                out.second = Second::WhenSlow;
            }
            self.set_timer(moment, Due::Slow(ticket));
        }
    }

    /// A hand-out has become slow: its part waits for a second lane, if the flow has a hedge left.
    pub(super) fn slow(&mut self, ticket: Ticket) {
        let Some(at) = self.flows.find(ticket.flow) else {
            return;
        };
        let flow = &mut self.flows[at];
        let left = flow.hedges.checked_sub(ONE);
        let Some(place) = flow.place_mut(ticket.seq) else {
            return;
        };
        let slot = &mut place.parts[usize::from(ticket.part)];
        let State::Out(out) = &mut slot.state else {
            return;
        };
        let holder = out.first.lane;
        if let Some(held) = self.lanes[holder].held.get_mut(&ticket) {
            held.slow = true;
        }
        out.second = Second::No;
        if let Some(left) = left {
            let part = SlowPart { flow: at, seq: ticket.seq, part: ticket.part, holder };
            out.second = Second::Slow(self.pools.add_slow(slot.pool, part));
            flow.hedges = left;
        }
    }

    /// A slow part waits for a second lane no more, without having found one.
    pub(super) fn not_slow(&mut self, at: At<FlowId>, pool: At<PoolId>, turn: SlowTurn) {
        self.pools.drop_slow(pool, turn);
        let hedges = &mut self.flows[at].hedges;
        *hedges = (*hedges + ONE).min(SAVED);
    }

    /// Hands out one slow part a second time. To be called when no first hand-out can be made, so that
    /// it takes nothing from anyone.
    pub(super) fn hedge(&mut self) -> Option<Step> {
        let now = self.now?;
        loop {
            let (turn, slow, lane) = self.pools.pick_slow()?;
            let SlowPart { flow: at, seq, part, .. } = slow;
            let place = self.flows[at].place_mut(seq).expect("a slow part is open");
            let deadline = place.deadline;
            let slot = &mut place.parts[usize::from(part)];
            let pool = slot.pool;
            let left = deadline.map(|deadline| deadline.saturating_duration_since(now));
            if left.is_some_and(|left| !self.pools.get(pool).service.fits(left, now)) {
                if let State::Out(out) = &mut slot.state {
                    out.second = Second::No;
                }
                self.not_slow(at, pool, turn);
                continue;
            }
            self.pools.drop_slow(pool, turn);
            let (ticket, _) = self.hand_to(lane, at, seq, part, now);
            self.flows[at].parts.hedged += 1;
            let lane = self.lanes[lane].id;
            return Some(Step::Assign { lane, ticket });
        }
    }
}
