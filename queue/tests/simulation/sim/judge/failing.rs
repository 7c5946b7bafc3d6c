//! What is held of lanes that fail: others come before them, and they get probes while others work.
//!
//! From outside it is known for sure that a lane is held back where it failed a part that had not failed
//! before and has not answered one since, and that one is sound which never failed since it answered. Where it
//! is not known, nothing is held.

use std::time::{Duration, Instant};

use framelane_queue::{Key, LaneId, Ticket, WorkerId};

use super::{Judge, Lane, Verdicts};

/// The shortest rest of a lane that failed.
const REST: Duration = Duration::from_millis(20);

/// A key, and the worker to which the flow is pinned.
pub(super) type At = (Key, Option<WorkerId>);

impl Lane {
    /// It works on what it gets at this key, and has never failed since it answered.
    fn is_sound(&self, at: &At, within: Duration, now: Instant) -> bool {
        self.works(at, within, now) && !self.may_fail.contains(at)
    }

    /// It works on what it gets at this key.
    pub(super) fn works(&self, at: &At, within: Duration, now: Instant) -> bool {
        let serves = self.keys.iter().any(|known| known.key == at.0);
        let able = self.credit > 0 && !self.draining && !self.suspected && !self.is_overdue(within, now);
        let pinned = at.1.is_none_or(|pin| pin == self.worker);
        able && serves && pinned
    }
}

impl Judge {
    fn at(&self, ticket: Ticket) -> Option<At> {
        let flow = self.flows.get(&ticket.flow)?;
        let part = flow.places.get(&ticket.seq)?.parts.get(&ticket.part)?;
        Some((part.key.clone()?, flow.policy.pin))
    }

    /// A lane has failed a part, or not answered it in time, which is not `sure` to be held against it.
    pub(super) fn failed(&mut self, id: LaneId, ticket: Ticket, sure: bool, now: Instant) {
        let Some(at) = self.at(ticket) else { return };
        let first = self.part(ticket).is_some_and(|part| part.failures == 0);
        if let Some(part) = self.part(ticket) {
            part.failed_by = sure.then_some(id);
        }
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        let clean = lane.may_fail.insert(at.clone());
        let serves = lane.keys.iter().any(|known| known.key == at.0);
        // Where it may rest already, what it had before that tells nothing new.
        if sure && first && clean && serves && !lane.draining {
            lane.fails.insert(at, now);
        }
    }

    /// A lane has answered a part.
    pub(super) fn worked(&mut self, id: LaneId, ticket: Ticket) {
        let Some(at) = self.at(ticket) else { return };
        if let Some(lane) = self.lanes.get_mut(&id) {
            lane.may_fail.remove(&at);
            lane.fails.remove(&at);
        }
    }

    /// Whether a lane may have this part now, for a first time or again.
    pub(super) fn may_have(&mut self, id: LaneId, ticket: Ticket, at: &At, now: Instant) -> Verdicts {
        let within = self.release_within;
        let failed_by = self.part(ticket).and_then(|part| part.failed_by);
        let others = self.lanes.iter().filter(|(other, _)| **other != id);
        let mut sound = others.filter(|(_, lane)| lane.is_sound(at, within, now)).peekable();
        if sound.peek().is_none() {
            return Ok(());
        }
        let free = sound.find(|(_, lane)| (lane.held.len() as u32) < lane.credit);
        if let (Some(culprit), Some((free, _))) = (failed_by, free) {
            hold!(
                culprit != id,
                "invariant 7: {ticket} goes to {id}, which failed it, though {free} is free"
            );
        }
        if let Some(since) = self.lane(id)?.fails.get_mut(at) {
            hold!(now >= *since + REST, "invariant 7: {id} fails, and takes {ticket} from those who work");
            *since = now;
            self.seen.probes += 1;
        }
        Ok(())
    }
}
