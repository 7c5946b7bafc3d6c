//! The life of a flow: open, close or abort, forget; and the end of one place of it before its time.

use std::time::Instant;

use super::Dispatcher;
use crate::books::{Books, SourceCounts};
use crate::flow::{Flow, Phase};
use crate::id::{FlowId, Seq};
use crate::offer::Reason;
use crate::policy::Policy;
use crate::slots::At;
use crate::step::Step;

impl<I, P, A> Dispatcher<I, P, A> {
    /// Opens a flow.
    pub fn open(&mut self, policy: Policy) -> FlowId {
        let id = FlowId(self.next_flow);
        self.next_flow += 1;
        self.flows.insert(id, Flow::new(id, policy));
        id
    }

    /// Notes the source's counters without an item: after it gave up a refused one, or at its end.
    pub fn source(&mut self, flow: FlowId, counts: SourceCounts) {
        if let Some(at) = self.flows.find(flow) {
            self.flows[at].source = counts;
        }
    }

    /// Takes no more offers; what is inside is finished, and `Closed` follows the last take.
    pub fn close(&mut self, flow: FlowId, now: Instant) {
        self.advance(now);
        let Some(at) = self.flows.find(flow) else {
            return;
        };
        let flow = &mut self.flows[at];
        if flow.phase == Phase::Open {
            flow.phase = Phase::Closing;
            self.end_if_empty(at);
        }
    }

    /// Ends a flow now: open parts are settled as `Cancelled` and their tickets cancelled, untaken
    /// places are discarded and counted as cancelled, settled ones too, and `Closed` comes at once.
    /// Returns how many places were discarded.
    pub fn abort(&mut self, flow: FlowId, now: Instant) -> usize {
        self.advance(now);
        let Some(at) = self.flows.find(flow) else {
            return 0;
        };
        if matches!(self.flows[at].phase, Phase::Ended | Phase::Closed) {
            return 0;
        }
        let places = self.flows[at].front.0..self.flows[at].next_seq().0;
        for seq in places {
            self.settle_place(at, Seq(seq), Reason::Cancelled);
        }
        let flow = &mut self.flows[at];
        let discarded = flow.places.len();
        flow.front = flow.next_seq();
        flow.places.clear();
        flow.missing.add(Reason::Cancelled, discarded as u64);
        self.end_if_empty(at);
        discarded
    }

    /// Nobody wants this place any more: what is open in it is settled as `Cancelled`, and live tickets of
    /// it are cancelled. The place leaves in its turn, like any other; parts that were answered before keep
    /// their answers. False, and nothing happens, where it was settled already or is not there.
    pub fn cancel(&mut self, flow: FlowId, seq: Seq, now: Instant) -> bool {
        self.advance(now);
        let Some(at) = self.flows.find(flow) else {
            return false;
        };
        let unsettled = self.flows[at].place(seq).is_some_and(|place| !place.is_settled());
        if unsettled {
            self.settle_place(at, seq, Reason::Cancelled);
        }
        unsettled
    }

    /// Drops a flow and its books, which are returned. `None`, and nothing happens, until `poll` has
    /// handed out `Closed` for it.
    pub fn forget(&mut self, flow: FlowId) -> Option<Books> {
        let at = self.flows.find(flow)?;
        if self.flows[at].phase != Phase::Closed {
            return None;
        }
        self.flows.remove(flow).map(|flow| flow.books())
    }

    /// Ends a flow that takes nothing more and has nothing left.
    pub(super) fn end_if_empty(&mut self, at: At<FlowId>) {
        let flow = &mut self.flows[at];
        if !flow.places.is_empty() {
            return;
        }
        flow.phase = Phase::Ended;
        flow.failed_offers = 0;
        flow.rooms = 0;
        // Nothing will wait in these lines again, and they keep pools alive.
        for line in std::mem::take(&mut flow.lines) {
            self.pools.drop_line(at, &line);
        }
        let flow = self.flows[at].id;
        self.steps.push_back(Step::Closed { flow });
    }
}
