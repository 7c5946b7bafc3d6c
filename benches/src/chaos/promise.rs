//! What was promised, and what of it was broken.

use std::fmt;
use std::time::Duration;

use super::stage::{BUDGET, Outcome};
use crate::coordinator::Kind;

/// How far is too far.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Beyond its budget.
    pub(super) tick: Duration,
    /// Bytes by which memory may grow.
    pub(super) growth: u64,
}

/// A promise that did not hold.
#[derive(Debug, PartialEq)]
pub(super) enum Broken {
    /// Places left out of order.
    Order(Kind, u64),
    /// Places left twice.
    Twice(Kind, u64),
    /// Places never left; some of their numbers.
    Lost(Kind, u64, Vec<u64>),
    /// The lossless flow has places without an answer.
    Missing(u64),
    /// Answers that belong to other jobs.
    Wrong(Kind, u64),
    /// The books do not balance, or say something else than what was seen.
    Books(String),
    /// A place left later than its budget and a tick.
    Late(f64),
    /// Memory grew.
    Memory(u64),
    /// A flow gave no answer at all.
    Silent(Kind),
    /// The coordinator did not end its flows, or not as it should.
    End(String),
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Broken::Order(kind, count) => {
                write!(f, "order ({kind:?}): {count} places left after a later one")
            }
            Broken::Twice(kind, count) => write!(f, "exactly once ({kind:?}): {count} places left twice"),
            Broken::Lost(kind, count, names) => {
                write!(f, "exactly once ({kind:?}): {count} places never left, such as {names:?}")
            }
            Broken::Missing(count) => {
                write!(f, "nothing lost: {count} places of the lossless flow without an answer")
            }
            Broken::Wrong(kind, count) => {
                write!(f, "its own answer ({kind:?}): {count} answers of other jobs")
            }
            Broken::Books(why) => write!(f, "the books: {why}"),
            Broken::Late(ms) => write!(f, "in time: a place left {ms:.1} ms after its budget"),
            Broken::Memory(bytes) => write!(f, "bounded memory: it grew by {:.1} MB", *bytes as f64 / 1e6),
            Broken::Silent(kind) => write!(f, "flow ({kind:?}): not a single answer"),
            Broken::End(why) => write!(f, "a clean end: {why}"),
        }
    }
}

/// All that was broken.
pub(super) fn broken(outcome: &Outcome, limits: Limits) -> Vec<Broken> {
    let mut broken = Vec::new();
    for life in &outcome.lives {
        for kind in [Kind::Lossless, Kind::Budgeted] {
            let Some(tally) = life.flows.get(&kind) else {
                broken.push(Broken::Silent(kind));
                continue;
            };
            if tally.out_of_order > 0 {
                broken.push(Broken::Order(kind, tally.out_of_order));
            }
            if tally.duplicates > 0 {
                broken.push(Broken::Twice(kind, tally.duplicates));
            }
            if tally.wrong > 0 {
                broken.push(Broken::Wrong(kind, tally.wrong));
            }
            if life.lost(kind) > 0 {
                broken.push(Broken::Lost(kind, life.lost(kind), tally.lost_names()));
            }
            if kind == Kind::Lossless && tally.missing.total() > 0 {
                broken.push(Broken::Missing(tally.missing.total()));
            }
            if tally.answered == 0 {
                broken.push(Broken::Silent(kind));
            }
        }
        broken.extend(life.unbalanced.iter().cloned().map(Broken::Books));
        let limit = BUDGET + limits.tick;
        let oldest = Duration::from_micros(life.oldest_us(Kind::Budgeted));
        if oldest > limit {
            broken.push(Broken::Late((oldest - BUDGET).as_secs_f64() * 1e3));
        }
    }
    match outcome.lives.last() {
        Some(life) if life.closed.len() == 2 => {}
        _ => broken.push(Broken::End("the flows did not end".into())),
    }
    if let Some(why) = &outcome.ended_badly {
        broken.push(Broken::End(why.clone()));
    }
    if outcome.growth > limits.growth {
        broken.push(Broken::Memory(outcome.growth));
    }
    broken
}
