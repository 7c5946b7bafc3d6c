//! What the model knows: flows, places, parts and lanes, in plain maps.

use std::collections::BTreeMap;
use std::time::Instant;

use framelane_queue::{
    Books, Key, LaneId, Missing, Outcome, PartBooks, Policy, Reason, Seq, SourceCounts, Ticket, Verdict,
    WorkerId,
};

use super::rests::Mark;

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum State {
    Waiting,
    Resting(Instant),
    /// Who has it: one lane, or two while it is hedged.
    Out(Vec<Holder>),
    Done(Outcome<u64>),
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Holder {
    pub(crate) lane: LaneId,
    pub(crate) attempt: u32,
}

#[derive(Debug, Clone)]
pub(crate) struct Part {
    pub(crate) key: Key,
    pub(crate) payload: u64,
    pub(crate) state: State,
    pub(crate) attempt: u32,
    pub(crate) charged: u32,
    /// Who was charged last.
    pub(crate) failed_by: Option<(LaneId, WorkerId)>,
    /// When its hand-out becomes slow.
    pub(crate) slow_at: Option<Instant>,
    /// It waits for a second lane.
    pub(crate) slow: bool,
    /// It waits as if nobody had it: its one lane is suspected.
    pub(crate) doubted: bool,
}

impl Part {
    pub(crate) fn new(key: Key, payload: u64) -> Self {
        Self {
            key,
            payload,
            state: State::Waiting,
            attempt: 0,
            charged: 0,
            failed_by: None,
            slow_at: None,
            slow: false,
            doubted: false,
        }
    }

    /// It is in the line of first hand-outs.
    pub(crate) fn waits(&self) -> bool {
        self.state == State::Waiting || self.doubted
    }

    pub(crate) fn holders(&self) -> &[Holder] {
        match &self.state {
            State::Out(holders) => holders,
            _ => &[],
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) item: u64,
    pub(crate) deadline: Option<Instant>,
    pub(crate) first: usize,
    pub(crate) sealed: bool,
    pub(crate) parts: Vec<Part>,
}

impl Place {
    pub(crate) fn is_settled(&self) -> bool {
        self.parts.iter().all(|part| matches!(part.state, State::Done(_)))
    }

    pub(crate) fn is_live(&self) -> bool {
        self.parts.iter().any(|part| !part.holders().is_empty())
    }

    pub(crate) fn verdict(&self) -> Verdict {
        if self.first == 0 {
            return Verdict::NotAsked;
        }
        for part in &self.parts[..self.first] {
            if let State::Done(Outcome::Missing(reason)) = part.state {
                return Verdict::Missing(reason);
            }
        }
        Verdict::Answered
    }
}

pub(crate) struct Flow {
    pub(crate) policy: Policy,
    /// Untaken places.
    pub(crate) places: BTreeMap<Seq, Place>,
    pub(crate) admitted: u64,
    pub(crate) closed: bool,
    pub(crate) ended: bool,
    pub(crate) told_closed: bool,
    pub(crate) failed_offers: u64,
    pub(crate) rooms: u64,
    pub(crate) told_ready: bool,
    pub(crate) source: SourceCounts,
    pub(crate) gone: BTreeMap<&'static str, u64>,
    pub(crate) parts: PartBooks,
    /// Thousandths of hedges that are earned.
    pub(crate) hedges: u32,
}

impl Flow {
    pub(crate) fn new(policy: Policy) -> Self {
        Self {
            policy,
            places: BTreeMap::new(),
            admitted: 0,
            closed: false,
            ended: false,
            told_closed: false,
            failed_offers: 0,
            rooms: 0,
            told_ready: false,
            source: SourceCounts::default(),
            gone: BTreeMap::new(),
            parts: PartBooks::default(),
            hedges: 0,
        }
    }

    /// The books as they must be.
    pub(crate) fn books(&self) -> Books {
        let gone = |verdict| self.gone.get(name(verdict)).copied().unwrap_or(0);
        let missing = |reason| gone(Verdict::Missing(reason));
        let places = self.places.values();
        Books {
            source: self.source,
            admitted: self.admitted,
            answered: gone(Verdict::Answered),
            not_asked: gone(Verdict::NotAsked),
            missing: Missing {
                evicted: missing(Reason::Evicted),
                late: missing(Reason::Late),
                failed: missing(Reason::Failed),
                no_lane: missing(Reason::NoLane),
                cancelled: missing(Reason::Cancelled),
            },
            held: self.places.len() as u64,
            pending: places.filter(|place| !place.is_settled()).count() as u64,
            parts: self.parts,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Hold {
    Live,
    Cancelled,
    /// And when it must have let go; whenever it is heard again where there is none.
    Told(Option<Instant>),
}

pub(crate) struct Lane {
    pub(crate) worker: WorkerId,
    pub(crate) keys: Vec<(Key, bool)>,
    pub(crate) credit: u32,
    pub(crate) draining: bool,
    pub(crate) suspected: bool,
    pub(crate) told_drained: bool,
    pub(crate) held: BTreeMap<Ticket, Hold>,
    /// By when live tickets must be answered, of those that must.
    pub(crate) answers: BTreeMap<Ticket, Instant>,
    /// What is held against it.
    pub(crate) marks: BTreeMap<(Key, Option<WorkerId>), Mark>,
}

impl Lane {
    pub(crate) fn room(&self) -> u32 {
        if self.draining || self.suspected {
            return 0;
        }
        self.credit.saturating_sub(self.held.len() as u32)
    }

    pub(crate) fn warm(&self, key: &Key) -> Option<bool> {
        let mut keys = self.keys.iter();
        keys.find(|(served, _)| served == key).map(|&(_, warm)| warm)
    }

    /// It serves parts of this key, in a flow that is pinned so.
    pub(crate) fn serves(&self, key: &Key, pin: Option<WorkerId>) -> bool {
        !self.draining && self.warm(key).is_some() && pin.is_none_or(|pin| pin == self.worker)
    }
}

pub(crate) fn name(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Answered => "answered",
        Verdict::NotAsked => "not asked",
        Verdict::Missing(Reason::Evicted) => "evicted",
        Verdict::Missing(Reason::Late) => "late",
        Verdict::Missing(Reason::Failed) => "failed",
        Verdict::Missing(Reason::NoLane) => "no lane",
        Verdict::Missing(Reason::Cancelled) => "cancelled",
    }
}

pub(crate) fn add(missing: &mut Missing, reason: Reason) {
    match reason {
        Reason::Evicted => missing.evicted += 1,
        Reason::Late => missing.late += 1,
        Reason::Failed => missing.failed += 1,
        Reason::NoLane => missing.no_lane += 1,
        Reason::Cancelled => missing.cancelled += 1,
    }
}
