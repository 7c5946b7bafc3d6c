//! The queue's rules, slowly.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use framelane_queue::{
    Books, FlowId, Key, LaneId, NoLane, Outcome, Reason, RefusedWhy, Seq, SourceCounts, Ticket, Verdict,
    WhenFull, WorkerId,
};

use super::state::{Flow, Hold, Holder, Lane, Part, Place, State, add, name};

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
        self.lanes.values().any(|lane| lane.serves(key, pin))
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
                    if let Some(slow_at) = part.slow_at {
                        due.push((slow_at, 3, ticket(index), None));
                    }
                }
            }
        }
        for (&id, lane) in &self.lanes {
            for (&ticket, &hold) in &lane.held {
                if let Hold::Told(Some(until)) = hold {
                    due.push((until, 2, ticket, Some(id)));
                }
                if let (Hold::Live, Some(&until)) = (hold, lane.answers.get(&ticket)) {
                    due.push((until, 4, ticket, Some(id)));
                }
            }
        }
        for (id, until) in self.rests() {
            // Of no ticket: any will do.
            let none = Ticket { flow: FlowId(0), seq: Seq(0), part: 0, attempt: 0 };
            due.push((until, 5, none, Some(id)));
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
                (3, _) => self.slow(ticket),
                (4, Some(lane)) => self.unanswered(lane, ticket),
                (5, Some(lane)) => self.rested(lane, at),
                (_, Some(lane)) => {
                    self.leave(lane, Some(ticket));
                    self.lost.push(lane);
                }
                (_, None) => unreachable!("releases name their lane"),
            }
        }
    }

    /// A lane has not answered in time: it is told to let go, and the part has failed once more.
    fn unanswered(&mut self, id: LaneId, ticket: Ticket) {
        let lane = self.lanes.get_mut(&id).expect("a lane that is there");
        lane.held.insert(ticket, Hold::Cancelled);
        let worker = lane.worker;
        self.flows.get_mut(&ticket.flow).expect("known flow").parts.unanswered += 1;
        let other = self.take_back(ticket);
        self.charge(ticket, (id, worker), other);
    }

    /// A hand-out has become slow: its part waits for a second lane, if a hedge is left.
    fn slow(&mut self, ticket: Ticket) {
        let hedges = &mut self.flows.get_mut(&ticket.flow).expect("known flow").hedges;
        let left = hedges.checked_sub(1000);
        *hedges = left.unwrap_or(*hedges);
        let part = self.part(ticket.flow, ticket.seq, ticket.part);
        part.slow_at = None;
        part.slow = left.is_some();
    }

    /// A part is in other hands than before: it is not slow any more, and what it did not use is left.
    fn not_slow(&mut self, flow: FlowId, seq: Seq, part: u16) {
        let part = self.part(flow, seq, part);
        part.doubted = false;
        part.slow_at = None;
        if std::mem::take(&mut part.slow) {
            let hedges = &mut self.flows.get_mut(&flow).expect("known flow").hedges;
            *hedges = (*hedges + 1000).min(16_000);
        }
    }

    /// Takes a live ticket from its part; whether another lane has it too.
    pub(crate) fn take_back(&mut self, ticket: Ticket) -> bool {
        self.not_slow(ticket.flow, ticket.seq, ticket.part);
        let part = self.part(ticket.flow, ticket.seq, ticket.part);
        let State::Out(holders) = &mut part.state else {
            panic!("a live ticket of a part that is not out");
        };
        let held = holders.len();
        holders.retain(|holder| holder.attempt != ticket.attempt);
        assert_eq!(holders.len() + 1, held, "a live ticket is one of its part's");
        held > 1
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
        self.not_slow(flow, seq, part);
        let slot = self.part(flow, seq, part);
        let before = std::mem::replace(&mut slot.state, State::Done(outcome));
        if let State::Out(holders) = before {
            for Holder { lane, attempt } in holders {
                let ticket = Ticket { flow, seq, part, attempt };
                let lane = self.lanes.get_mut(&lane).expect("a live ticket's lane");
                let hold = lane.held.get_mut(&ticket).expect("a live ticket");
                *hold = Hold::Cancelled;
            }
        }
        let flow = self.flows.get_mut(&flow).expect("known flow");
        let place = flow.places.get_mut(&seq).expect("untaken place");
        if missing && usize::from(part) < place.first {
            place.sealed = true;
        }
    }

    /// A part came back uncharged.
    pub(crate) fn wait_again(&mut self, ticket: Ticket, other: bool) {
        let Ticket { flow, seq, part, .. } = ticket;
        if other { self.doubt(flow, seq, part) } else { self.enqueue(flow, seq, part) }
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

    /// A part that only a suspected lane has waits as if nobody had it.
    pub(crate) fn doubt(&mut self, flow: FlowId, seq: Seq, part: u16) {
        let [Holder { lane, .. }] = *self.part(flow, seq, part).holders() else { return };
        if !self.lanes[&lane].suspected || self.part(flow, seq, part).doubted {
            return;
        }
        self.not_slow(flow, seq, part);
        self.part(flow, seq, part).doubted = true;
    }

    pub(crate) fn suspect(&mut self, id: LaneId) {
        let Some(lane) = self.lanes.get_mut(&id).filter(|lane| !lane.suspected) else { return };
        lane.suspected = true;
        for hold in lane.held.values_mut() {
            if let Hold::Told(until) = hold {
                *until = None;
            }
        }
        for (ticket, hold) in lane.held.clone() {
            if hold == Hold::Live {
                self.doubt(ticket.flow, ticket.seq, ticket.part);
            }
        }
    }

    pub(crate) fn trust(&mut self, id: LaneId) {
        let until = self.now + self.release_within;
        let Some(lane) = self.lanes.get_mut(&id).filter(|lane| lane.suspected) else { return };
        lane.suspected = false;
        for hold in lane.held.values_mut() {
            if let Hold::Told(none) = hold {
                *none = Some(until);
            }
        }
        for (ticket, hold) in lane.held.clone() {
            if hold == Hold::Live {
                self.part(ticket.flow, ticket.seq, ticket.part).doubted = false;
            }
        }
    }

    /// A failure counts, but it ends nothing while another lane has the part too.
    pub(crate) fn charge(&mut self, ticket: Ticket, culprit: (LaneId, WorkerId), other: bool) {
        self.blame(ticket, culprit);
        let policy = self.flows[&ticket.flow].policy.clone();
        let now = self.now;
        let part = self.part(ticket.flow, ticket.seq, ticket.part);
        let over = policy.attempts.is_some_and(|most| part.charged >= most.get());
        match policy.retry_after {
            None if other && !over => self.doubt(ticket.flow, ticket.seq, ticket.part),
            _ if other => {}
            _ if over => {
                let failed = Outcome::Missing(Reason::Failed);
                self.settle(ticket.flow, ticket.seq, ticket.part, failed);
            }
            Some(rest) => part.state = State::Resting(now + rest),
            None => self.enqueue(ticket.flow, ticket.seq, ticket.part),
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
        let slots = parts.iter().map(|(key, payload)| Part::new(key.clone(), *payload));
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

    /// Cancels the place this far from the first untaken one. Returns which that is, and whether it was
    /// unsettled.
    pub(crate) fn cancel(&mut self, flow: FlowId, nth: u8) -> (Seq, bool) {
        let Some(this) = self.flows.get(&flow) else {
            return (Seq(nth.into()), false);
        };
        let front = this.places.keys().next().map_or(this.admitted, |seq| seq.get());
        // One before the front was taken.
        let seq = Seq((front + u64::from(nth)).saturating_sub(1));
        let unsettled = this.places.get(&seq).is_some_and(|place| !place.is_settled());
        if unsettled {
            self.settle_place(flow, seq, Reason::Cancelled);
        }
        (seq, unsettled)
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

    pub(crate) fn leave(&mut self, id: LaneId, blame: Option<Ticket>) {
        let Some(lane) = self.lanes.remove(&id) else {
            return;
        };
        for (ticket, hold) in lane.held {
            if hold == Hold::Live {
                let other = self.take_back(ticket);
                if blame.is_none_or(|blamed| blamed == ticket) {
                    self.charge(ticket, (id, lane.worker), other);
                } else {
                    self.wait_again(ticket, other);
                }
            }
        }
        self.pass_by();
    }

    /// Takes a ticket from a lane; whether it was live. A live one is to be taken from its part too.
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
            place.parts.push(Part::new(key.clone(), *payload));
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
        Some(self.flows.get(&flow)?.books())
    }
}
