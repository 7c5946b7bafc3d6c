//! A flow: its policy, its places in order, its lines, and its books.

use std::collections::VecDeque;
use std::time::Instant;

use crate::books::{Books, Missing, PartBooks, SourceCounts};
use crate::id::{FlowId, Seq};
use crate::line::Line;
use crate::place::Place;
use crate::policy::Policy;
use crate::pool::PoolId;
use crate::slots::At;

/// How far a flow is on its way to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// It takes offers.
    Open,
    /// It takes no more offers and lets go of what it has.
    Closing,
    /// Nothing is left in it, and `Closed` waits to be polled.
    Ended,
    /// `Closed` was handed out; only the books are left.
    Closed,
}

/// How `Ready` stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bell {
    /// The next settled head rings it.
    Armed,
    /// It rang, and `poll` has not told yet.
    Rung,
    /// `poll` has told; armed again once `take` gives nothing.
    Told,
}

/// One flow.
pub(crate) struct Flow<I, P, A> {
    pub(crate) id: FlowId,
    pub(crate) policy: Policy,
    pub(crate) phase: Phase,
    pub(crate) bell: Bell,
    /// Failed offers since the last take: `Room` is due for each of them after the next.
    pub(crate) failed_offers: u64,
    /// `Room` steps that are due now.
    pub(crate) rooms: u64,
    /// The number of the front of `places`.
    pub(crate) front: Seq,
    pub(crate) places: VecDeque<Place<I, P, A>>,
    pub(crate) pending: usize,
    /// The moment of the flow's entry in the table of what is due: no later than its next deadline.
    pub(crate) due: Option<Instant>,
    /// Which of the entries it ever had counts.
    entry: u64,
    /// Deadlines in `places` never fall, as is usual, so the first of an unsettled place is the next.
    rising: bool,
    pub(crate) lines: Vec<Line>,
    /// What hand-outs have earned towards hedges, in thousandths of one.
    pub(crate) hedges: u32,
    pub(crate) source: SourceCounts,
    pub(crate) answered: u64,
    pub(crate) not_asked: u64,
    pub(crate) missing: Missing,
    pub(crate) parts: PartBooks,
}

impl<I, P, A> Flow<I, P, A> {
    pub(crate) fn new(id: FlowId, policy: Policy) -> Self {
        Self {
            id,
            policy,
            phase: Phase::Open,
            bell: Bell::Armed,
            failed_offers: 0,
            rooms: 0,
            front: Seq(0),
            places: VecDeque::new(),
            pending: 0,
            due: None,
            entry: 0,
            rising: true,
            lines: Vec::new(),
            hedges: 0,
            source: SourceCounts::default(),
            answered: 0,
            not_asked: 0,
            missing: Missing::default(),
            parts: PartBooks::default(),
        }
    }

    /// The number that the next admitted item gets.
    pub(crate) fn next_seq(&self) -> Seq {
        Seq(self.front.0 + self.places.len() as u64)
    }

    fn index(&self, seq: Seq) -> Option<usize> {
        usize::try_from(seq.0.checked_sub(self.front.0)?).ok()
    }

    pub(crate) fn place(&self, seq: Seq) -> Option<&Place<I, P, A>> {
        self.places.get(self.index(seq)?)
    }

    pub(crate) fn place_mut(&mut self, seq: Seq) -> Option<&mut Place<I, P, A>> {
        let index = self.index(seq)?;
        self.places.get_mut(index)
    }

    /// Adds a place behind all others.
    pub(crate) fn push(&mut self, place: Place<I, P, A>) {
        let last = self.places.back();
        self.rising = last.is_none_or(|last| self.rising && last.deadline <= place.deadline);
        self.places.push_back(place);
    }

    /// The earliest deadline of an unsettled place, and the first place that has it.
    pub(crate) fn next_deadline(&self) -> Option<(Instant, Seq)> {
        let numbered = self.places.iter().zip(self.front.0..);
        let mut deadlines = numbered
            .filter(|(place, _)| !place.is_settled())
            .filter_map(|(place, seq)| Some((place.deadline?, Seq(seq))));
        if self.rising { deadlines.next() } else { deadlines.min() }
    }

    /// Takes a new deadline into account. Returns a new entry for the table where one is needed.
    pub(crate) fn entry_for(&mut self, deadline: Instant) -> Option<u64> {
        if self.due.is_some_and(|due| due <= deadline) {
            return None;
        }
        self.due = Some(deadline);
        self.entry += 1;
        Some(self.entry)
    }

    /// Whether an entry of the table is the one that counts.
    pub(crate) fn is_entry(&self, entry: u64) -> bool {
        self.entry == entry && self.due.is_some()
    }

    pub(crate) fn head_is_settled(&self) -> bool {
        self.places.front().is_some_and(Place::is_settled)
    }

    /// The oldest unsettled place that no lane works on.
    pub(crate) fn oldest_idle(&self) -> Option<Seq> {
        let idle = |place: &Place<I, P, A>| !place.is_settled() && place.live == 0;
        let index = self.places.iter().position(idle)?;
        Some(Seq(self.front.0 + index as u64))
    }

    /// The line of a pool.
    pub(crate) fn line(&mut self, pool: At<PoolId>) -> &mut Line {
        self.lines.iter_mut().find(|line| line.pool == pool).expect("a line stays while it has an open part")
    }

    pub(crate) fn books(&self) -> Books {
        Books {
            source: self.source,
            admitted: self.next_seq().0,
            answered: self.answered,
            not_asked: self.not_asked,
            missing: self.missing,
            held: self.places.len() as u64,
            pending: self.pending as u64,
            parts: self.parts,
        }
    }
}
