//! Lanes that fail: whom they are held against, for how long, and who gets what meanwhile.

use std::cmp::Reverse;
use std::time::{Duration, Instant};

use framelane_queue::{Key, LaneId, Ticket, WorkerId};

use super::rules::Model;
use super::state::{Lane, Part};

/// Failures of a lane at a key, in flows with one pin, since its last answer there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mark {
    failures: u8,
    /// It has had a part since its last failure.
    probing: bool,
    /// Until when it comes after all others; then it is due for one part like any other.
    rests_until: Option<Instant>,
}

impl Lane {
    fn rests(&self, key: &Key, pin: Option<WorkerId>) -> Option<Mark> {
        let mark = self.marks.get(&(key.clone(), pin)).copied();
        mark.filter(|mark| mark.rests_until.is_some())
    }
}

impl Model {
    /// A lane with room may have a part of this key, in a flow that is pinned so.
    pub(crate) fn could(&self, id: LaneId, key: &Key, pin: Option<WorkerId>) -> bool {
        let lane = &self.lanes[&id];
        let sound = |lane: &Lane| {
            let able = lane.credit > 0 && !lane.draining && !lane.suspected;
            able && lane.serves(key, pin) && !lane.marks.contains_key(&(key.clone(), pin))
        };
        let held_back = lane.rests(key, pin).is_some() && self.lanes.values().any(sound);
        lane.room() > 0 && lane.serves(key, pin) && !held_back
    }

    /// Where a lane stands among those that could have a part; `again` where it may have failed it.
    pub(crate) fn stands(
        &self,
        id: LaneId,
        part: &Part,
        pin: Option<WorkerId>,
        again: bool,
    ) -> (Reverse<usize>, Reverse<u8>, Option<bool>, u32) {
        let lane = &self.lanes[&id];
        let culprit = part.failed_by.filter(|_| again);
        let far = match culprit {
            Some((culprit, _)) if culprit == id => 2,
            Some((_, worker)) if worker == lane.worker => 1,
            _ => 0,
        };
        let failures = lane.rests(&part.key, pin).map_or(0, |mark| mark.failures);
        (Reverse(far), Reverse(failures), lane.warm(&part.key), lane.room())
    }

    /// A part has failed. It is held against the lane where it is the first time.
    pub(crate) fn blame(&mut self, ticket: Ticket, culprit: (LaneId, WorkerId)) {
        let pin = self.flows[&ticket.flow].policy.pin;
        let now = self.now;
        let part = self.part(ticket.flow, ticket.seq, ticket.part);
        part.charged += 1;
        part.failed_by = Some(culprit);
        let (first, key) = (part.charged == 1, part.key.clone());
        if let Some(lane) = self.lanes.get_mut(&culprit.0).filter(|lane| first && lane.serves(&key, pin)) {
            let none = Mark { failures: 0, probing: false, rests_until: None };
            let mark = lane.marks.entry((key, pin)).or_insert(none);
            // What it had before it rested tells nothing new.
            if mark.rests_until.is_some() && !mark.probing {
                return;
            }
            mark.probing = false;
            mark.failures = (mark.failures + 1).min(5);
            mark.rests_until = Some(now + rest(*mark));
        }
    }

    /// A lane has got a part: a probe, where it is due for one.
    pub(crate) fn probe(&mut self, id: LaneId, key: &Key, pin: Option<WorkerId>) {
        let now = self.now;
        let lane = self.lanes.get_mut(&id).expect("a lane that is there");
        if let Some(mark) = lane.marks.get_mut(&(key.clone(), pin)).filter(|mark| mark.rests_until.is_none())
        {
            mark.probing = true;
            mark.rests_until = Some(now + rest(*mark));
        }
    }

    /// A lane has answered.
    pub(crate) fn is_sound(&mut self, id: LaneId, ticket: Ticket) {
        let pin = self.flows[&ticket.flow].policy.pin;
        let key = self.part(ticket.flow, ticket.seq, ticket.part).key.clone();
        self.lanes.get_mut(&id).expect("a lane that is there").marks.remove(&(key, pin));
    }

    /// The end of each rest.
    pub(crate) fn rests(&self) -> impl Iterator<Item = (LaneId, Instant)> {
        self.lanes
            .iter()
            .flat_map(|(&id, lane)| lane.marks.values().filter_map(move |mark| Some((id, mark.rests_until?))))
    }

    /// The rests of a lane that are over by now.
    pub(crate) fn rested(&mut self, id: LaneId, at: Instant) {
        let lane = self.lanes.get_mut(&id).expect("a lane that is there");
        for mark in lane.marks.values_mut().filter(|mark| mark.rests_until == Some(at)) {
            mark.rests_until = None;
        }
    }
}

fn rest(mark: Mark) -> Duration {
    Duration::from_millis(20) * 4_u32.pow(u32::from(mark.failures) - 1)
}
