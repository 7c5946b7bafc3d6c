//! The ledger of a flow: one consistent snapshot of what became of everything.

use crate::offer::Reason;

/// The cumulative counters of whatever feeds a flow, at one moment.
///
/// A source that does not count leaves all of them at 0; its side of the books is then not checked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct SourceCounts {
    /// Everything that came out of the source.
    pub decoded: u64,
    /// Of these, waiting in the source to be offered.
    pub waiting: u64,
    /// Of these, given up by the source before an offer.
    pub skipped: u64,
    /// Of these, refused by the flow and then given up.
    pub refused: u64,
}

/// Missing places or parts by reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Missing {
    /// [`Reason::Evicted`].
    pub evicted: u64,
    /// [`Reason::Late`].
    pub late: u64,
    /// [`Reason::Failed`].
    pub failed: u64,
    /// [`Reason::NoLane`].
    pub no_lane: u64,
    /// [`Reason::Cancelled`].
    pub cancelled: u64,
}

impl Missing {
    /// All reasons together.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.evicted + self.late + self.failed + self.no_lane + self.cancelled
    }

    pub(crate) fn add(&mut self, reason: Reason, count: u64) {
        *match reason {
            Reason::Evicted => &mut self.evicted,
            Reason::Late => &mut self.late,
            Reason::Failed => &mut self.failed,
            Reason::NoLane => &mut self.no_lane,
            Reason::Cancelled => &mut self.cancelled,
        } += count;
    }
}

/// The books of a flow's parts; a part counts from the moment it is asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct PartBooks {
    /// Parts asked for, in offers and by answers.
    pub asked: u64,
    /// Settled with an answer.
    pub answered: u64,
    /// Settled without one.
    pub missing: Missing,
    /// Not settled yet.
    pub open: u64,
    /// Second hand-outs beside a live one; no outcome of its own comes of them.
    pub hedged: u64,
    /// Of these, the ones that answered first: never more than `hedged`.
    pub hedges_won: u64,
    /// Second hand-outs because the lane that had the part was suspected; no outcome of its own comes of
    /// them either.
    pub rescued: u64,
    /// Hand-outs that were taken back because no answer came in time; each was a failure of its lane.
    pub unanswered: u64,
}

/// The books of a flow. A place counts as held until it is taken, then as what it was taken as.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Books {
    /// The source's counters, as of the last admitted item or the last `source` call.
    pub source: SourceCounts,
    /// Places given a number.
    pub admitted: u64,
    /// Taken with every first part answered.
    pub answered: u64,
    /// Taken without a first part.
    pub not_asked: u64,
    /// Taken with a first part missing, or discarded by `abort` (as cancelled).
    pub missing: Missing,
    /// Not taken yet.
    pub held: u64,
    /// Of the held ones, not settled yet.
    pub pending: u64,
    /// The books of the parts.
    pub parts: PartBooks,
}

/// Books that do not balance, with the side that is off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unbalanced {
    /// `decoded = waiting + skipped + refused + admitted` does not hold.
    #[error("decoded {decoded} is not waiting + skipped + refused + admitted = {sum}")]
    Source {
        /// The left side.
        decoded: u64,
        /// The right side.
        sum: u64,
    },
    /// `admitted = answered + not asked + missing + held` does not hold.
    #[error("admitted {admitted} is not answered + not asked + missing + held = {sum}")]
    Places {
        /// The left side.
        admitted: u64,
        /// The right side.
        sum: u64,
    },
    /// `asked = answered + missing + open` does not hold for the parts.
    #[error("asked parts {asked} are not answered + missing + open = {sum}")]
    Parts {
        /// The left side.
        asked: u64,
        /// The right side.
        sum: u64,
    },
    /// More second hand-outs answered first than there were.
    #[error("{won} hedges won and only {hedged} were made")]
    Hedges {
        /// Those that answered first.
        won: u64,
        /// All of them.
        hedged: u64,
    },
    /// More places are pending than are held.
    #[error("{pending} places are pending and only {held} are held")]
    Pending {
        /// Unsettled places.
        pending: u64,
        /// Untaken places.
        held: u64,
    },
}

impl Books {
    /// Checks every equation of the ledger.
    ///
    /// # Errors
    /// Names the first equation that does not hold, with both sides.
    pub fn balances(&self) -> Result<(), Unbalanced> {
        let source = &self.source;
        if *source != SourceCounts::default() {
            let sum = source.waiting + source.skipped + source.refused + self.admitted;
            if source.decoded != sum {
                let decoded = source.decoded;
                return Err(Unbalanced::Source { decoded, sum });
            }
        }
        let sum = self.answered + self.not_asked + self.missing.total() + self.held;
        if self.admitted != sum {
            let admitted = self.admitted;
            return Err(Unbalanced::Places { admitted, sum });
        }
        let parts = &self.parts;
        let sum = parts.answered + parts.missing.total() + parts.open;
        if parts.asked != sum {
            let asked = parts.asked;
            return Err(Unbalanced::Parts { asked, sum });
        }
        if parts.hedges_won > parts.hedged {
            let (won, hedged) = (parts.hedges_won, parts.hedged);
            return Err(Unbalanced::Hedges { won, hedged });
        }
        if self.pending > self.held {
            let (pending, held) = (self.pending, self.held);
            return Err(Unbalanced::Pending { pending, held });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_side_that_is_off_is_named() {
        let mut books = Books { admitted: 3, answered: 1, held: 2, ..Books::default() };
        assert_eq!(books.balances(), Ok(()));
        books.source.decoded = 4;
        assert!(matches!(books.balances(), Err(Unbalanced::Source { decoded: 4, sum: 3 })));
        books.source.waiting = 1;
        assert_eq!(books.balances(), Ok(()));
        books.parts.asked = 1;
        assert!(matches!(books.balances(), Err(Unbalanced::Parts { .. })));
        books.parts.open = 1;
        books.parts.hedges_won = 1;
        assert!(matches!(books.balances(), Err(Unbalanced::Hedges { won: 1, hedged: 0 })));
        books.parts.hedged = 1;
        books.pending = 3;
        assert!(matches!(books.balances(), Err(Unbalanced::Pending { .. })));
        books.missing.late = 1;
        assert!(matches!(books.balances(), Err(Unbalanced::Places { .. })));
    }
}
