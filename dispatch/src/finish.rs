//! From a settled place to whatever its user makes of it, in order.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Instant;

use queue::{Seq, Verdict};
use wire::Timings;

use crate::prepare::{AnswerOf, Asked, Prepare};

/// A place that left the queue.
pub struct Done<P: Prepare> {
    /// Its number in the flow: rising by one from place to place, without gaps.
    pub seq: Seq,
    /// What was offered.
    pub item: Held<P>,
    /// When the item came into being; its budget counted from here.
    pub captured_at: Instant,
    /// Answered, not asked, or missing and why.
    pub verdict: Verdict,
    /// The answer, there if and only if the verdict is `Answered`.
    pub answer: Option<AnswerOf<P>>,
    /// What the worker reported of the time it took; zero where it reported nothing.
    pub timings: Timings,
}

/// An item as the queue held it. Cloning is a reference count. A lane that has not let go of it yet may still look at
/// it, so it comes by value only where it can be cloned. As long as it is kept, so is the flow's [`Prepare`].
pub struct Held<P: Prepare>(pub(crate) Arc<Asked<P>>);

impl<P: Prepare> Held<P> {
    /// The item itself, or a clone of it while others still have it.
    #[must_use]
    pub fn unwrap_or_clone(self) -> P::Item
    where
        P::Item: Clone,
    {
        Arc::try_unwrap(self.0).map_or_else(|shared| shared.item.clone(), |asked| asked.item)
    }
}

impl<P: Prepare> Deref for Held<P> {
    type Target = P::Item;

    fn deref(&self) -> &P::Item {
        &self.0.item
    }
}

impl<P: Prepare> Clone for Held<P> {
    fn clone(&self) -> Self {
        Held(Arc::clone(&self.0))
    }
}

impl<P: Prepare<Item: fmt::Debug>> fmt::Debug for Held<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.item.fmt(f)
    }
}

/// Takes what leaves a flow: once per place, in order, for missing ones too.
///
/// State over places (a tracker, a counter) lives here, since this is the one spot that sees the
/// whole flow in order.
pub trait Finish: Send {
    /// The other end of the flow.
    type Prepare: Prepare;

    /// Takes one place. The flow waits for it: a slow finish is felt as back-pressure.
    fn finish(&mut self, done: Done<Self::Prepare>) -> impl Future<Output = ()> + Send;
}
