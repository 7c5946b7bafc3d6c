//! What the world holds against the queue: each step as it comes, and all that can be seen at any time.

use std::time::Instant;

use framelane_queue::{Books, LaneId, Policy, Step, Ticket};

use super::script::KEYS;
use super::state::{Hold, Holder, State};
use super::world::{World, key};

impl World {
    /// Polls until the queue waits, judging each step.
    pub(crate) fn poll(&mut self) -> Option<Instant> {
        self.advance();
        let mut bound = 1 + 2 * self.flows.len() + 2 * self.lanes.len();
        for flow in self.model.flows.values() {
            bound += flow.rooms as usize;
        }
        for lane in self.model.lanes.values() {
            bound += lane.room() as usize + lane.held.len();
        }
        loop {
            let step = self.queue.poll(self.now);
            self.trace.push(step);
            assert!(bound > 0, "invariant 4: poll does not come to Wait");
            bound -= 1;
            self.judge(step);
            self.compare();
            if let Step::Wait(until) = step {
                return until;
            }
        }
    }

    fn judge(&mut self, step: Step) {
        match step {
            Step::Assign { lane, ticket } => self.judge_assign(lane, ticket),
            Step::Cancel { lane, ticket } => {
                let lane = self.model.lanes.get_mut(&lane).expect("a lane that is there");
                let hold = lane.held.get_mut(&ticket).expect("a ticket that is held");
                assert_eq!(*hold, Hold::Cancelled, "cancelled once, and for a reason");
                *hold = Hold::Told((!lane.suspected).then(|| self.now + self.model.release_within));
            }
            Step::Ready { flow } => {
                let flow = self.model.flows.get_mut(&flow).expect("a known flow");
                let head = flow.places.first_key_value();
                assert!(head.is_some_and(|(_, head)| head.is_settled()), "not ready");
                assert!(!flow.told_ready, "Ready is told once until take gave nothing");
                flow.told_ready = true;
            }
            Step::Room { flow } => {
                let flow = self.model.flows.get_mut(&flow).expect("a known flow");
                assert!(flow.rooms > 0, "Room without a failed offer before a take");
                flow.rooms -= 1;
            }
            Step::Closed { flow } => {
                let flow = self.model.flows.get_mut(&flow).expect("a known flow");
                assert!(
                    flow.ended && flow.places.is_empty() && !flow.told_closed,
                    "invariant 5: Closed once, and after the last place"
                );
                flow.told_closed = true;
            }
            Step::Drained { lane } => {
                let lane = self.model.lanes.get_mut(&lane).expect("a lane that is there");
                assert!(lane.draining && lane.held.is_empty() && !lane.told_drained);
                lane.told_drained = true;
            }
            Step::Lost { lane } => {
                let lost = &mut self.model.lost;
                let told = lost.iter().position(|&other| other == lane);
                lost.remove(told.expect("a lane that did not let go"));
            }
            Step::Wait(until) => self.judge_wait(until),
        }
    }

    fn judge_assign(&mut self, id: LaneId, ticket: Ticket) {
        let flow = &self.model.flows[&ticket.flow];
        let place = &flow.places[&ticket.seq];
        let part = &place.parts[usize::from(ticket.part)];
        assert_eq!(ticket.attempt, part.attempt + 1, "tickets are not used again");
        let (pin, hedge) = (flow.policy.pin, matches!(part.state, State::Out(_)) && !part.doubted);
        assert!(self.model.could(id, &part.key, pin), "invariant 2: {id} is full, or not for {ticket}");
        assert!(place.deadline.is_none_or(|deadline| deadline > self.now));
        let holder = match &part.state {
            State::Waiting => None,
            State::Out(holders) if (part.slow || part.doubted) && holders.len() == 1 => Some(holders[0].lane),
            other => panic!("invariant 3: {ticket} is handed out while it is {other:?}"),
        };
        // A failed part goes elsewhere if it can. Those that did not fail come first, then warm lanes, then
        // the freest; a hedge does not go where the part is.
        assert_ne!(holder, Some(id), "a hedge goes to another lane");
        let stands = |id| self.model.stands(id, part, pin, !hedge);
        for &other in self.model.lanes.keys() {
            if self.model.could(other, &part.key, pin) && holder != Some(other) {
                assert!(stands(id) >= stands(other), "{ticket} is for {other} rather than for {id}");
            }
        }
        let out = self.queue.hand_out(ticket).expect("a fresh ticket is live");
        assert_eq!(
            (*out.item, *out.payload, out.key, out.deadline),
            (place.item, part.payload, &part.key, place.deadline)
        );
        match holder {
            Some(_) if !part.doubted => self.judge_hedge(id),
            _ => self.judge_first(ticket),
        }
        self.note_assign(id, ticket, holder.is_some());
    }

    /// Inside a flow: earliest deadline first, then in order.
    fn judge_first(&self, ticket: Ticket) {
        let flow = &self.model.flows[&ticket.flow];
        let place = &flow.places[&ticket.seq];
        let part = &place.parts[usize::from(ticket.part)];
        for (seq, other) in &flow.places {
            for (other_part, index) in other.parts.iter().zip(0..) {
                if other_part.waits() && other_part.key == part.key {
                    let order = (place.deadline, ticket.seq, ticket.part);
                    assert!(order <= (other.deadline, *seq, index), "not the earliest");
                }
            }
        }
    }

