//! What second hand-outs beside slow ones do to the time that items take.

use std::collections::BTreeMap;
use std::fmt;

use super::judge::Life;
use crate::coordinator::Kind;
use crate::report::{Report, percentile};

/// Times of both flows, and how many of their items went to two workers.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Hedging {
    /// Milliseconds from the source to the taker, of answered items.
    ms: BTreeMap<Kind, Vec<f64>>,
    /// Second hand-outs, and those of them that answered first.
    hedged: u64,
    won: u64,
}

impl Hedging {
    /// Of the coordinators of a scenario. One that was killed tells of no second hand-outs.
    pub(super) fn of(lives: &[Life]) -> Hedging {
        let mut hedging = Hedging::default();
        for life in lives {
            for (kind, ages) in &life.ages_us {
                hedging.ms.entry(*kind).or_default().extend(ages.iter().map(|us| *us as f64 / 1e3));
            }
            for (_, books) in life.closed.values() {
                hedging.hedged += books.parts.hedged;
                hedging.won += books.parts.hedges_won;
            }
        }
        hedging
    }

    /// Together with those of another scenario.
    pub(super) fn add(&mut self, other: Hedging) {
        for (kind, ms) in other.ms {
            self.ms.entry(kind).or_default().extend(ms);
        }
        self.hedged += other.hedged;
        self.won += other.won;
    }

    /// Sets its figures, where there are any.
    pub(super) fn report(&self, report: &mut Report) {
        if self.ms.is_empty() {
            return;
        }
        for (kind, ms) in &self.ms {
            let name = format!("{kind:?}").to_lowercase();
            for (figure, percent) in FIGURES {
                report.set(format!("{name}_{figure}_ms"), percentile(ms, percent));
            }
        }
        report.set("hedged", self.hedged as f64);
        report.set("hedges_won", self.won as f64);
    }
}

const FIGURES: [(&str, f64); 3] = [("p50", 50.0), ("p90", 90.0), ("p99", 99.0)];

impl fmt::Display for Hedging {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (kind, ms) in &self.ms {
            write!(f, "{kind:?} items take")?;
            for (figure, percent) in FIGURES {
                write!(f, " {figure} {:.1}", percentile(ms, percent))?;
            }
            write!(f, " ms; ")?;
        }
        write!(f, "{} went to a second worker, which was first with {}", self.hedged, self.won)
    }
}

#[cfg(test)]
mod tests {
    use queue::Books;

    use super::*;

    #[test]
    fn times_and_second_hand_outs_of_all_coordinators_come_together() {
        let life = |ages: &[u64], hedged, hedges_won| {
            let mut life = Life::default();
            life.ages_us.insert(Kind::Lossless, ages.to_vec());
            let mut books = Books::default();
            (books.parts.hedged, books.parts.hedges_won) = (hedged, hedges_won);
            life.closed.insert(Kind::Lossless, (0, Box::new(books)));
            life
        };
        let both = Hedging::of(&[life(&[1000, 2000], 3, 2), life(&[9000], 1, 0)]);
        let said = "Lossless items take p50 2.0 p90 9.0 p99 9.0 ms; 4 went to a second worker, which was first with 2";
        assert_eq!(both.to_string(), said);
        let mut sum = Hedging::of(&[life(&[1000, 2000], 3, 2)]);
        sum.add(Hedging::of(&[life(&[9000], 1, 0)]));
        assert_eq!(sum, both);
    }
}
