//! Taking settled places out, in order.

use std::time::Instant;

use super::Dispatcher;
use crate::flow::{Bell, Phase};
use crate::id::{FlowId, Seq};
use crate::offer::{Taken, Verdict};
use crate::slots::At;
use crate::step::Step;

impl<I, P, A> Dispatcher<I, P, A> {
    /// The next settled place of a flow. `None` where the next place is not settled or not there;
    /// `Ready` tells when that has changed.
    pub fn take(&mut self, flow: FlowId, now: Instant) -> Option<Taken<I, A>> {
        self.advance(now);
        let at = self.flows.find(flow)?;
        let taken = self.pop(at);
        self.after_take(at, taken.is_some());
        taken
    }

    /// Takes up to `max` settled places and appends them to `into`. Returns how many; less than `max`
    /// arms `Ready` again.
    pub fn take_batch(
        &mut self,
        flow: FlowId,
        max: usize,
        into: &mut Vec<Taken<I, A>>,
        now: Instant,
    ) -> usize {
        self.advance(now);
        let Some(at) = self.flows.find(flow) else {
            return 0;
        };
        let before = into.len();
        while into.len() - before < max {
            match self.pop(at) {
                Some(taken) => into.push(taken),
                None => break,
            }
        }
        let count = into.len() - before;
        self.after_take(at, count > 0);
        count
    }

    fn pop(&mut self, at: At<FlowId>) -> Option<Taken<I, A>> {
        let flow = &mut self.flows[at];
        if !flow.head_is_settled() {
            if flow.bell == Bell::Told {
                flow.bell = Bell::Armed;
            }
            return None;
        }
        let place = flow.places.pop_front()?;
        let seq = flow.front;
        flow.front = Seq(seq.0 + 1);
        let taken = place.into_taken(seq);
        match taken.verdict {
            Verdict::Answered => flow.answered += 1,
            Verdict::NotAsked => flow.not_asked += 1,
            Verdict::Missing(reason) => flow.missing.add(reason, 1),
        }
        Some(taken)
    }

    fn after_take(&mut self, at: At<FlowId>, took: bool) {
        if !took {
            return;
        }
        let flow = &mut self.flows[at];
        // All of them at once: one that does not come back must not keep the room from the others.
        if flow.failed_offers > 0 {
            if flow.rooms == 0 {
                self.steps.push_back(Step::Room { flow: flow.id });
            }
            flow.rooms += std::mem::take(&mut flow.failed_offers);
        }
        if flow.phase == Phase::Closing {
            self.end_if_empty(at);
        }
    }
}
