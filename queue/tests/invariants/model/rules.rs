//! The queue's rules, slowly.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use framelane_queue::{
    Books, FlowId, Key, LaneId, Missing, NoLane, Outcome, PartBooks, Policy, Reason, RefusedWhy, Seq,
    SourceCounts, Ticket, Verdict, WhenFull, WorkerId,
};

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum State {
    Waiting,
    Resting(Instant),
    Out(LaneId),
    Done(Outcome<u64>),
}

#[derive(Debug, Clone)]
pub(crate) struct Part {
    pub(crate) key: Key,
    pub(crate) payload: u64,
    pub(crate) state: State,
    pub(crate) attempt: u32,
    pub(crate) charged: u32,
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
        self.parts.iter().any(|part| matches!(part.state, State::Out(_)))
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
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Hold {
    Live,
    Cancelled,
    Told(Instant),
}

pub(crate) struct Lane {
    pub(crate) worker: WorkerId,
    pub(crate) keys: Vec<(Key, bool)>,
    pub(crate) credit: u32,
    pub(crate) draining: bool,
    pub(crate) told_drained: bool,
    pub(crate) held: BTreeMap<Ticket, Hold>,
}

impl Lane {
    pub(crate) fn room(&self) -> u32 {
        if self.draining {
            return 0;
        }
        self.credit.saturating_sub(self.held.len() as u32)
    }

    pub(crate) fn warm(&self, key: &Key) -> Option<bool> {
        let mut keys = self.keys.iter();
        keys.find(|(served, _)| served == key).map(|&(_, warm)| warm)
    }
}

pub(crate) struct Model {
    pub(crate) now: Instant,
    pub(crate) release_within: Duration,
    pub(crate) flows: BTreeMap<FlowId, Flow>,
    pub(crate) lanes: BTreeMap<LaneId, Lane>,
    /// Lanes that did not let go and are not told yet.
    pub(crate) lost: Vec<LaneId>,
}

impl Model {
    pub(crate) fn new(now: Instant, release_within: Duration) -> Self {
        Self { now, release_within, flows: BTreeMap::new(), lanes: BTreeMap::new(), lost: Vec::new() }
    }

    pub(crate) fn serves(&self, key: &Key, pin: Option<WorkerId>) -> bool {
        self.lanes.values().any(|lane| {
            !lane.draining && lane.warm(key).is_some() && pin.is_none_or(|pin| pin == lane.worker)
        })
    }

    pub(crate) fn part(&mut self, flow: FlowId, seq: Seq, part: u16) -> &mut Part {
        let flow = self.flows.get_mut(&flow).expect("known flow");
        let place = flow.places.get_mut(&seq).expect("untaken place");
        &mut place.parts[usize::from(part)]
    }

    /// Everything that will be due, the earliest first.
    pub(crate) fn due(&self) -> Vec<(Instant, u8, Ticket, Option<LaneId>)> {
        let mut due = Vec::new();
        for (&id, flow) in &self.flows {
            for (&seq, place) in &flow.places {
                let ticket = |part| Ticket { flow: id, seq, part, attempt: 0 };
                if let Some(deadline) = place.deadline
                    && !place.is_settled()
                {
                    due.push((deadline, 0, ticket(0), None));
                }
                for (part, index) in place.parts.iter().zip(0..) {
                    if let State::Resting(until) = part.state {
                        due.push((until, 1, ticket(index), None));
                    }
                }
            }
        }
        for (&id, lane) in &self.lanes {
            for (&ticket, &hold) in &lane.held {
                if let Hold::Told(at) = hold {
                    due.push((at + self.release_within, 2, ticket, Some(id)));
                }
            }
        }
        due.sort();
        due
    }

    pub(crate) fn advance(&mut self, now: Instant) {
        self.now = self.now.max(now);
        while let Some(&(at, kind, ticket, lane)) = self.due().first()
            && at <= self.now
        {
            match (kind, lane) {
                (0, _) => self.settle_place(ticket.flow, ticket.seq, Reason::Late),
                (1, _) => self.enqueue(ticket.flow, ticket.seq, ticket.part),
                (_, Some(lane)) => {
                    self.leave(lane, Some(ticket));
                    self.lost.push(lane);
                }
                (_, None) => unreachable!("releases name their lane"),
            }
        }
    }

    pub(crate) fn settle_place(&mut self, flow: FlowId, seq: Seq, reason: Reason) {
        for part in 0..self.flows[&flow].places[&seq].parts.len() as u16 {
            if !matches!(self.part(flow, seq, part).state, State::Done(_)) {
                self.settle(flow, seq, part, Outcome::Missing(reason));
            }
        }
    }

