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
    /// Bytes by which it may grow further for each place that left meanwhile.
    pub(super) growth_place: u64,
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
    /// Memory grew by so many bytes, and so many may be.
    Memory(u64, u64),
    /// Places failed, though others than the worker that fails could do them.
    Failed(u64),
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
            Broken::Memory(grown, limit) => {
                let [grown, limit] = [grown, limit].map(|bytes| *bytes as f64 / 1e6);
                write!(f, "bounded memory: it grew by {grown:.1} MB, more than {limit:.1}")
            }
            Broken::Failed(count) => {
                write!(f, "another worker: {count} places failed, though not all workers fail")
            }
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
        if outcome.has_failing && life.failed > 0 {
            broken.push(Broken::Failed(life.failed));
        }
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
    let limit = limits.growth + limits.growth_place * outcome.left_meanwhile();
    if outcome.growth > limit {
        broken.push(Broken::Memory(outcome.growth, limit));
    }
    broken
}

#[cfg(test)]
mod tests {
    use queue::{Books, Reason};

    use super::super::judge::Life;
    use super::*;
    use crate::coordinator::Said;
    use crate::tally::{End, Seen};

    const PLACES: u64 = 100;
    const LIMITS: Limits = Limits { tick: Duration::from_millis(40), growth: 1_000_000, growth_place: 1000 };

    fn place(number: u64) -> Seen {
        Seen { seq: number, number, end: End::Answered, age_us: 1000 }
    }

    fn places() -> Vec<Seen> {
        (0..PLACES).map(place).collect()
    }

    /// A flow of which this was seen, with books that agree.
    fn flow(life: &mut Life, flow: Kind, seen: Vec<Seen>) {
        let mut books = Books { admitted: PLACES, ..Books::default() };
        for seen in seen {
            match seen.end {
                End::Missing(_) => books.missing.failed += 1,
                _ => books.answered += 1,
            }
            life.note(Said::Taken { flow, seen });
        }
        life.note(Said::Closed { flow, admitted: PLACES, books: Box::new(books) });
    }

    fn outcome(lossless: Vec<Seen>, budgeted: Vec<Seen>) -> Outcome {
        let mut life = Life::default();
        flow(&mut life, Kind::Lossless, lossless);
        flow(&mut life, Kind::Budgeted, budgeted);
        Outcome { lives: vec![life], ..Outcome::default() }
    }

    fn broken_with(change: impl FnOnce(&mut Outcome)) -> Vec<Broken> {
        let mut outcome = outcome(places(), places());
        change(&mut outcome);
        broken(&outcome, LIMITS)
    }

    /// What is broken when this was seen of the lossless flow, beside books that say otherwise.
    fn broken_by(change: impl FnOnce(&mut Vec<Seen>)) -> Vec<Broken> {
        let mut seen = places();
        change(&mut seen);
        let mut broken = broken(&outcome(seen, places()), LIMITS);
        broken.retain(|it| !matches!(it, Broken::Books(_)));
        broken
    }

    #[test]
    fn nothing_is_broken_where_all_is_well() {
        assert_eq!(broken_with(|_| {}), []);
        let mut budgeted = places();
        budgeted[7].end = End::Missing(Reason::Failed);
        assert_eq!(
            broken(&outcome(places(), budgeted), LIMITS),
            [],
            "a place of it may be missing, with its reason"
        );
    }

    #[test]
    fn order_and_exactly_once() {
        assert_eq!(broken_by(|seen| seen.swap(3, 4)), [Broken::Order(Kind::Lossless, 1)]);
        assert_eq!(broken_by(|seen| seen.push(place(5))), [Broken::Twice(Kind::Lossless, 1)]);
        assert_eq!(
            broken_by(|seen| seen.retain(|it| it.number != 5)),
            [Broken::Lost(Kind::Lossless, 1, vec![5])]
        );
        assert_eq!(
            broken_by(|seen| seen.truncate(99)),
            [Broken::Lost(Kind::Lossless, 1, vec![])],
            "the last one"
        );
    }

    #[test]
    fn each_its_own_answer_and_nothing_lost() {
        assert_eq!(broken_by(|seen| seen[5].end = End::Wrong), [Broken::Wrong(Kind::Lossless, 1)]);
        assert_eq!(
            broken_by(|seen| seen[5].seq = 6),
            [Broken::Wrong(Kind::Lossless, 1)],
            "in another's place"
        );
        assert_eq!(broken_by(|seen| seen[5].end = End::Missing(Reason::Failed)), [Broken::Missing(1)]);
    }

    #[test]
    fn books_that_say_otherwise() {
        let broken = broken_with(|outcome| {
            let books = Books { admitted: 1, ..Books::default() };
            outcome.lives[0].note(Said::Books { flow: Kind::Budgeted, books: Box::new(books) });
        });
        assert!(matches!(broken[..], [Broken::Books(_)]), "{broken:?}");
        let mut seen = places();
        seen.pop();
        let broken = super::broken(&outcome(places(), seen), LIMITS);
        assert!(
            broken.iter().any(|it| matches!(it, Broken::Books(_))),
            "one that was admitted is nowhere: {broken:?}"
        );
    }

    #[test]
    fn later_than_a_budget_and_a_tick() {
        let late_by = |ms: u64| {
            let mut budgeted = places();
            budgeted[9].age_us = 1000 * (BUDGET.as_millis() as u64 + ms);
            broken(&outcome(places(), budgeted), LIMITS)
        };
        assert_eq!(late_by(40), []);
        assert_eq!(late_by(41), [Broken::Late(41.0)]);
        let mut lossless = places();
        lossless[9].age_us = 60_000_000;
        assert_eq!(broken(&outcome(lossless, places()), LIMITS), [], "what has no budget may take its time");
    }

    #[test]
    fn memory_that_grows_with_what_has_left() {
        // Both flows, half of their places.
        let limit = LIMITS.growth + PLACES * LIMITS.growth_place;
        assert_eq!(broken_with(|outcome| outcome.growth = limit), []);
        assert_eq!(broken_with(|outcome| outcome.growth = limit + 1), [Broken::Memory(limit + 1, limit)]);
    }

    #[test]
    fn what_one_worker_fails_another_does() {
        let failed = |has_failing| {
            broken_with(|outcome| {
                outcome.lives[0].failed = 1;
                outcome.has_failing = has_failing;
            })
        };
        assert_eq!(failed(true), [Broken::Failed(1)]);
        assert_eq!(failed(false), [], "who dies or panics may take it along");
    }

    #[test]
    fn a_flow_without_an_answer() {
        let mut budgeted = places();
        budgeted.iter_mut().for_each(|seen| seen.end = End::Missing(Reason::NoLane));
        let mut silent = broken(&outcome(places(), budgeted), LIMITS);
        silent.retain(|it| !matches!(it, Broken::Books(_)));
        assert_eq!(silent, [Broken::Silent(Kind::Budgeted)]);
        let silent = broken_with(|outcome| drop(outcome.lives[0].flows.remove(&Kind::Lossless)));
        assert_eq!(silent, [Broken::Silent(Kind::Lossless)], "nothing was seen of it");
    }

    #[test]
    fn an_end_that_is_none() {
        let end = |why: &str| [Broken::End(why.into())];
        let never = broken_with(|outcome| drop(outcome.lives[0].closed.remove(&Kind::Budgeted)));
        assert_eq!(never, end("the flows did not end"));
        assert_eq!(broken_with(|outcome| outcome.lives.clear()), end("the flows did not end"));
        assert_eq!(broken_with(|outcome| outcome.ended_badly = Some("signal 9".into())), end("signal 9"));
    }
}
