//! When to look for hand-outs that may be out for ever, and what to say of them.
//!
//! A worker that is heard and never answers holds what it has, unless a budget or `answer_within` ends that. Where
//! neither does, a person must be told, or a flow that stands still says nothing at all.

use std::time::{Duration, Instant};

use queue::{LaneId, Overlong};

/// Nothing is told before so long, however quick its key is: workers load models, and machines are busy.
pub(crate) const LEAST: Duration = Duration::from_secs(5);
/// Nor before it has been out for so many times as long as its key takes.
pub(crate) const TIMES: u32 = 50;
/// How often is looked, since that looks at all that is out: so there is no more than one line in this time.
const EVERY: Duration = Duration::from_secs(2);

/// The next look. There is none while nothing is out that may be told.
#[derive(Debug, Default)]
pub(crate) struct Watch(Option<Instant>);

impl Watch {
    /// Something is handed out.
    pub(crate) fn begin(&mut self, now: Instant) {
        if self.0.is_none() {
            self.0 = Some(now + EVERY);
        }
    }

    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.0.is_some_and(|at| at <= now)
    }

    /// A look is over: whether there was something that may be told later.
    pub(crate) fn looked(&mut self, more: bool, now: Instant) {
        self.0 = more.then(|| now + EVERY);
    }

    /// The earlier of the next look and this.
    pub(crate) fn earlier(&self, due: Option<Instant>) -> Option<Instant> {
        self.0.into_iter().chain(due).min()
    }
}

/// One line, whatever their number, about the one that is out for longest.
pub(crate) fn tell<'a>(told: &[Overlong], name: impl Fn(LaneId) -> &'a str) {
    let Some(worst) = told.iter().max_by_key(|overlong| overlong.out_for) else { return };
    let Overlong { lane, worker, key, ticket, out_for } = worst;
    tracing::warn!(
        hand_outs = told.len(), %worker, name = name(*lane), %key, ?ticket, out_for_s = out_for.as_secs_f64(),
        "a worker is heard and does not answer, and nothing will take its work from it: answer_within_ms \
         gives it to another one"
    );
}
