//! The eight invariants, as they are seen from outside.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use framelane_queue::{
    FlowId, Join, Key, LaneId, LaneKey, Policy, RefusedWhy, Seq, Settled, Taken, Ticket, Verdict, WorkerId,
};

use super::Seen;
use super::subject::Queue;

/// What holds, or which promise is broken.
pub(crate) type Verdicts = Result<(), String>;

macro_rules! hold {
    ($that:expr, $($what:tt)+) => {
        if !$that {
            return Err(format!($($what)+));
        }
    };
}

mod failing;
mod outcomes;
mod rest;
mod steps;

/// What lanes said of a part.
#[derive(Default)]
struct Part {
    answer: Option<u64>,
    bad: bool,
    failures: u32,
    /// The lane that failed it last, where that is known for sure.
    failed_by: Option<LaneId>,
    attempts: u32,
    key: Option<Key>,
    /// Who has it, one lane or two, and as which attempt.
    live: Vec<(LaneId, u32)>,
}

struct Place {
    item: u64,
    captured_at: Instant,
    deadline: Option<Instant>,
    first: usize,
    parts: BTreeMap<u16, Part>,
    /// It was cancelled, and not settled before.
    cancelled: bool,
    /// It is settled for sure.
    over: bool,
}

pub(super) struct Flow {
    policy: Policy,
    /// Untaken places, the front one by number.
    places: BTreeMap<Seq, Place>,
    admitted: u64,
    gone: u64,
    ready: bool,
    failed_offers: u64,
    rooms: u64,
    ending: bool,
    aborted: bool,
    pub(super) closed: bool,
    first_hand_outs: u64,
    hedges: u64,
    rescues: u64,
}

pub(super) struct Lane {
    pub(super) worker: WorkerId,
    keys: Vec<LaneKey>,
    credit: u32,
    draining: bool,
    suspected: bool,
    drained: bool,
    /// Its tickets, and when it was told to let go.
    pub(super) held: BTreeMap<Ticket, Option<Instant>>,
    /// By when an answer to a ticket must be there, where there is such a moment.
    due: BTreeMap<Ticket, Instant>,
    /// Those of which that moment has passed.
    expired: BTreeSet<Ticket>,
    /// Where it has failed and not answered since, and when that was or when it was last tried.
    fails: BTreeMap<failing::At, Instant>,
    /// Where it may have.
    may_fail: BTreeSet<failing::At>,
}

impl Lane {
    /// It kept a ticket for longer than it may: the queue has given it up.
    fn is_overdue(&self, within: Duration, now: Instant) -> bool {
        !self.suspected && self.held.values().flatten().any(|told| *told + within <= now)
    }
}

pub(super) struct Judge {
    release_within: Duration,
    pub(super) flows: BTreeMap<FlowId, Flow>,
    pub(super) lanes: BTreeMap<LaneId, Lane>,
    /// Every hand-out there ever was.
    pub(super) tickets: Vec<Ticket>,
    known: BTreeSet<Ticket>,
    /// Lanes that left since the queue last waited: it may have been about to tell that they are lost.
    gone: BTreeSet<LaneId>,
    pub(super) seen: Seen,
}

impl Judge {
    pub(super) fn new(release_within: Duration) -> Self {
        Self {
            release_within,
            flows: BTreeMap::new(),
            lanes: BTreeMap::new(),
            tickets: Vec::new(),
            known: BTreeSet::new(),
            gone: BTreeSet::new(),
            seen: Seen::default(),
        }
    }

    fn flow(&mut self, flow: FlowId) -> Result<&mut Flow, String> {
        self.flows.get_mut(&flow).ok_or_else(|| format!("{flow} was never opened"))
    }

    fn lane(&mut self, lane: LaneId) -> Result<&mut Lane, String> {
        self.lanes.get_mut(&lane).ok_or_else(|| format!("{lane} is not there"))
    }

    pub(super) fn opened(&mut self, flow: FlowId, policy: Policy) -> Verdicts {
        let fresh = Flow {
            policy,
            places: BTreeMap::new(),
            admitted: 0,
            gone: 0,
            ready: false,
            failed_offers: 0,
            rooms: 0,
            ending: false,
            aborted: false,
            closed: false,
            first_hand_outs: 0,
            hedges: 0,
            rescues: 0,
        };
        hold!(self.flows.insert(flow, fresh).is_none(), "{flow} was opened before");
        Ok(())
    }

