//! From a settled place to whatever its user makes of it, in order.

use std::sync::Arc;
use std::time::Instant;

use queue::{Seq, Verdict};
use wire::Timings;

use crate::prepare::{AnswerOf, Prepare};

/// A place that left the queue.
pub struct Done<P: Prepare> {
    /// Its number in the flow: rising by one from place to place, without gaps.
    pub seq: Seq,
    /// What was offered.
    pub item: Arc<P::Item>,
    /// When the item came into being; its budget counted from here.
    pub captured_at: Instant,
    /// Answered, not asked, or missing and why.
    pub verdict: Verdict,
    /// The answer, there if and only if the verdict is `Answered`.
    pub answer: Option<AnswerOf<P>>,
    /// What the worker reported of the time it took; zero where it reported nothing.
    pub timings: Timings,
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
