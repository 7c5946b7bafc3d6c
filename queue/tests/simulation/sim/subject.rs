//! The queue as the stage sees it; with a fault, one that breaks a promise once.

use std::ops::{Deref, DerefMut};
use std::time::{Duration, Instant};

use framelane_queue::{
    Answered, Dispatcher, Failure, FlowId, LaneId, Policy, Seq, Settled, Step, Taken, Ticket,
};

pub(crate) type Queue = Dispatcher<u64, u64, u64>;

/// A promise to break.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A place that is taken does not come out.
    LosePlace,
    /// A place comes out a second time.
    RepeatPlace,
    /// Two places come out in the wrong order.
    SwapPlaces,
    /// A hand-out is made twice.
    RepeatHandOut,
    /// An answer is said to count and does not reach the queue.
    LoseAnswer,
    /// An answer that came too late is said to count.
    CountStale,
    /// Nobody is told that a place is ready.
    LoseReady,
    /// The end of a flow is not told.
    LoseClosed,
    /// The silence of a lane does not reach the queue.
    LoseSilence,
    /// A cancel is said to count and does not reach the queue.
    LoseCancel,
    /// A lane is not told to let go.
    KeepTicket,
    /// A flow's limit to the time that an answer may take is not kept.
    WaitForAnswers,
    /// That lanes fail parts does not reach the queue: they were let go, as far as that knows.
    ForgiveFailures,
    /// A moment at which something is due is named too late.
    WaitTooLong,
}

/// How often things go well before the fault: it should not hit the first of its kind alone.
const GO_WELL: u32 = 3;

pub(crate) struct Subject {
    queue: Queue,
    fault: Option<Fault>,
    well: u32,
    again: Option<Step>,
    pub(crate) struck: bool,
}

impl Deref for Subject {
    type Target = Queue;

    fn deref(&self) -> &Queue {
        &self.queue
    }
}

impl DerefMut for Subject {
    fn deref_mut(&mut self) -> &mut Queue {
        &mut self.queue
    }
}

impl Subject {
    pub(crate) fn new(queue: Queue, fault: Option<Fault>) -> Self {
        Self { queue, fault, well: 0, again: None, struck: false }
    }

    /// Whether the fault strikes here and now.
    fn strikes(&mut self, fault: Fault) -> bool {
        if self.struck || self.fault != Some(fault) {
            return false;
        }
        self.well += 1;
        self.struck = self.well > GO_WELL;
        self.struck
    }

    pub(crate) fn poll(&mut self, now: Instant) -> Step {
        if let Some(step) = self.again.take() {
            return step;
        }
        let step = self.queue.poll(now);
        match step {
            Step::Assign { .. } if self.strikes(Fault::RepeatHandOut) => self.again = Some(step),
            Step::Cancel { .. } if self.strikes(Fault::KeepTicket) => return self.queue.poll(now),
            Step::Ready { .. } if self.strikes(Fault::LoseReady) => return self.queue.poll(now),
            Step::Closed { .. } if self.fault == Some(Fault::LoseClosed) => {
                self.struck = true;
                return self.queue.poll(now);
            }
            Step::Wait(Some(at)) if self.fault == Some(Fault::WaitTooLong) => {
                self.struck = true;
                return Step::Wait(Some(at + Duration::from_millis(20)));
            }
            _ => {}
        }
        step
    }

    pub(crate) fn open(&mut self, policy: Policy) -> FlowId {
        if policy.answer_within.is_some() && self.fault == Some(Fault::WaitForAnswers) {
            self.struck = true;
            return self.queue.open(Policy { answer_within: None, ..policy });
        }
        self.queue.open(policy)
    }

    pub(crate) fn cancel(&mut self, flow: FlowId, seq: Seq, now: Instant) -> bool {
        let would = self.queue.books(flow).is_some_and(|books| books.pending > 0);
        (would && self.strikes(Fault::LoseCancel)) || self.queue.cancel(flow, seq, now)
    }

    pub(crate) fn take_batch(
        &mut self,
        flow: FlowId,
        max: usize,
        into: &mut Vec<Taken<u64, u64>>,
        now: Instant,
    ) -> usize {
        let mut count = self.queue.take_batch(flow, max, into, now);
        if count >= 1 && self.strikes(Fault::LosePlace) {
            into.pop();
            count -= 1;
        }
        if let Some(last) = into.last()
            && count >= 1
            && self.strikes(Fault::RepeatPlace)
        {
            let Taken { seq, item, captured_at, verdict, ref parts } = *last;
            into.push(Taken { seq, item, captured_at, verdict, parts: parts.clone() });
            count += 1;
        }
        if count >= 2 && self.strikes(Fault::SwapPlaces) {
            let last = into.len() - 1;
            into.swap(last - 1, last);
        }
        count
    }

    pub(crate) fn suspect(&mut self, lane: LaneId, now: Instant) {
        if !self.strikes(Fault::LoseSilence) {
            self.queue.suspect(lane, now);
        }
    }

    pub(crate) fn answer(
        &mut self,
        lane: LaneId,
        ticket: Ticket,
        answered: Answered<u64, u64>,
        now: Instant,
    ) -> Settled {
        if self.queue.hand_out(ticket).is_some() && self.strikes(Fault::LoseAnswer) {
            return Settled::Counted;
        }
        let failed = matches!(answered.result, Err(Failure::Failed));
        let forgives = self.fault == Some(Fault::ForgiveFailures);
        if failed && forgives && self.queue.hand_out(ticket).is_some() {
            self.struck = true;
            self.queue.released(lane, ticket, now);
            return Settled::Counted;
        }
        match self.queue.answer(lane, ticket, answered, now) {
            Settled::Stale if self.strikes(Fault::CountStale) => Settled::Counted,
            settled => settled,
        }
    }
}
