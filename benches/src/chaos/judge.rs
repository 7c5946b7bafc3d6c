//! Hears what a coordinator tells, and keeps what counts.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::str::FromStr;

use queue::{Books, LaneId, Reason};
use tokio::io::{BufReader, Lines};
use tokio::process::ChildStdout;
use tokio::sync::watch;

use super::flock::identity_of;
use super::recovery::{Again, HandOut};
use crate::clock;
use crate::coordinator::{Kind, Said};
use crate::tally::{End, Seen, Tally};

/// A promise that is broken between the outlet and the judge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Break {
    /// A place vanishes.
    Drop,
    /// Two change places.
    Swap,
    /// A place comes twice.
    Duplicate,
    /// An answer is another's.
    Wrong,
    /// A place of the lossless flow has no answer.
    Missing,
    /// A place comes long after its budget.
    Late,
    /// The books do not balance.
    Unbalanced,
    /// The coordinator keeps what has left.
    Leak,
}

impl Break {
    /// All of them, as they are written.
    const ALL: [(&str, Break); 8] = [
        ("drop", Break::Drop),
        ("swap", Break::Swap),
        ("duplicate", Break::Duplicate),
        ("wrong", Break::Wrong),
        ("missing", Break::Missing),
        ("late", Break::Late),
        ("unbalanced", Break::Unbalanced),
        ("leak", Break::Leak),
    ];
}

impl FromStr for Break {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Break::ALL.into_iter().find(|(name, _)| *name == text);
        found
            .map(|(_, found)| found)
            .ok_or_else(|| format!("`{text}`: write one of {}", Break::ALL.map(|(name, _)| name).join(", ")))
    }
}

/// Which place is hit.
const BROKEN_AT: u64 = 50;
/// By how much one is late: more than any limit.
const LATE_BY_US: u64 = 60_000_000;

/// One run of a coordinator, from start to end.
#[derive(Debug, Default)]
pub(super) struct Life {
    /// What the takers saw.
    pub(super) flows: BTreeMap<Kind, Tally>,
    /// The end of each flow: what its source says was admitted, and the last books. A coordinator that
    /// was killed tells of none.
    pub(super) closed: BTreeMap<Kind, (u64, Box<Books>)>,
    /// Books that do not balance, some of them.
    pub(super) unbalanced: Vec<String>,
    /// Hand-outs of items that had been handed out before.
    pub(super) again: Vec<Again>,
    /// What the workers called themselves, by their connections.
    pub(super) names: HashMap<LaneId, String>,
    /// Microseconds from the source to the taker of answered items, the first ones.
    pub(super) ages_us: BTreeMap<Kind, Vec<u64>>,
    /// When the first answer came.
    pub(super) first_answer_us: Option<u64>,
    /// Places that failed, though all workers were there when they were handed out first.
    pub(super) failed: u64,
    /// How many workers there are to be.
    workers: usize,
    all_there: bool,
    /// The first of each flow that was handed out when all of them were there.
    since: HashMap<Kind, u64>,
    out: HashMap<(Kind, u64), HandOut>,
    sabotage: Option<Break>,
    kept: Option<Seen>,
}

/// More of the same says nothing more.
const COMPLAINTS: usize = 16;
/// Hand-outs remembered one by one.
const AGAIN: usize = 1 << 20;
/// Ages remembered one by one.
const AGES: usize = 1 << 20;

impl Life {
    /// Hears a coordinator out, and tells how many workers have come to it so far.
    pub(super) async fn hear(
        mut lines: Lines<BufReader<ChildStdout>>,
        workers_seen: watch::Sender<usize>,
        workers: usize,
        sabotage: Option<Break>,
    ) -> Life {
        let mut life = Life { workers, sabotage, ..Life::default() };
        while let Ok(Some(line)) = lines.next_line().await {
            // The last line of one that was killed may be half a line.
            if let Ok(said) = serde_json::from_str(&line) {
                let lanes_too = matches!(said, Said::Lanes(_));
                life.note(said);
                if lanes_too {
                    workers_seen.send_replace(
                        life.names.values().map(|name| identity_of(name)).collect::<HashSet<_>>().len(),
                    );
                }
            }
        }
        life
    }