    /// A hedge takes a lane that no first hand-out wants.
    fn judge_hedge(&self, id: LaneId) {
        for flow in self.model.flows.values() {
            for part in flow.places.values().flat_map(|place| &place.parts) {
                let wants = part.waits() && self.model.could(id, &part.key, flow.policy.pin);
                assert!(!wants, "a hedge displaces a first hand-out");
            }
        }
    }

    fn note_assign(&mut self, id: LaneId, ticket: Ticket, hedge: bool) {
        let flow = self.model.flows.get_mut(&ticket.flow).expect("looked at above");
        let part = &flow.places[&ticket.seq].parts[usize::from(ticket.part)];
        let (key, doubted, within) = (part.key.clone(), part.doubted, flow.policy.answer_within);
        let pin = flow.policy.pin;
        let mut slow_at = None;
        if doubted {
            flow.parts.rescued += 1;
        } else if hedge {
            flow.parts.hedged += 1;
            self.hedges.insert(ticket);
        } else if let Some(hedge) = flow.policy.hedge {
            flow.hedges = (flow.hedges + u32::from(hedge.extra.per_mille())).min(16_000);
            slow_at = self.queue.slow_after(ticket.flow, &key, self.now).map(|after| self.model.now + after);
        }
        self.model.probe(id, &key, pin);
        let part = self.model.part(ticket.flow, ticket.seq, ticket.part);
        part.attempt += 1;
        (part.slow, part.doubted) = (false, false);
        part.slow_at = slow_at;
        let holder = Holder { lane: id, attempt: ticket.attempt };
        match &mut part.state {
            State::Out(holders) => holders.push(holder),
            state => *state = State::Out(vec![holder]),
        }
        let lane = self.model.lanes.get_mut(&id).expect("looked at above");
        lane.held.insert(ticket, Hold::Live);
        if let Some(within) = within {
            lane.answers.insert(ticket, self.model.now + within);
        }
        self.tickets.push((id, ticket));
    }

    /// At `Wait` nothing is left to do, and the moment is the next one at which something is due.
    fn judge_wait(&self, until: Option<Instant>) {
        let due = self.model.due();
        let next = due.first().map(|&(at, ..)| at);
        assert_eq!(until, next, "invariant 4: the next moment of {due:?}");
        assert!(self.model.lost.is_empty(), "invariant 4: a lost lane is not told");
        for lane in self.model.lanes.values() {
            let untold = lane.held.values().any(|&hold| hold == Hold::Cancelled);
            assert!(!untold, "invariant 4: a cancelled ticket is not told");
            let drained = lane.draining && lane.held.is_empty();
            assert_eq!(drained, lane.told_drained, "invariant 4: Drained");
        }
        for flow in self.model.flows.values() {
            assert_eq!(flow.rooms, 0, "invariant 4: Room is not told");
            assert_eq!(flow.ended, flow.told_closed, "invariant 4: Closed");
            let head = flow.places.first_key_value();
            if head.is_some_and(|(_, head)| head.is_settled()) {
                assert!(flow.told_ready, "invariant 4: Ready is not told");
            }
            for part in flow.places.values().flat_map(|place| &place.parts) {
                let free = self.model.lanes.keys().any(|&id| {
                    let has_it = part.holders().iter().any(|holder| holder.lane == id);
                    self.model.could(id, &part.key, flow.policy.pin) && !has_it
                });
                let wants = part.waits() || part.slow;
                assert!(!wants || !free, "invariant 4: a part waits beside a free lane");
            }
        }
    }

    /// Everything that can be seen at any time.
    pub(super) fn compare(&mut self) {
        if self.now > self.model.now {
            return;
        }
        for &flow in &self.flows {
            let books = self.queue.books(flow);
            assert_eq!(books, self.model.books(flow), "invariant 2: books of {flow}");
            if let Some(books) = books {
                assert_eq!(books.balances(), Ok(()), "invariant 2");
                let policy = &self.model.flows[&flow].policy;
                bounded(&books, policy);
            }
        }
        let lanes: Vec<_> = self.queue.lanes().map(|view| view.lane).collect();
        assert_eq!(lanes.len(), self.model.lanes.len());
        for (&id, lane) in &self.model.lanes {
            let view = self.queue.lane(id).expect("a lane that is there");
            assert_eq!(view.outstanding as usize, lane.held.len(), "invariant 2: {id}");
            let marks = (view.credit, view.draining, view.suspected);
            assert_eq!(marks, (lane.credit, lane.draining, lane.suspected));
        }
        for number in 0..KEYS {
            let key = key(number);
            assert_eq!(self.queue.serves(&key), self.model.serves(&key, None));
        }
    }
}

fn bounded(books: &Books, policy: &Policy) {
    assert!(books.held <= policy.held.get() as u64, "invariant 8: held");
    assert!(books.pending <= policy.pending.get() as u64, "invariant 8: pending");
}
