//! A place: an item, its parts, and how each of them stands.

use std::time::Instant;

use crate::id::{LaneId, PartIndex, WorkerId};
use crate::key::Key;
use crate::lane::Lane;
use crate::offer::{Outcome, Reason, Taken, Verdict};
use crate::parts::Parts;
use crate::pool::{PoolId, SlowTurn};
use crate::slots::At;

/// One lane that has a part, and by which hand-out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Holder {
    pub(crate) lane: At<LaneId>,
    pub(crate) attempt: u32,
}

/// A lane that failed a part. It may be gone, while others of its worker are there, or come.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Culprit {
    pub(crate) lane: LaneId,
    pub(crate) worker: WorkerId,
}

impl Culprit {
    /// How far a lane is to be kept from the part: that lane most of all, then others of its worker.
    pub(crate) fn keeps(&self, lane: &Lane) -> u8 {
        u8::from(lane.worker == self.worker) + u8::from(lane.id == self.lane)
    }
}

/// Whether a part that one lane has is to have a second one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Second {
    /// As things stand, it is not.
    No,
    /// When its hand-out becomes slow.
    WhenSlow,
    /// Its hand-out is slow: it waits in this turn for a lane that nobody else wants.
    Slow(SlowTurn),
    /// Its lane is suspected: it is in the line of its pool like one that nobody has.
    Doubted,
}

/// Who has a part that is handed out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Out {
    pub(crate) first: Holder,
    /// The lane that has it too.
    pub(crate) other: Option<Holder>,
    pub(crate) second: Second,
}

impl Out {
    pub(crate) fn new(first: Holder, other: Option<Holder>) -> Self {
        Self { first, other, second: Second::No }
    }

    pub(crate) fn holders(&self) -> impl Iterator<Item = Holder> {
        std::iter::once(self.first).chain(self.other)
    }

    /// What is left once a hand-out has ended.
    fn without(&self, attempt: u32) -> Option<Self> {
        let left = self.holders().find(|holder| holder.attempt != attempt)?;
        Some(Self::new(left, None))
    }
}

/// How a part stands.
#[derive(Debug)]
pub(crate) enum State<A> {
    /// Between two of the others, inside one call only.
    Idle,
    /// In the line of its pool.
    Waiting,
    /// Failed, and not to be tried again before this moment.
    Resting(Instant),
    /// Handed out, and perhaps in the line of its pool all the same.
    Out(Out),
    /// Settled.
    Done(Outcome<A>),
}

/// One part of a place.
#[derive(Debug)]
pub(crate) struct Slot<P, A> {
    pub(crate) key: Key,
    pub(crate) pool: At<PoolId>,
    /// Gone once the part is settled.
    pub(crate) payload: Option<P>,
    pub(crate) state: State<A>,
    /// Hand-outs so far.
    pub(crate) attempt: u32,
    /// Hand-outs that count against the policy's attempts.
    pub(crate) charged: u32,
    /// Who was charged last.
    pub(crate) failed_by: Option<Culprit>,
}

impl<P, A> Slot<P, A> {
    pub(crate) fn is_open(&self) -> bool {
        !matches!(self.state, State::Done(_))
    }

    /// Who has it, where it is handed out.
    pub(crate) fn out(&self) -> Option<&Out> {
        match &self.state {
            State::Out(out) => Some(out),
            _ => None,
        }
    }
}

/// One place.
#[derive(Debug)]
pub(crate) struct Place<I, P, A> {
    pub(crate) item: I,
    pub(crate) captured_at: Instant,
    pub(crate) deadline: Option<Instant>,
    pub(crate) parts: Parts<Slot<P, A>>,
    /// How many of the parts came with the offer; they decide the verdict.
    pub(crate) first: PartIndex,
    /// Parts that are not settled. A place with none is settled itself: nobody is left to ask for more.
    pub(crate) open: usize,
    /// Parts that are handed out, once or twice.
    pub(crate) live: usize,
    /// No answer may ask for more.
    pub(crate) sealed: bool,
}

impl<I, P, A> Place<I, P, A> {
    pub(crate) fn is_settled(&self) -> bool {
        self.open == 0
    }

    /// Takes a part from the lane that has it by this hand-out. Returns whether it was to have a second
    /// one, and whether another lane has it still.
    pub(crate) fn take_back(&mut self, part: PartIndex, attempt: u32) -> (Second, bool) {
        let slot = &mut self.parts[usize::from(part)];
        let State::Out(out) = std::mem::replace(&mut slot.state, State::Idle) else {
            unreachable!("the part of a live ticket is handed out");
        };
        let left = out.without(attempt);
        let other = left.is_some();
        match left {
            Some(left) => slot.state = State::Out(left),
            None => self.live -= 1,
        }
        (out.second, other)
    }

    pub(crate) fn verdict(&self) -> Verdict {
        let first = &self.parts[..usize::from(self.first)];
        let missing: Option<Reason> = first.iter().find_map(|part| match part.state {
            State::Done(Outcome::Missing(reason)) => Some(reason),
            _ => None,
        });
        match missing {
            Some(reason) => Verdict::Missing(reason),
            None if first.is_empty() => Verdict::NotAsked,
            None => Verdict::Answered,
        }
    }

    /// The settled place as it leaves.
    pub(crate) fn into_taken(self, seq: crate::id::Seq) -> Taken<I, A> {
        let verdict = self.verdict();
        let outcome = |part: Slot<P, A>| match part.state {
            State::Done(outcome) => (part.key, outcome),
            _ => unreachable!("a place is taken only once no part is open"),
        };
        Taken { seq, item: self.item, captured_at: self.captured_at, verdict, parts: self.parts.map(outcome) }
    }
}