    pub(super) fn note(&mut self, said: Said) {
        match said {
            Said::Ready { .. } => {}
            Said::Lanes(lanes) => {
                self.all_there |= lanes.len() >= self.workers;
                self.names.extend(lanes.into_iter().map(|it| (it.lane, it.name)));
            }
            Said::HandedOut { flow, number, lane, at_us } => {
                let now = HandOut { lane, at_us };
                let before = self.out.insert((flow, number), now);
                if before.is_none() && self.all_there {
                    self.since.entry(flow).or_insert(number);
                }
                if let Some(before) = before.filter(|_| self.again.len() < AGAIN) {
                    self.again.push(Again { before, now });
                }
            }
            Said::Taken { flow, seen } => {
                self.out.remove(&(flow, seen.number));
                let all_were_there = self.since.get(&flow).is_some_and(|since| seen.number >= *since);
                self.failed += u64::from(all_were_there && seen.end == End::Missing(Reason::Failed));
                if self.first_answer_us.is_none() && seen.end == End::Answered {
                    self.first_answer_us = Some(clock::micros());
                }
                let ages = self.ages_us.entry(flow).or_default();
                if seen.end == End::Answered && ages.len() < AGES {
                    ages.push(seen.age_us);
                }
                for seen in self.sabotaged(flow, seen).into_iter().flatten() {
                    self.flows.entry(flow).or_default().see(&seen);
                }
            }
            Said::Books { flow, mut books } => {
                if self.sabotage.take_if(|it| *it == Break::Unbalanced).is_some() {
                    books.admitted += 1;
                }
                self.balance(flow, &books);
            }
            Said::Closed { flow, admitted, books } => {
                self.balance(flow, &books);
                let tally = self.flows.entry(flow).or_default();
                if let Err(wrong) = tally.agrees(&books) {
                    self.complain(format!("{flow:?}: {wrong}"));
                }
                if admitted != books.admitted {
                    let booked = books.admitted;
                    self.complain(format!("{flow:?}: {admitted} offered with success, {booked} booked"));
                }
                self.closed.insert(flow, (admitted, books));
            }
        }
    }

    fn balance(&mut self, flow: Kind, books: &Books) {
        if let Err(wrong) = books.balances() {
            self.complain(format!("{flow:?}: {wrong}"));
        }
    }

    fn complain(&mut self, complaint: String) {
        if self.unbalanced.len() < COMPLAINTS {
            self.unbalanced.push(complaint);
        }
    }

    fn sabotaged(&mut self, flow: Kind, mut seen: Seen) -> [Option<Seen>; 2] {
        if let Some(kept) = self.kept.take_if(|_| flow == Kind::Lossless) {
            return [Some(seen), Some(kept)];
        }
        // What may be late has a budget, and what has none may lose nothing.
        let kind = if self.sabotage == Some(Break::Late) { Kind::Budgeted } else { Kind::Lossless };
        let hit = flow == kind && seen.number == BROKEN_AT;
        match self.sabotage.filter(|_| hit) {
            // Of these two the one is broken in the books, the other in the coordinator.
            None | Some(Break::Unbalanced | Break::Leak) => [Some(seen), None],
            Some(Break::Wrong) => {
                seen.end = End::Wrong;
                [Some(seen), None]
            }
            Some(Break::Missing) => {
                seen.end = End::Missing(Reason::Failed);
                [Some(seen), None]
            }
            Some(Break::Late) => {
                seen.age_us += LATE_BY_US;
                [Some(seen), None]
            }
            Some(Break::Drop) => [None, None],
            Some(Break::Duplicate) => [Some(seen.clone()), Some(seen)],
            Some(Break::Swap) => {
                self.kept = Some(seen);
                [None, None]
            }
        }
    }

    /// Places of a flow that never left. Of a coordinator that was killed, those that are missing between
    /// others: what it still held died with it.
    pub(super) fn lost(&self, flow: Kind) -> u64 {
        let admitted = self.closed.get(&flow).map_or(0, |(admitted, _)| *admitted);
        self.flows.get(&flow).map_or(admitted, |tally| tally.lost(admitted))
    }

