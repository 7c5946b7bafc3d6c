//! What time does: deadlines, rests after failures, and lanes that do not let go.

use std::time::Instant;

use super::Dispatcher;
use crate::id::{PartIndex, Seq, Ticket};
use crate::offer::Reason;
use crate::place::{Place, State};
use crate::slots::At;
use crate::step::Step;
use crate::timer::Due;

impl<I, P, A> Dispatcher<I, P, A> {
    /// Moves time on and does all that has come due. Every call that takes `now` begins with it, so
    /// that an answer which comes after a deadline is late even if nobody polled in between.
    pub(super) fn advance(&mut self, now: Instant) {
        let now = self.now.map_or(now, |latest| latest.max(now));
        self.now = Some(now);
        while let Some((at, due)) = self.timers.peek()
            && at <= now
        {
            self.timers.pop();
            if self.is_due(at, due) {
                self.fire(due);
            }
        }
    }

    /// The next moment at which something is due.
    pub(super) fn next_due(&mut self) -> Option<Instant> {
        while let Some((at, due)) = self.timers.peek() {
            if self.is_due(at, due) {
                return Some(at);
            }
            self.timers.pop();
        }
        None
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
            Due::Deadline(flow, seq) => place(flow, seq).is_some_and(|place| !place.is_settled()),
            Due::Retry(flow, seq, part) => place(flow, seq).is_some_and(|place| {
                let state = &place.parts[usize::from(part)].state;
                matches!(state, State::Resting(until) if *until == at)
            }),
            Due::Release(lane, ticket) => {
                self.lanes.find(lane).is_some_and(|lane| self.lanes[lane].held.contains_key(&ticket))
            }
            Due::Slow(Ticket { flow, seq, part, attempt }) => place(flow, seq).is_some_and(|place| {
                let out = place.parts[usize::from(part)].out();
                out.is_some_and(|out| out.first.attempt == attempt)
            }),
        }
    }

    fn fire(&mut self, due: Due) {
        match due {
            Due::Deadline(flow, seq) => {
                if let Some(at) = self.flows.find(flow) {
                    self.settle_place(at, seq, Reason::Late);
                }
            }
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
        }
    }

    fn wake_up(&mut self, at: At<crate::id::FlowId>, seq: Seq, part: PartIndex) {
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
        Answered, Config, Dispatcher, Join, Key, LaneKey, Offer, Part, Policy, SourceCounts, Step, TaskName,
        WorkerId,
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
            let parts = vec![Part { key: key.clone(), payload: () }];
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
