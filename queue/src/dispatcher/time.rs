//! What time does: deadlines, rests after failures, and lanes that do not answer or do not let go.

use std::time::Instant;

use super::Dispatcher;
use crate::id::{FlowId, LaneId, PartIndex, Seq, Ticket};
use crate::lane::Worth;
use crate::offer::Reason;
use crate::place::{Place, Second, State};
use crate::slots::At;
use crate::step::Step;
use crate::timer::Due;

impl<I, P, A> Dispatcher<I, P, A> {
    /// Moves time on and does all that has come due. Every call that takes `now` begins with it, so
    /// that an answer which comes after a deadline is late even if nobody polled in between.
    #[inline]
    pub(super) fn advance(&mut self, now: Instant) {
        let now = self.now.map_or(now, |latest| latest.max(now));
        self.now = Some(now);
        if self.timers.next_at().is_some_and(|at| at <= now) {
            self.fire_all(now);
        }
    }

    fn fire_all(&mut self, now: Instant) {
        while let Some((at, due)) = self.next_entry()
            && at <= now
        {
            self.fire(due);
        }
    }

    /// The next moment at which something is due.
    pub(super) fn next_due(&mut self) -> Option<Instant> {
        self.next_entry().map(|(at, _)| at)
    }

    /// The first entry of the table that is really due at its moment. Those before it are taken out, or
    /// put off to the next deadline of their flow.
    fn next_entry(&mut self) -> Option<(Instant, Due)> {
        loop {
            let (at, due) = self.timers.peek()?;
            let really = match due {
                Due::Deadline(flow, entry) => self.next_deadline(flow, entry),
                _ => self.is_due(at, due).then_some(at),
            };
            match really {
                Some(moment) if moment == at => return Some((at, due)),
                Some(later) => self.timers.put_off(later),
                None => self.timers.pop(),
            }
        }
    }

    /// The next deadline of a flow, noted as that of its entry.
    fn next_deadline(&mut self, flow: FlowId, entry: u64) -> Option<Instant> {
        let flow = self.flows.find(flow)?;
        let flow = &mut self.flows[flow];
        if !flow.is_entry(entry) {
            return None;
        }
        flow.due = flow.next_deadline().map(|(deadline, _)| deadline);
        flow.due
    }

    pub(super) fn set_timer(&mut self, at: Instant, due: Due) {
        self.timers.set(at, due);
        if self.timers.wants_sweep() {
            let mut timers = std::mem::replace(&mut self.timers, crate::timer::Timers::new());
            timers.sweep(|at, due| self.is_due(at, due));
            self.timers = timers;
        }
    }

    /// Whether an entry of the table still means something.
    fn is_due(&self, at: Instant, due: Due) -> bool {
        let place =
            |flow, seq: Seq| -> Option<&Place<I, P, A>> { self.flows[self.flows.find(flow)?].place(seq) };
        match due {
            Due::Deadline(flow, entry) => {
                self.flows.find(flow).is_some_and(|flow| self.flows[flow].is_entry(entry))
            }
            Due::Retry(flow, seq, part) => place(flow, seq).is_some_and(|place| {
                let state = &place.parts[usize::from(part)].state;
                matches!(state, State::Resting(until) if *until == at)
            }),
            Due::Release(lane, ticket) => {
                let lane = self.lanes.find(lane).map(|lane| &self.lanes[lane]);
                let held = lane.and_then(|lane| lane.held.get(&ticket));
                held.is_some_and(|held| held.worth == Worth::Told(Some(at)))
            }
            Due::Slow(Ticket { flow, seq, part, attempt }) => place(flow, seq).is_some_and(|place| {
                let out = place.parts[usize::from(part)].out();
                out.is_some_and(|out| out.first.attempt == attempt && out.second == Second::WhenSlow)
            }),
            Due::Answer(ticket, lane) => {
                let lane = self.lanes.find(lane).map(|lane| &self.lanes[lane]);
                let held = lane.and_then(|lane| lane.held.get(&ticket));
                held.is_some_and(|held| held.worth == Worth::Live)
            }
            Due::Rested(pool, lane) => {
                let rests = self.pools.at(pool).zip(self.lanes.find(lane));
                rests.and_then(|(pool, lane)| self.pools.rests_until(pool, lane)) == Some(at)
            }
        }
    }