    /// The greatest age of a place of this flow.
    pub(super) fn oldest_us(&self, flow: Kind) -> u64 {
        self.flows.get(&flow).map_or(0, |tally| tally.oldest_us)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(sabotage: Option<Break>) -> Life {
        let mut life = Life { sabotage, ..Life::default() };
        for flow in [Kind::Lossless, Kind::Budgeted] {
            let mut books = Books::default();
            for number in 0..100 {
                life.note(Said::HandedOut { flow, number, lane: LaneId(0), at_us: number });
                let seen = Seen { seq: number, number, end: End::Answered, age_us: 1 };
                life.note(Said::Taken { flow, seen });
                books.admitted += 1;
                books.answered += 1;
                life.note(Said::Books { flow, books: Box::new(books) });
            }
            life.note(Said::Closed { flow, admitted: 100, books: Box::new(books) });
        }
        life
    }

    fn judged(sabotage: Option<Break>) -> (u64, u64, u64, bool) {
        let life = heard(sabotage);
        let tally = &life.flows[&Kind::Lossless];
        (tally.out_of_order, tally.duplicates, life.lost(Kind::Lossless), life.unbalanced.is_empty())
    }

    #[test]
    fn each_kind_of_break_is_told_from_the_others() {
        assert_eq!(judged(None), (0, 0, 0, true));
        assert_eq!(judged(Some(Break::Drop)), (0, 0, 1, false));
        assert_eq!(judged(Some(Break::Swap)), (1, 0, 0, true));
        assert_eq!(judged(Some(Break::Duplicate)), (0, 1, 0, false));
        assert_eq!(judged(Some(Break::Unbalanced)), (0, 0, 0, false));
        for (sabotage, wrong, missing, oldest_us) in [
            (Break::Wrong, 1, 0, 1),
            (Break::Missing, 0, 1, 1),
            (Break::Late, 0, 0, 1 + LATE_BY_US),
            (Break::Leak, 0, 0, 1),
        ] {
            let life = heard(Some(sabotage));
            let tally = &life.flows[&Kind::Lossless];
            let seen = (tally.wrong, tally.missing.total(), life.oldest_us(Kind::Budgeted));
            assert_eq!(seen, (wrong, missing, oldest_us), "{sabotage:?}");
        }
    }

    #[test]
    fn what_failed_before_all_workers_were_there_is_not_counted() {
        let mut life = Life { workers: 2, ..Life::default() };
        let lanes = |count| {
            let lane = |number| crate::coordinator::Lane { lane: LaneId(number), name: "w".into() };
            Said::Lanes((0..count).map(lane).collect())
        };
        let handed_out =
            |number| Said::HandedOut { flow: Kind::Budgeted, number, lane: LaneId(0), at_us: number };
        let failed = |number| {
            let end = End::Missing(Reason::Failed);
            Said::Taken { flow: Kind::Budgeted, seen: Seen { seq: number, number, end, age_us: 1 } }
        };
        // The second of them goes out again when all are there, and what it failed before counts against it still.
        for said in [lanes(1), handed_out(0), failed(0), handed_out(1), lanes(2), handed_out(1), failed(1)] {
            life.note(said);
        }
        assert_eq!(life.failed, 0);
        for said in [handed_out(2), lanes(1), failed(2)] {
            life.note(said);
        }
        assert_eq!(life.failed, 1);
    }

    #[test]
    fn a_break_is_found_by_its_name() {
        for (name, found) in Break::ALL {
            assert_eq!(name.parse(), Ok(found));
        }
        assert!("bend".parse::<Break>().unwrap_err().contains("swap, duplicate"));
    }

    #[test]
    fn each_hand_out_is_noted_with_the_one_before() {
        let mut life = Life::default();
        let hand_outs = [(1, 5), (2, 9), (1, 12)].map(|(lane, at_us)| HandOut { lane: LaneId(lane), at_us });
        for HandOut { lane, at_us } in hand_outs {
            life.note(Said::HandedOut { flow: Kind::Budgeted, number: 3, lane, at_us });
        }
        let [first, second, third] = hand_outs;
        assert_eq!(life.again, [Again { before: first, now: second }, Again { before: second, now: third }]);
    }
}