    pub(crate) fn settle(&mut self, flow: FlowId, seq: Seq, part: u16, outcome: Outcome<u64>) {
        let books = &mut self.flows.get_mut(&flow).expect("known flow").parts;
        books.open -= 1;
        match outcome {
            Outcome::Answer(_) => books.answered += 1,
            Outcome::Missing(reason) => add(&mut books.missing, reason),
        }
        let missing = matches!(outcome, Outcome::Missing(_));
        let slot = self.part(flow, seq, part);
        let attempt = slot.attempt;
        let before = std::mem::replace(&mut slot.state, State::Done(outcome));
        if let State::Out(lane) = before {
            let ticket = Ticket { flow, seq, part, attempt };
            let lane = self.lanes.get_mut(&lane);
            if let Some(hold) = lane.and_then(|lane| lane.held.get_mut(&ticket)) {
                *hold = Hold::Cancelled;
            }
        }
        let flow = self.flows.get_mut(&flow).expect("known flow");
        let place = flow.places.get_mut(&seq).expect("untaken place");
        if missing && usize::from(part) < place.first {
            place.sealed = true;
        }
    }

    pub(crate) fn enqueue(&mut self, flow: FlowId, seq: Seq, part: u16) {
        let policy = self.flows[&flow].policy.clone();
        let key = self.part(flow, seq, part).key.clone();
        if policy.no_lane == NoLane::Pass && !self.serves(&key, policy.pin) {
            self.settle(flow, seq, part, Outcome::Missing(Reason::NoLane));
        } else {
            self.part(flow, seq, part).state = State::Waiting;
        }
    }

    pub(crate) fn charge(&mut self, ticket: Ticket) {
        let policy = self.flows[&ticket.flow].policy.clone();
        let now = self.now;
        let part = self.part(ticket.flow, ticket.seq, ticket.part);
        part.charged += 1;
        let over = policy.attempts.is_some_and(|most| part.charged >= most.get());
        if over {
            let failed = Outcome::Missing(Reason::Failed);
            self.settle(ticket.flow, ticket.seq, ticket.part, failed);
        } else if let Some(rest) = policy.retry_after {
            part.state = State::Resting(now + rest);
        } else {
            self.enqueue(ticket.flow, ticket.seq, ticket.part);
        }
    }

    pub(crate) fn offer(
        &mut self,
        flow: FlowId,
        item: u64,
        parts: &[(Key, u64)],
        sealed: bool,
        captured_at: Instant,
        source: SourceCounts,
    ) -> Result<Seq, RefusedWhy> {
        let Some(this) = self.flows.get(&flow) else {
            return Err(RefusedWhy::NoSuchFlow);
        };
        let policy = this.policy.clone();
        if this.closed {
            return Err(RefusedWhy::Closed);
        }
        let deadline = policy.budget.map(|budget| captured_at + budget);
        let pending: Vec<Seq> =
            (this.places.iter()).filter_map(|(&seq, place)| (!place.is_settled()).then_some(seq)).collect();
        let would_wait =
            policy.no_lane == NoLane::Wait || parts.iter().any(|(key, _)| self.serves(key, policy.pin));
        let mut born = None;
        let mut full = this.places.len() >= policy.held.get();
        if !full && !parts.is_empty() {
            if deadline.is_some_and(|deadline| deadline <= self.now) {
                born = Some(Reason::Late);
            } else if pending.len() >= policy.pending.get() && would_wait {
                match policy.when_full {
                    WhenFull::Refuse => full = true,
                    WhenFull::DropNewest => born = Some(Reason::Evicted),
                    WhenFull::DropOldest => match pending.iter().find(|seq| !this.places[seq].is_live()) {
                        Some(&oldest) => self.settle_place(flow, oldest, Reason::Evicted),
                        None => born = Some(Reason::Evicted),
                    },
                }
            }
        }
        let this = self.flows.get_mut(&flow).expect("known flow");
        if full {
            return Err(RefusedWhy::Full);
        }
        let seq = Seq(this.admitted);
        this.admitted += 1;
        this.source = source;
        this.parts.asked += parts.len() as u64;
        this.parts.open += parts.len() as u64;
        let slots = parts.iter().map(|(key, payload)| Part {
            key: key.clone(),
            payload: *payload,
            state: State::Waiting,
            attempt: 0,
            charged: 0,
        });
        let place = Place { item, deadline, first: parts.len(), sealed, parts: slots.collect() };
        this.places.insert(seq, place);
        match born {
            Some(reason) => self.settle_place(flow, seq, reason),
            None => (0..parts.len() as u16).for_each(|part| self.enqueue(flow, seq, part)),
        }
        Ok(seq)
    }

    /// The place that a take must give now.
    pub(crate) fn take(&mut self, flow: FlowId) -> Option<(Seq, Place)> {
        let this = self.flows.get_mut(&flow)?;
        let head = this.places.first_key_value();
        if !head.is_some_and(|(_, place)| place.is_settled()) {
            this.told_ready = false;
            return None;
        }
        let (seq, place) = this.places.pop_first()?;
        *this.gone.entry(name(place.verdict())).or_default() += 1;
        this.rooms += std::mem::take(&mut this.failed_offers);
        if this.closed && this.places.is_empty() {
            this.ended = true;
            this.rooms = 0;
        }
        Some((seq, place))
    }

