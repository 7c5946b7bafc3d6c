//! Offers: admission, and what the bounds of a flow do to newcomers.

use std::time::Instant;

use super::Dispatcher;
use crate::flow::{Flow, Phase};
use crate::id::{FlowId, PartIndex, Seq};
use crate::line::Line;
use crate::offer::{Batch, Offer, Outcome, Part, Reason, Refused, RefusedWhy};
use crate::place::{Place, Slot, State};
use crate::policy::{NoLane, WhenFull};
use crate::pool::PoolId;
use crate::slots::At;
use crate::spread::Spread;
use crate::timer::Due;

/// Lines that a flow keeps though nothing of it is open there. Making one anew for each item would be
/// slow; keeping all would let a flow with ever new keys grow without bound.
const IDLE_LINES: usize = 8;

impl<I, P, A> Dispatcher<I, P, A> {
    /// Offers an item to a flow. Admitted, it gets the next number; its source's counters are adopted.
    ///
    /// # Errors
    /// Hands the offer back uncounted where the flow is full, closed or not there.
    pub fn offer(&mut self, flow: FlowId, offer: Offer<I, P>, now: Instant) -> Result<Seq, Refused<I, P>> {
        self.advance(now);
        let Some(at) = self.flows.find(flow) else {
            let why = RefusedWhy::NoSuchFlow;
            return Err(Refused { offer, why });
        };
        let admitted = self.admit(at, offer);
        self.count_failed(at, admitted.as_ref().err().map(|refused| refused.why));
        admitted
    }

    /// Offers items in order until one is refused. However many are handed back, it counts as one
    /// failed offer: one `Room` follows.
    pub fn offer_batch(
        &mut self,
        flow: FlowId,
        offers: impl IntoIterator<Item = Offer<I, P>>,
        now: Instant,
    ) -> Batch<I, P> {
        self.advance(now);
        let mut offers = offers.into_iter();
        let mut batch = Batch { admitted: 0, rest: Vec::new(), why: None };
        let Some(at) = self.flows.find(flow) else {
            batch.rest = offers.collect();
            batch.why = (!batch.rest.is_empty()).then_some(RefusedWhy::NoSuchFlow);
            return batch;
        };
        while let Some(offer) = offers.next() {
            match self.admit(at, offer) {
                Ok(_) => batch.admitted += 1,
                Err(refused) => {
                    batch.why = Some(refused.why);
                    batch.rest.push(refused.offer);
                    batch.rest.extend(offers);
                    break;
                }
            }
        }
        self.count_failed(at, batch.why);
        batch
    }

    /// How many items that a flow is sure to admit if they were offered now. What it would do with more
    /// depends on the items.
    #[must_use]
    pub fn room(&self, flow: FlowId) -> usize {
        let Some(flow) = self.flows.find(flow).map(|at| &self.flows[at]) else { return 0 };
        if flow.phase != Phase::Open {
            return 0;
        }
        let held = flow.policy.held.get().saturating_sub(flow.places.len());
        match flow.policy.when_full {
            WhenFull::Refuse => held.min(flow.policy.pending.get().saturating_sub(flow.pending)),
            WhenFull::DropOldest | WhenFull::DropNewest => held,
        }
    }

    fn count_failed(&mut self, at: At<FlowId>, why: Option<RefusedWhy>) {
        if why == Some(RefusedWhy::Full) {
            self.flows[at].failed_offers += 1;
        }
    }

