//! What is held of each step that the dispatcher asks for.

use std::collections::BTreeSet;
use std::time::Instant;

use framelane_queue::{LaneId, Step, Ticket};

use super::super::subject::Queue;
use super::{Judge, Place, Verdicts};

impl Judge {
    pub(in super::super) fn step(&mut self, step: Step, queue: &Queue, now: Instant) -> Verdicts {
        self.seen.steps += 1;
        match step {
            Step::Assign { lane, ticket } => return self.assigned(lane, ticket, queue, now),
            Step::Cancel { lane, ticket } => {
                let due = self.lane(lane)?.due.get(&ticket).is_some_and(|due| *due <= now);
                self.expire(lane, ticket, now);
                let held = self.lane(lane)?.held.get_mut(&ticket);
                hold!(held.as_ref().is_some_and(|told| told.is_none()), "{ticket} is not {lane}'s to cancel");
                held.map(|told| told.replace(now));
                let late =
                    |place: &Place| place.cancelled || place.deadline.is_some_and(|deadline| deadline <= now);
                let place = self.flows.get(&ticket.flow).and_then(|flow| flow.places.get(&ticket.seq));
                let why = due
                    || place.is_none_or(late)
                    || self.part(ticket).is_some_and(|part| part.answer.is_some() || part.bad);
                hold!(why, "invariant 3: {ticket} is cancelled, in time and without an answer");
            }
            Step::Ready { flow } => {
                let state = self.flow(flow)?;
                hold!(!state.ready && !state.places.is_empty(), "{flow} is said to be ready");
                state.ready = true;
            }
            Step::Room { flow } => {
                let state = self.flow(flow)?;
                hold!(state.rooms > 0, "Room for {flow} without a failed offer before a take");
                state.rooms -= 1;
            }
            Step::Closed { flow } => {
                let state = self.flow(flow)?;
                let over = state.ending && state.places.is_empty() && !state.closed;
                hold!(over, "invariant 5: {flow} is closed with {} places", state.places.len());
                state.closed = true;
            }
            Step::Drained { lane } => {
                let state = self.lane(lane)?;
                hold!(state.draining && state.held.is_empty() && !state.drained, "{lane} is not drained");
                state.drained = true;
            }
            Step::Lost { lane } if self.gone.contains(&lane) => {}
            Step::Lost { lane } => {
                let within = self.release_within;
                hold!(!self.lane(lane)?.suspected, "{lane} is lost while nobody can hear it");
                let mut held = self.lane(lane)?.held.iter();
                let hung = held.find(|(_, told)| told.is_some_and(|told| told + within <= now));
                let Some((&hung, _)) = hung else { return Err(format!("{lane} is lost without a reason")) };
                self.left(lane, Some(hung), now);
                self.seen.lanes_lost += 1;
            }
            Step::Wait(_) => self.gone.clear(),
        }
        Ok(())
    }

    fn assigned(&mut self, id: LaneId, ticket: Ticket, queue: &Queue, now: Instant) -> Verdicts {
        hold!(self.known.insert(ticket), "invariant 3: {ticket} is handed out a second time");
        self.tickets.push(ticket);
        let out = queue.hand_out(ticket).ok_or_else(|| format!("{ticket} is handed out and not live"))?;
        let pin = self.flow(ticket.flow)?.policy.pin;
        let hedge = self.part(ticket).is_some_and(|part| !part.live.is_empty());
        if !hedge {
            self.may_have(id, ticket, &(out.key.clone(), pin), now)?;
        }
        let silent: BTreeSet<LaneId> =
            self.lanes.iter().filter_map(|(&id, lane)| lane.suspected.then_some(id)).collect();
        let lane = self.lane(id)?;
        let room = !lane.draining && !lane.suspected && (lane.held.len() as u32) < lane.credit;
        hold!(room, "invariant 2: {id} holds {} of {} and gets {ticket}", lane.held.len(), lane.credit);
        hold!(lane.keys.iter().any(|known| known.key == *out.key), "{id} does not serve {}", out.key);
        let worker = lane.worker;
        lane.held.insert(ticket, None);
        if let Some(within) = self.flow(ticket.flow)?.policy.answer_within {
            self.lane(id)?.due.insert(ticket, now + within);
        }
        let flow = self.flow(ticket.flow)?;
        hold!(flow.policy.pin.is_none_or(|pin| pin == worker), "{ticket} is pinned to another worker");
        let place = flow.places.get_mut(&ticket.seq).ok_or_else(|| format!("{ticket} has no place"))?;
        hold!(!place.over, "invariant 3: {ticket} is handed out after the end of its place");
        hold!(*out.item == place.item, "{ticket} comes with another item");
        hold!(place.deadline.is_none_or(|deadline| now < deadline), "invariant 7: {ticket} is late already");
        let part = place.parts.entry(ticket.part).or_default();
        hold!(part.answer.is_none() && !part.bad, "invariant 3: {ticket} is handed out after its end");
        part.attempts += 1;
        hold!(ticket.attempt == part.attempts, "{ticket} is hand-out {}", part.attempts);
        part.key = Some(out.key.clone());
        let holders = part.live.len();
        let silent = part.live.first().is_some_and(|(holder, _)| silent.contains(holder));
        hold!(part.live.iter().all(|(holder, _)| *holder != id), "{id} has the part of {ticket} already");
        part.live.push((id, ticket.attempt));
        match (holders, &flow.policy.hedge) {
            (0, _) => flow.first_hand_outs += 1,
            (1, _) if silent => flow.rescues += 1,
            (1, Some(hedge)) => {
                flow.hedges += 1;
                let earned = flow.first_hand_outs * u64::from(hedge.extra.per_mille());
                hold!(flow.hedges * 1000 <= earned, "{ticket} is hedge {} of {earned}/1000", flow.hedges);
            }
            _ => return Err(format!("invariant 3: {holders} lanes have the part of {ticket} already")),
        }
        self.seen.hand_outs += 1;
        self.seen.hedges += u64::from(holders == 1 && !silent);
        self.seen.rescues += u64::from(holders == 1 && silent);
        Ok(())
    }
}