    fn fire(&mut self, due: Due) {
        // A flow's entry stays, and is put off once the place is settled.
        let Due::Deadline(flow, _) = due else {
            self.timers.pop();
            return self.fire_once(due);
        };
        if let Some(at) = self.flows.find(flow)
            && let Some((_, seq)) = self.flows[at].next_deadline()
        {
            self.settle_place(at, seq, Reason::Late);
        }
    }

    fn fire_once(&mut self, due: Due) {
        match due {
            Due::Retry(flow, seq, part) => {
                if let Some(at) = self.flows.find(flow) {
                    self.wake_up(at, seq, part);
                }
            }
            Due::Release(lane, ticket) => {
                self.remove_lane(lane, Some(ticket));
                self.steps.push_back(Step::Lost { lane });
            }
            Due::Slow(ticket) => self.slow(ticket),
            Due::Answer(ticket, lane) => self.unanswered(lane, ticket),
            Due::Rested(pool, lane) => {
                if let (Some(pool), Some(lane)) = (self.pools.at(pool), self.lanes.find(lane)) {
                    self.pools.lane_rested(pool, lane);
                }
            }
            Due::Deadline(..) => {}
        }
    }

    /// A lane has had a live ticket for as long as it may: the part is tried again, at another lane if there
    /// is one with room, and whatever this one still says of it is stale.
    fn unanswered(&mut self, lane: LaneId, ticket: Ticket) {
        let (Some(lane), Some(at), Some(now)) =
            (self.lanes.find(lane), self.flows.find(ticket.flow), self.now)
        else {
            return;
        };
        let lane = &mut self.lanes[lane];
        let Some(held) = lane.held.get_mut(&ticket) else {
            return;
        };
        held.worth = Worth::Cancelled;
        lane.failed += 1;
        let culprit = lane.culprit();
        self.steps.push_back(Step::Cancel { lane: lane.id, ticket });
        self.flows[at].parts.unanswered += 1;
        let other = self.take_back(at, ticket);
        self.charge(at, ticket.seq, ticket.part, culprit, other, now);
    }

    fn wake_up(&mut self, at: At<FlowId>, seq: Seq, part: PartIndex) {
        if let Some(place) = self.flows[at].place_mut(seq) {
            place.parts[usize::from(part)].state = State::Idle;
            self.enqueue(at, seq, part);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use crate::{
        Answered, Config, Dispatcher, Join, Key, LaneKey, Offer, Part, Parts, Policy, SourceCounts, Step,
        TaskName, WorkerId,
    };

    #[test]
    fn long_budgets_do_not_make_the_table_of_moments_grow() {
        let key = Key::task(TaskName::new("work").unwrap());
        let mut queue: Dispatcher<(), (), ()> = Dispatcher::new(Config::default());
        let mut now = Instant::now();
        let flow = queue.open(Policy::video(Duration::from_secs(3600)));
        let keys = vec![LaneKey { key: key.clone(), warm: true }];
        let join = Join { worker: WorkerId(0), keys, credit: 1 };
        queue.join(join, now);
        for _ in 0..10_000 {
            now += Duration::from_millis(1);
            let parts = Parts::one(Part { key: key.clone(), payload: () });
            let offer =
                Offer { item: (), parts, sealed: true, captured_at: now, source: SourceCounts::default() };
            queue.offer(flow, offer, now).unwrap();
            let Step::Assign { lane, ticket } = queue.poll(now) else {
                panic!("there is a free lane");
            };
            queue.answer(lane, ticket, Answered::new(Ok(())), now);
            assert!(queue.take(flow, now).is_some());
        }
        assert!(queue.timers.len() <= 300, "{}", queue.timers.len());
    }
}