    pub(super) fn offered(
        &mut self,
        flow: FlowId,
        (item, first, captured_at): (u64, usize, Instant),
        result: Result<Seq, RefusedWhy>,
    ) -> Verdicts {
        let state = self.flow(flow)?;
        match result {
            Ok(seq) => {
                hold!(!state.ending, "invariant 5: {flow} admits an item after its end");
                hold!(seq.get() == state.admitted, "invariant 1: {seq} is given to item {}", state.admitted);
                state.admitted += 1;
                let deadline = state.policy.budget.map(|budget| captured_at + budget);
                let parts = BTreeMap::new();
                let place =
                    Place { item, captured_at, deadline, first, parts, cancelled: false, over: false };
                state.places.insert(seq, place);
            }
            Err(RefusedWhy::Full) => {
                let full = state.places.len() >= state.policy.pending.get().min(state.policy.held.get());
                hold!(full, "{flow} refuses with {} places", state.places.len());
                state.failed_offers += 1;
            }
            Err(why) => hold!(state.ending, "{flow} refuses: {why}"),
        }
        Ok(())
    }

    /// What came out of a flow; `all` where the taker wanted more.
    pub(super) fn took(
        &mut self,
        flow: FlowId,
        places: &[Taken<u64, u64>],
        all: bool,
        now: Instant,
    ) -> Verdicts {
        // What has come due has, though the steps that tell of it may be behind this one.
        let held = |(&id, lane): (&LaneId, &Lane)| {
            lane.held
                .keys()
                .filter(|ticket| ticket.flow == flow)
                .map(|&ticket| (id, ticket))
                .collect::<Vec<_>>()
        };
        let held: Vec<_> = self.lanes.iter().flat_map(held).collect();
        for (lane, ticket) in held {
            self.expire(lane, ticket, now);
        }
        let state = self.flow(flow)?;
        for taken in places {
            let front = state.places.pop_first();
            let Some((seq, place)) = front else {
                return Err(format!("invariant 1: {} of {flow} comes out and was never admitted", taken.seq));
            };
            hold!(
                (taken.seq, taken.item, taken.captured_at) == (seq, place.item, place.captured_at),
                "invariant 1: {} of {flow} comes out where {seq} is next",
                taken.seq
            );
            outcomes::hold(&state.policy, &place, taken).map_err(|what| format!("{flow}{seq}: {what}"))?;
            state.gone += 1;
        }
        if !places.is_empty() {
            state.rooms += std::mem::take(&mut state.failed_offers);
        }
        if state.ending && state.places.is_empty() {
            state.rooms = 0;
        }
        state.ready &= !all;
        self.seen.taken += places.len() as u64;
        let missing = places.iter().filter(|taken| matches!(taken.verdict, Verdict::Missing(_)));
        self.seen.missing += missing.count() as u64;
        Ok(())
    }

    /// How many places are in a flow.
    pub(super) fn held(&self, flow: FlowId) -> usize {
        self.flows.get(&flow).map_or(0, |flow| flow.places.len())
    }

    /// Somebody cancelled a place, and the queue said whether that changed anything. Either way it is settled now.
    pub(super) fn cancelled(&mut self, flow: FlowId, seq: Seq, said: bool, now: Instant) -> Verdicts {
        let Some(place) = self.flow(flow)?.places.get_mut(&seq) else {
            hold!(!said, "invariant 1: {seq} of {flow} is cancelled, and is not there");
            return Ok(());
        };
        let late = place.deadline.is_some_and(|deadline| deadline <= now);
        hold!(!said || !(late || place.over), "invariant 1: {seq} of {flow} is cancelled after its end");
        place.cancelled |= said;
        place.over = true;
        self.seen.cancelled += u64::from(said);
        Ok(())
    }

    pub(super) fn ends(&mut self, flow: FlowId) -> Verdicts {
        let state = self.flow(flow)?;
        state.ending = true;
        if state.places.is_empty() {
            state.rooms = 0;
        }
        Ok(())
    }

    pub(super) fn aborted(&mut self, flow: FlowId, discarded: usize) -> Verdicts {
        let state = self.flow(flow)?;
        if state.closed || (state.ending && state.places.is_empty()) {
            return Ok(());
        }
        hold!(discarded == state.places.len(), "invariant 1: {discarded} places are discarded");
        state.gone += discarded as u64;
        state.places.clear();
        (state.ending, state.aborted, state.rooms) = (true, true, 0);
        Ok(())
    }

    pub(super) fn joined(&mut self, lane: LaneId, join: Join) -> Verdicts {
        let Join { worker, keys, credit } = join;
        let (held, due, expired) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
        let fresh = Lane {
            worker,
            keys,
            credit,
            draining: false,
            suspected: false,
            drained: false,
            held,
            due,
            expired,
            fails: BTreeMap::new(),
            may_fail: BTreeSet::new(),
        };
        hold!(self.lanes.insert(lane, fresh).is_none(), "{lane} was there before");
        Ok(())
    }

    pub(super) fn credit(&mut self, lane: LaneId, credit: u32) -> Verdicts {
        self.lane(lane)?.credit = credit;
        Ok(())
    }

    pub(super) fn keys(&mut self, lane: LaneId, keys: Vec<LaneKey>) -> Verdicts {
        let lane = self.lane(lane)?;
        lane.fails.retain(|(key, _), _| keys.iter().any(|known| known.key == *key));
        lane.keys = keys;
        Ok(())
    }