    pub(crate) fn close(&mut self, flow: FlowId) {
        if let Some(flow) = self.flows.get_mut(&flow)
            && !flow.closed
        {
            flow.closed = true;
            flow.ended = flow.places.is_empty();
            if flow.ended {
                flow.rooms = 0;
            }
        }
    }

    pub(crate) fn abort(&mut self, flow: FlowId) -> usize {
        let Some(this) = self.flows.get(&flow) else {
            return 0;
        };
        if this.ended {
            return 0;
        }
        let places: Vec<Seq> = this.places.keys().copied().collect();
        for &seq in &places {
            self.settle_place(flow, seq, Reason::Cancelled);
        }
        let this = self.flows.get_mut(&flow).expect("known flow");
        this.places.clear();
        let cancelled = name(Verdict::Missing(Reason::Cancelled));
        *this.gone.entry(cancelled).or_default() += places.len() as u64;
        (this.closed, this.ended, this.rooms) = (true, true, 0);
        places.len()
    }

    pub(crate) fn pass_by(&mut self) {
        let mut stranded = Vec::new();
        for (&id, flow) in &self.flows {
            for (&seq, place) in &flow.places {
                for (part, index) in place.parts.iter().zip(0..) {
                    let served = self.serves(&part.key, flow.policy.pin);
                    let pass = flow.policy.no_lane == NoLane::Pass;
                    if part.state == State::Waiting && pass && !served {
                        stranded.push((id, seq, index));
                    }
                }
            }
        }
        for (flow, seq, part) in stranded {
            self.settle(flow, seq, part, Outcome::Missing(Reason::NoLane));
        }
    }

    pub(crate) fn leave(&mut self, lane: LaneId, blame: Option<Ticket>) {
        let Some(lane) = self.lanes.remove(&lane) else {
            return;
        };
        for (ticket, hold) in lane.held {
            if hold == Hold::Live {
                if blame.is_none_or(|blamed| blamed == ticket) {
                    self.charge(ticket);
                } else {
                    self.enqueue(ticket.flow, ticket.seq, ticket.part);
                }
            }
        }
        self.pass_by();
    }

    /// Takes a ticket from a lane; whether it was live.
    pub(crate) fn let_go(&mut self, lane: LaneId, ticket: Ticket) -> Option<bool> {
        let hold = self.lanes.get_mut(&lane)?.held.remove(&ticket)?;
        Some(hold == Hold::Live)
    }

    pub(crate) fn ask(&mut self, ticket: Ticket, asks: &[(Key, u64)]) {
        for (key, payload) in asks {
            let flow = self.flows.get_mut(&ticket.flow).expect("known flow");
            flow.parts.asked += 1;
            flow.parts.open += 1;
            let place = flow.places.get_mut(&ticket.seq).expect("untaken place");
            let index = place.parts.len() as u16;
            place.parts.push(Part {
                key: key.clone(),
                payload: *payload,
                state: State::Waiting,
                attempt: 0,
                charged: 0,
            });
            if place.sealed {
                let cancelled = Outcome::Missing(Reason::Cancelled);
                self.settle(ticket.flow, ticket.seq, index, cancelled);
            } else {
                self.enqueue(ticket.flow, ticket.seq, index);
            }
        }
    }

    /// The books as they must be.
    pub(crate) fn books(&self, flow: FlowId) -> Option<Books> {
        let flow = self.flows.get(&flow)?;
        let gone = |verdict| flow.gone.get(name(verdict)).copied().unwrap_or(0);
        let missing = |reason| gone(Verdict::Missing(reason));
        let places = flow.places.values();
        Some(Books {
            source: flow.source,
            admitted: flow.admitted,
            answered: gone(Verdict::Answered),
            not_asked: gone(Verdict::NotAsked),
            missing: Missing {
                evicted: missing(Reason::Evicted),
                late: missing(Reason::Late),
                failed: missing(Reason::Failed),
                no_lane: missing(Reason::NoLane),
                cancelled: missing(Reason::Cancelled),
            },
            held: flow.places.len() as u64,
            pending: places.filter(|place| !place.is_settled()).count() as u64,
            parts: flow.parts,
        })
    }
}

fn name(verdict: Verdict) -> &'static str {
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

fn add(missing: &mut Missing, reason: Reason) {
    match reason {
        Reason::Evicted => missing.evicted += 1,
        Reason::Late => missing.late += 1,
        Reason::Failed => missing.failed += 1,
        Reason::NoLane => missing.no_lane += 1,
        Reason::Cancelled => missing.cancelled += 1,
    }
}
