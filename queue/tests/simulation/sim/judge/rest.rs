//! What holds between steps, at rest, and at the end.

use std::time::Instant;

use framelane_queue::{LaneId, Policy, Ticket};

use super::{Judge, Lane, Place, Queue, Verdicts};

impl Judge {
    /// How many steps there may be before the queue waits.
    pub(crate) fn bound(&self) -> usize {
        let lanes = self.lanes.values();
        let lanes: usize = lanes.map(|lane| 3 + 2 * lane.held.len() + lane.credit as usize).sum();
        let flows: usize = self.flows.values().map(|flow| 4 + flow.rooms as usize + flow.places.len()).sum();
        16 + 2 * (lanes + flows)
    }

    /// What holds after every call and every step.
    pub(crate) fn balanced(&self, queue: &Queue) -> Verdicts {
        for (id, flow) in &self.flows {
            let Some(books) = queue.books(*id) else {
                hold!(flow.closed, "the books of {id} are gone");
                continue;
            };
            books.balances().map_err(|what| format!("invariant 2: {id}: {what}"))?;
            let gone = books.answered + books.not_asked + books.missing.total();
            hold!(
                (books.admitted, gone, books.held) == (flow.admitted, flow.gone, flow.places.len() as u64),
                "invariant 2: {id}: {} in, {} out, and the books say {books:?}",
                flow.admitted,
                flow.gone
            );
            hold!(books.parts.hedged == flow.hedges, "invariant 2: {} hedges of {id}", flow.hedges);
            hold!(books.parts.rescued == flow.rescues, "invariant 2: {} rescues of {id}", flow.rescues);
            let (held, pending) = (flow.policy.held.get() as u64, flow.policy.pending.get() as u64);
            hold!(books.held <= held && books.pending <= pending, "invariant 8: {id}: {books:?}");
        }
        Ok(())
    }

    /// What holds once the queue waits.
    pub(crate) fn at_rest(&self, queue: &Queue, until: Option<Instant>, now: Instant) -> Verdicts {
        hold!(until.is_none_or(|until| until > now), "invariant 4: Wait names a moment that is over");
        hold!(queue.lanes().count() == self.lanes.len(), "invariant 8: there are other lanes");
        for (id, lane) in &self.lanes {
            let view = queue.lane(*id).ok_or_else(|| format!("{id} is gone and nobody was told"))?;
            hold!(
                view.outstanding as usize == lane.held.len(),
                "invariant 2: {id} holds {} and is said to hold {}",
                lane.held.len(),
                view.outstanding
            );
            hold!(view.suspected == lane.suspected, "invariant 7: {id} is said to be heard, or not");
            let told = lane.held.values().flatten().filter(|_| !lane.suspected);
            let overdue = told.map(|told| *told + self.release_within).min();
            hold!(overdue.is_none_or(|at| until.is_some_and(|until| until <= at)), "invariant 4: {id} hangs");
            for (ticket, _) in lane.held.iter().filter(|(_, told)| told.is_none()) {
                let due = lane.due.get(ticket);
                let wakes = due.is_none_or(|due| *due > now && until.is_some_and(|until| until <= *due));
                hold!(wakes, "invariant 7: {id} may keep {ticket} for longer than its flow allows");
                let place = self.flows.get(&ticket.flow).and_then(|flow| flow.places.get(&ticket.seq));
                hold!(place.is_none_or(|place| !place.over), "{id} is not told that nobody wants {ticket}");
            }
            let drained = lane.draining && lane.held.is_empty();
            hold!(drained == lane.drained, "invariant 4: {id} is drained and nobody was told");
        }
        for (id, lane) in self.lanes.iter().filter(|(_, lane)| lane.suspected) {
            for (ticket, _) in lane.held.iter().filter(|(_, told)| told.is_none()) {
                hold!(
                    !self.is_stranded(*id, ticket, now),
                    "invariant 7: {ticket} is left to {id}, which is silent"
                );
            }
        }
        for (id, flow) in &self.flows {
            hold!(flow.rooms == 0, "invariant 4: {} offers of {id} wait for Room", flow.rooms);
            let over = flow.ending && flow.places.is_empty();
            hold!(over == flow.closed, "invariant 5: {id} is at its end and not closed");
            let in_time =
                |place: &&Place| !place.over && place.deadline.is_none_or(|deadline| now < deadline);
            let may_wait = flow.places.values().filter(in_time).count() as u64;
            let pending = queue.books(*id).map_or(0, |books| books.pending);
            hold!(pending <= may_wait, "invariant 7: {pending} pending in {id}, {may_wait} are in time");
            // What is not ready is not settled: its deadline must wake the queue.
            let head = flow.places.values().next().filter(|_| !flow.ready);
            hold!(head.is_none_or(|head| !head.over), "invariant 4: {id} is ready and nobody was told");
            if let Some(deadline) = head.and_then(|head| head.deadline) {
                let wakes = until.is_some_and(|until| until <= deadline);
                hold!(wakes && deadline > now, "invariant 7: {id} sleeps past its deadline");
            }
        }
        Ok(())
    }

    /// Only this silent lane has the part, though it could be tried again, and another lane is free for it.
    fn is_stranded(&self, holder: LaneId, ticket: &Ticket, now: Instant) -> bool {
        let Some(flow) = self.flows.get(&ticket.flow) else { return false };
        let Policy { budget, attempts, retry_after, pin, .. } = flow.policy;
        let part = flow.places.get(&ticket.seq).and_then(|place| place.parts.get(&ticket.part));
        let Some(part) = part.filter(|part| part.live.iter().map(|(lane, _)| *lane).eq([holder])) else {
            return false;
        };
        // Where there is a budget a second lane may be too slow; a failed part may have to rest.
        let may = budget.is_none()
            && attempts.is_none_or(|most| part.failures < most.get())
            && (part.failures == 0 || retry_after.is_none());
        let Some(key) = part.key.clone() else { return false };
        let at = (key, pin);
        let working = self.lanes.values().filter(|lane| lane.works(&at, self.release_within, now)).count();
        let free = |lane: &Lane| {
            // One that failed lately may have to rest, beside one that is only busy.
            let rests = working > 1 && lane.may_fail.contains(&at);
            !rests
                && !lane.draining
                && !lane.suspected
                && (lane.held.len() as u32) < lane.credit
                && lane.keys.iter().any(|known| known.key == at.0)
                && pin.is_none_or(|pin| pin == lane.worker)
        };
        may && self.lanes.values().any(free)
    }

    /// What holds when all is over.
    pub(crate) fn over(&self) -> Verdicts {
        for (id, flow) in &self.flows {
            hold!(flow.closed, "invariant 5: {id} does not end, with {} places", flow.places.len());
        }
        for (id, lane) in &self.lanes {
            hold!(lane.held.is_empty(), "invariant 2: {id} still holds {:?}", lane.held);
        }
        Ok(())
    }
}