    pub(super) fn drains(&mut self, lane: LaneId) -> Verdicts {
        self.lane(lane)?.draining = true;
        Ok(())
    }

    pub(super) fn suspected(&mut self, lane: LaneId, now: Instant) -> Verdicts {
        let within = self.release_within;
        let lane = self.lane(lane)?;
        lane.suspected |= !lane.is_overdue(within, now);
        Ok(())
    }

    /// A lane is heard again: from now on it has its time to let go.
    pub(super) fn trusted(&mut self, lane: LaneId, now: Instant) {
        if let Some(lane) = self.lanes.get_mut(&lane).filter(|lane| lane.suspected) {
            lane.suspected = false;
            lane.held.values_mut().flatten().for_each(|told| *told = now);
        }
    }

    /// A lane is gone; whom it charges is told by `blame` as to the queue.
    pub(super) fn left(&mut self, lane: LaneId, blame: Option<Ticket>, now: Instant) {
        let held = self.lanes.get(&lane).map(|lane| lane.held.keys().copied().collect::<Vec<_>>());
        for ticket in held.unwrap_or_default() {
            self.expire(lane, ticket, now);
        }
        let Some(gone) = self.lanes.remove(&lane) else { return };
        self.gone.insert(lane);
        for ticket in gone.held.into_keys() {
            if let Some(part) = self.part(ticket) {
                part.live.retain(|&(other, _)| other != lane);
                part.failures += u32::from(blame.is_none_or(|blamed| blamed == ticket));
                part.failed_by = None;
            }
        }
    }

    /// A lane has had a ticket for too long: it counts as failed, and others may have the part.
    fn expire(&mut self, id: LaneId, ticket: Ticket, now: Instant) {
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        let untold = lane.held.get(&ticket) == Some(&None);
        let due = lane.due.get(&ticket).is_some_and(|due| *due <= now);
        if untold
            && due
            && lane.expired.insert(ticket)
            && let Some(part) = self.part(ticket).filter(|part| part.answer.is_none())
        {
            part.live.retain(|&holder| holder != (id, ticket.attempt));
            self.failed(id, ticket, false, now);
            if let Some(part) = self.part(ticket) {
                part.failures += 1;
            }
            self.seen.unanswered += 1;
        }
    }

    fn part(&mut self, ticket: Ticket) -> Option<&mut Part> {
        let flow = self.flows.get_mut(&ticket.flow)?;
        Some(flow.places.get_mut(&ticket.seq)?.parts.entry(ticket.part).or_default())
    }

    /// What a lane said, as an answer or why there is none (`bad` or not), and what the queue made of it.
    pub(super) fn answered(
        &mut self,
        lane: LaneId,
        ticket: Ticket,
        result: Result<u64, bool>,
        settled: Settled,
        now: Instant,
    ) -> Verdicts {
        let live = self.is_live(lane, ticket, now);
        let expected = if live { Settled::Counted } else { Settled::Stale };
        hold!(settled == expected, "invariant 3: {ticket} of {lane} is {settled:?}, not {expected:?}");
        self.seen.stale += u64::from(!live);
        self.expire(lane, ticket, now);
        self.let_go(lane, ticket, now);
        match result {
            Ok(_) if live => self.worked(lane, ticket),
            Err(false) if live => self.failed(lane, ticket, true, now),
            _ => {}
        }
        if live && let Some(part) = self.part(ticket) {
            match result {
                Ok(value) => part.answer = Some(value),
                Err(bad) => (part.bad, part.failures) = (part.bad || bad, part.failures + 1),
            }
        }
        Ok(())
    }

    /// A lane lets go of a ticket; for one that is lost by now it is too late.
    pub(super) fn let_go(&mut self, lane: LaneId, ticket: Ticket, now: Instant) {
        let within = self.release_within;
        if let Some(held) = self.lanes.get_mut(&lane)
            && !held.is_overdue(within, now)
            && held.held.remove(&ticket).is_some()
            && let Some(part) = self.part(ticket)
        {
            part.live.retain(|&holder| holder != (lane, ticket.attempt));
        }
    }

    /// An answer of this ticket counts now: the lane has it, nobody told it to let go, and it is in time.
    fn is_live(&self, lane: LaneId, ticket: Ticket, now: Instant) -> bool {
        let Some(lane) = self.lanes.get(&lane) else { return false };
        if lane.held.get(&ticket) != Some(&None) || lane.is_overdue(self.release_within, now) {
            return false;
        }
        let in_time = lane.due.get(&ticket).is_none_or(|due| now < *due);
        let place = self.flows.get(&ticket.flow).and_then(|flow| flow.places.get(&ticket.seq));
        let wanted = |place: &Place| !place.over && place.deadline.is_none_or(|deadline| now < deadline);
        in_time && place.is_some_and(wanted)
    }
}
