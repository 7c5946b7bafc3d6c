//! What came out of a flow, judged by what its taker saw and by nothing else.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Instant;

use dispatch::Done;
use queue::{Books, Missing, Reason, Verdict};
use serde::{Deserialize, Serialize};

use crate::work::{Ask, reply};

/// Gaps remembered one by one; a flow that loses more than these is broken beyond counting.
const GAPS: usize = 100_000;

/// One place as its taker saw it. Numbers are given by the source, one for each item that the flow
/// admitted, so place and number are the same or something is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// The place.
    pub seq: u64,
    /// The item's number.
    pub number: u64,
    /// Answered, or why not.
    pub end: End,
    /// Microseconds from when the item came into being to when its place was taken.
    pub age_us: u64,
}

impl Seen {
    /// Of a place that was taken now.
    pub fn of(done: &Done<Ask>) -> Seen {
        let end = match (&done.verdict, &done.answer) {
            (Verdict::Answered, Some(answer)) => {
                let right = answer.number == done.item.number && answer.body == reply(&done.item.body);
                if right { End::Answered } else { End::Wrong }
            }
            (Verdict::Missing(reason), None) => End::Missing(*reason),
            (Verdict::NotAsked, None) => End::NotAsked,
            _ => End::Wrong,
        };
        let age = Instant::now().saturating_duration_since(done.captured_at);
        let age_us = u64::try_from(age.as_micros()).unwrap_or(u64::MAX);
        Seen { seq: done.seq.get(), number: done.item.number, end, age_us }
    }
}

/// How a place ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// With the right answer.
    Answered,
    /// With an answer that belongs to another job.
    Wrong,
    /// Without being asked, which nobody wanted here.
    NotAsked,
    /// Without an answer.
    Missing(Reason),
}

/// Everything that was seen of a flow.
#[derive(Debug, Default)]
pub struct Tally {
    next: u64,
    gaps: BTreeSet<u64>,
    overflow: u64,
    /// Places taken.
    pub taken: u64,
    /// Places with their answer.
    pub answered: u64,
    /// Places without, by reason.
    pub missing: Missing,
    /// Places that left after a later one.
    pub out_of_order: u64,
    /// Places that left twice.
    pub duplicates: u64,
    /// Answers that belong to another job, and items in another place than their own.
    pub wrong: u64,
    /// The greatest age, in microseconds.
    pub oldest_us: u64,
}

impl Tally {
    /// Notes a place.
    pub fn see(&mut self, seen: &Seen) {
        self.taken += 1;
        self.oldest_us = self.oldest_us.max(seen.age_us);
        match seen.end {
            End::Answered => self.answered += 1,
            End::Wrong | End::NotAsked => self.wrong += 1,
            End::Missing(Reason::Evicted) => self.missing.evicted += 1,
            End::Missing(Reason::Late) => self.missing.late += 1,
            End::Missing(Reason::Failed) => self.missing.failed += 1,
            End::Missing(Reason::NoLane) => self.missing.no_lane += 1,
            End::Missing(Reason::Cancelled) => self.missing.cancelled += 1,
        }
        self.wrong += u64::from(seen.seq != seen.number);
        if seen.number < self.next {
            match self.gaps.remove(&seen.number) {
                true => self.out_of_order += 1,
                false => self.duplicates += 1,
            }
            return;
        }
        for gap in self.next..seen.number {
            if self.gaps.len() == GAPS {
                self.overflow += seen.number - gap;
                break;
            }
            self.gaps.insert(gap);
        }
        self.next = seen.number + 1;
    }

    /// How many of the first `admitted` numbers have not left.
    pub fn lost(&self, admitted: u64) -> u64 {
        self.gaps.len() as u64 + self.overflow + admitted.saturating_sub(self.next)
    }

    /// Some of the numbers that have not left, for people.
    pub fn lost_names(&self) -> Vec<u64> {
        self.gaps.iter().take(8).copied().collect()
    }

    /// Whether these books, read after the last place, say what was seen.
    pub fn agrees(&self, books: &Books) -> Result<(), Disagreement> {
        let seen = (self.taken, self.answered, self.missing);
        let booked = (books.admitted - books.held, books.answered, books.missing);
        if seen == booked { Ok(()) } else { Err(Disagreement(format!("{seen:?} seen, {booked:?} booked"))) }
    }
}

/// The books say something else than what was seen.
#[derive(Debug)]
pub struct Disagreement(String);

impl fmt::Display for Disagreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(numbers: &[u64]) -> Tally {
        let mut tally = Tally::default();
        for &number in numbers {
            tally.see(&Seen { seq: number, number, end: End::Answered, age_us: number });
        }
        tally
    }

    #[test]
    fn order_is_order() {
        let tally = tally(&[0, 1, 2]);
        assert_eq!((tally.out_of_order, tally.duplicates, tally.lost(3), tally.oldest_us), (0, 0, 0, 2));
        assert_eq!(tally.lost(5), 2, "what was admitted and never left is lost");
    }

    #[test]
    fn what_is_swapped_doubled_or_gone_is_told_apart() {
        let swapped = tally(&[0, 2, 1, 3]);
        assert_eq!((swapped.out_of_order, swapped.duplicates, swapped.lost(4)), (1, 0, 0));
        let doubled = tally(&[0, 1, 1, 2]);
        assert_eq!((doubled.out_of_order, doubled.duplicates, doubled.lost(3)), (0, 1, 0));
        let gone = tally(&[0, 2, 3]);
        assert_eq!((gone.out_of_order, gone.duplicates, gone.lost(4)), (0, 0, 1));
        assert_eq!(gone.lost_names(), [1]);
    }

    #[test]
    fn a_place_with_anothers_item_is_wrong() {
        let mut tally = Tally::default();
        tally.see(&Seen { seq: 0, number: 1, end: End::Answered, age_us: 0 });
        assert_eq!(tally.wrong, 1);
    }

    #[test]
    fn the_books_are_compared_reason_by_reason() {
        let mut tally = tally(&[0, 1]);
        tally.see(&Seen { seq: 2, number: 2, end: End::Missing(Reason::Late), age_us: 0 });
        let mut books = Books { admitted: 4, held: 1, answered: 2, ..Books::default() };
        books.missing.late = 1;
        assert!(tally.agrees(&books).is_ok());
        books.missing = Missing { failed: 1, ..Missing::default() };
        assert!(tally.agrees(&books).is_err());
    }
}