    fn admit(&mut self, at: At<FlowId>, offer: Offer<I, P>) -> Result<Seq, Refused<I, P>> {
        let flow = &self.flows[at];
        let deadline = flow.policy.budget.and_then(|budget| offer.captured_at.checked_add(budget));
        let refused = |offer, why| Err(Refused { offer, why });
        if flow.phase != Phase::Open {
            return refused(offer, RefusedWhy::Closed);
        }
        if offer.parts.len() > usize::from(self.config.parts) {
            return refused(offer, RefusedWhy::TooManyParts);
        }
        if flow.places.len() >= flow.policy.held.get() {
            return refused(offer, RefusedWhy::Full);
        }
        let born_missing = if offer.parts.is_empty() {
            None
        } else if deadline.is_some_and(|deadline| self.now.is_some_and(|now| deadline <= now)) {
            Some(Reason::Late)
        } else if flow.pending < flow.policy.pending.get() || !self.would_wait(flow, &offer.parts) {
            None
        } else {
            match flow.policy.when_full {
                WhenFull::Refuse => return refused(offer, RefusedWhy::Full),
                WhenFull::DropNewest => Some(Reason::Evicted),
                WhenFull::DropOldest => match flow.oldest_idle() {
                    Some(oldest) => {
                        self.settle_place(at, oldest, Reason::Evicted);
                        None
                    }
                    None => Some(Reason::Evicted),
                },
            }
        };
        Ok(self.place(at, offer, deadline, born_missing))
    }

    /// Whether any of the parts would be pending; without a lane all of them may be settled at once.
    fn would_wait(&self, flow: &Flow<I, P, A>, parts: &[Part<P>]) -> bool {
        let (no_lane, pin) = (flow.policy.no_lane, flow.policy.pin);
        no_lane == NoLane::Wait || parts.iter().any(|part| self.is_served(&part.key, pin))
    }

    fn place(
        &mut self,
        at: At<FlowId>,
        offer: Offer<I, P>,
        deadline: Option<Instant>,
        born_missing: Option<Reason>,
    ) -> Seq {
        let count =
            PartIndex::try_from(offer.parts.len()).expect("`admit` refuses more parts than Config::parts");
        let parts = offer.parts.map(|part| self.slot(at, part, born_missing));
        let flow = &mut self.flows[at];
        let seq = flow.next_seq();
        let open = match born_missing {
            None => usize::from(count),
            Some(_) => 0,
        };
        flow.push(Place {
            item: offer.item,
            captured_at: offer.captured_at,
            deadline,
            parts,
            first: count,
            open,
            live: 0,
            sealed: offer.sealed,
        });
        flow.source = offer.source;
        if open == 0 {
            self.ring(at);
            return seq;
        }
        flow.pending += 1;
        for part in 0..count {
            self.enqueue(at, seq, part);
        }
        let flow = &mut self.flows[at];
        if let Some(deadline) = deadline
            && let Some(entry) = flow.entry_for(deadline)
        {
            let due = Due::Deadline(flow.id, entry);
            self.set_timer(deadline, due);
        }
        seq
    }

    /// A part as it begins, counted as asked; open in its line unless it is `born_missing`.
    pub(super) fn slot(&mut self, at: At<FlowId>, part: Part<P>, born_missing: Option<Reason>) -> Slot<P, A> {
        let pool = self.pool_of(at, &part);
        let flow = &mut self.flows[at];
        flow.parts.asked += 1;
        let (payload, state) = match born_missing {
            None => {
                flow.parts.open += 1;
                flow.line(pool).open += 1;
                (Some(part.payload), State::Idle)
            }
            Some(reason) => {
                flow.parts.missing.add(reason, 1);
                (None, State::Done(Outcome::Missing(reason)))
            }
        };
        Slot { key: part.key, pool, payload, state, attempt: 0, charged: 0, failed_by: None }
    }

    /// The pool of a part, with a line of the flow at it.
    fn pool_of(&mut self, at: At<FlowId>, part: &Part<P>) -> At<PoolId> {
        let flow = &mut self.flows[at];
        let same = |line: &&Line| self.pools.get(line.pool).key == part.key;
        if let Some(line) = flow.lines.iter().find(same) {
            return line.pool;
        }
        if flow.lines.len() > IDLE_LINES {
            flow.lines.retain(|line| {
                if line.open == 0 {
                    self.pools.drop_line(at, line);
                }
                line.open > 0
            });
        }
        let (pool, is_new) = self.pools.find_or_make(&part.key, flow.policy.pin);
        self.pools.add_line(pool);
        flow.lines.push(Line::new(pool));
        if flow.policy.hedge.is_some() {
            self.pools.get_mut(pool).spread.get_or_insert_with(|| Box::new(Spread::new()));
        }
        if is_new && let Some(worker) = flow.policy.pin {
            self.staff(pool, worker);
        }
        pool
    }
}
