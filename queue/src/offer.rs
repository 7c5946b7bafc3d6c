//! What goes into a flow and what comes out of it.

use std::fmt;
use std::time::Instant;

use crate::books::SourceCounts;
use crate::id::Seq;
use crate::key::Key;
use crate::parts::Parts;

/// One piece of work on an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part<P> {
    /// What must be done.
    pub key: Key,
    /// What a lane needs for it besides the item, such as a rectangle of the frame.
    pub payload: P,
}

/// An item on its way into a flow.
#[derive(Debug, Clone)]
pub struct Offer<I, P> {
    /// The item; it stays in its place until the place is taken.
    pub item: I,
    /// Its first parts. None: the place is *not asked*, and only keeps the order.
    pub parts: Parts<Part<P>>,
    /// No answer may ask for more parts. A place without parts is sealed in any case.
    pub sealed: bool,
    /// When the item came into being; budgets count from here.
    pub captured_at: Instant,
    /// The source's counters at this item, adopted when it is admitted.
    pub source: SourceCounts,
}

/// Why an offer was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum RefusedWhy {
    /// The flow is at a bound of its policy; `Room` comes after the next `take`.
    #[error("the flow is full; it has room after the next take")]
    Full,
    /// The flow was closed or aborted.
    #[error("the flow is closed")]
    Closed,
    /// There is no such flow, or it was forgotten.
    #[error("there is no such flow")]
    NoSuchFlow,
    /// It has more parts than `Config::parts` allows in one place.
    #[error("the offer has more parts than a place may have")]
    TooManyParts,
}

/// A refused offer, handed back uncounted.
pub struct Refused<I, P> {
    /// The offer, untouched.
    pub offer: Offer<I, P>,
    /// Why it was refused.
    pub why: RefusedWhy,
}

impl<I, P> fmt::Debug for Refused<I, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refused").field("why", &self.why).finish_non_exhaustive()
    }
}

impl<I, P> fmt::Display for Refused<I, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.why.fmt(f)
    }
}

impl<I, P> std::error::Error for Refused<I, P> {}

/// What became of a batch of offers.
#[derive(Debug)]
pub struct Batch<I, P> {
    /// How many were admitted, in order, from the front.
    pub admitted: usize,
    /// The rest, handed back uncounted and in order; the first of them is the one that was refused.
    pub rest: Vec<Offer<I, P>>,
    /// Why the first of the rest was refused; `None` when all were admitted.
    pub why: Option<RefusedWhy>,
}

/// Why something has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum Reason {
    /// It gave way at a bound: the flow's `pending`, or `Config::parts`.
    Evicted,
    /// Its deadline passed, or so little was left of its budget that no lane would have made it.
    Late,
    /// It failed as often as the policy allows, or is bad in itself.
    Failed,
    /// No lane served its key.
    NoLane,
    /// The place was cancelled or the flow aborted, or the part was asked for in a place that was sealed.
    Cancelled,
}

/// How one part ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome<A> {
    /// With its answer.
    Answer(A),
    /// Without one, for this reason.
    Missing(Reason),
}

impl<A> Outcome<A> {
    /// The answer, where there is one.
    pub fn answer(self) -> Option<A> {
        match self {
            Self::Answer(answer) => Some(answer),
            Self::Missing(_) => None,
        }
    }
}

/// How a place ended. First parts decide; later ones are named in [`Taken::parts`] only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Every first part was answered.
    Answered,
    /// There was no first part.
    NotAsked,
    /// A first part is missing, the lowest of them for this reason.
    Missing(Reason),
}

/// A settled place, taken out in order.
#[derive(Debug)]
pub struct Taken<I, A> {
    /// Its number.
    pub seq: Seq,
    /// The item that was offered.
    pub item: I,
    /// When the item came into being, as offered.
    pub captured_at: Instant,
    /// How the place ended.
    pub verdict: Verdict,
    /// How each part ended, in the order of part indices.
    pub parts: Parts<(Key, Outcome<A>)>,
}
