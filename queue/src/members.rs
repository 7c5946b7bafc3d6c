//! The lanes of one pool: which of them have room, which failed lately, and which is to have the next part.
//!
//! A lane that fails whatever it gets is free again at once, so it would have the most room of all and get
//! every part before any other. So a lane whose latest word was a failure **rests**: it comes after all
//! others, and while there is a sound one, which is able to work and has not failed, it gets nothing. At the
//! end of its rest it may have one part like any other, a probe, and rests anew until it is heard of that
//! one: an answer makes it sound, another failure makes its rests longer. No rest is for ever, so nothing
//! waits for ever for a sound lane that is only busy. Where no lane is sound, none is held back: then it
//! may be the work that fails.

use std::cmp::Reverse;
use std::time::{Duration, Instant};

use crate::id::LaneId;
use crate::slots::At;

/// The rest after one failure. About as long as a part takes, so that a part which failed mostly finds a
/// sound lane that was busy; much longer would idle lanes for the one job in a hundred that fails anyway.
const FIRST_REST: Duration = Duration::from_millis(20);
/// Each further failure makes the rest so many times longer.
const LONGER: u32 = 4;
/// From so many failures on, rests are no longer than before: 5.12 s. So much later, at most, a lane that is
/// well again has work.
const WORST: u8 = 5;

fn rest(failures: u8) -> Duration {
    FIRST_REST * LONGER.pow(u32::from(failures) - 1)
}

/// What is known of each lane, whatever its pools, by its index. Choosing the freest reads many, so it is
/// kept close together.
#[derive(Debug, Default)]
pub(crate) struct Standings {
    room: Vec<u32>,
    able: Vec<bool>,
}

impl Standings {
    fn room_of(&self, lane: At<LaneId>) -> u32 {
        self.room.get(lane.index()).copied().unwrap_or(0)
    }

    fn is_able(&self, lane: At<LaneId>) -> bool {
        self.able.get(lane.index()).copied().unwrap_or(false)
    }

    /// Notes how many more tickets a lane may hold, and whether it is able to work: heard, and with credit,
    /// used up or not. Returns the change, unless it is one that makes no difference to any pool.
    #[inline]
    pub(crate) fn set(&mut self, lane: At<LaneId>, room: u32, able: bool) -> Option<Change> {
        if self.room.len() <= lane.index() {
            self.room.resize(lane.index() + 1, 0);
            self.able.resize(lane.index() + 1, false);
        }
        let had_room = std::mem::replace(&mut self.room[lane.index()], room) > 0;
        let was_able = std::mem::replace(&mut self.able[lane.index()], able);
        let changed = had_room != (room > 0) || was_able != able;
        changed.then_some(Change { had_room, has_room: room > 0 })
    }
}

/// What has changed of a lane.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Change {
    had_room: bool,
    has_room: bool,
}

/// What a pool holds against a lane.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mark {
    failures: u8,
    probing: bool,
    rests_until: Option<Instant>,
}

/// One lane. Small, because choosing the freest reads all of them.
#[derive(Debug)]
struct Member {
    lane: At<LaneId>,
    /// It is ready for the key at once.
    warm: bool,
    /// Failures since its last answer, [`WORST`] at most.
    failures: u8,
    resting: bool,
    /// It has a part that shall tell whether it is well again.
    probing: bool,
}

impl Member {
    /// The higher, the later it comes. One whose rest is over is due for a probe, so it comes with the sound.
    fn rank(&self) -> u8 {
        if self.resting { self.failures } else { 0 }
    }
}

/// All of them, the longest-serving first.
#[derive(Debug, Default)]
pub(crate) struct Members {
    all: Vec<Member>,
    /// How many have failed and not answered since. Mostly none, and then nothing below costs anything.
    marked: usize,
    /// Those that rest, and until when.
    rests: Vec<(At<LaneId>, Instant)>,
    /// There is a sound lane, so that those who rest get nothing.
    sound: bool,
    /// How many could get a part now.
    ready: usize,
}

impl Members {
    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Whether a lane could get a part now.
    #[inline]
    pub(crate) fn is_ready(&self) -> bool {
        self.ready > 0
    }

    pub(crate) fn add(&mut self, lane: At<LaneId>, warm: bool, standings: &Standings) {
        self.all.push(Member { lane, warm, failures: 0, resting: false, probing: false });
        self.recount(standings);
    }

    pub(crate) fn drop(&mut self, lane: At<LaneId>, standings: &Standings) {
        self.all.retain(|member| member.lane != lane);
        self.rests.retain(|&(other, _)| other != lane);
        self.recount(standings);
    }

    /// A lane has more or less room than before, or is able to work, or not any more.
    #[inline]
    pub(crate) fn changed(&mut self, change: Change, standings: &Standings) {
        if self.marked > 0 {
            self.recount(standings);
        } else {
            self.ready = self.ready + usize::from(change.has_room) - usize::from(change.had_room);
        }
    }

    /// The lane to hand out to, `but` for one: those first that are not `far`, then those that did not fail
    /// lately, then warm ones, then the one with the most room.
    #[inline]
    pub(crate) fn freest(
        &self,
        standings: &Standings,
        but: Option<At<LaneId>>,
        far: impl Fn(At<LaneId>) -> u8,
    ) -> Option<At<LaneId>> {
        let roomy = self.all.iter().filter(|&member| {
            self.may(member) && standings.room_of(member.lane) > 0 && Some(member.lane) != but
        });
        // `max_by_key` keeps the last of equals; reversed, the longest-serving lane wins.
        let best = roomy.rev().max_by_key(|&member| {
            let room = standings.room_of(member.lane);
            (Reverse(far(member.lane)), Reverse(member.rank()), member.warm, room)
        });
        best.map(|member| member.lane)
    }

    /// It is not held back.
    fn may(&self, member: &Member) -> bool {
        !(member.resting && self.sound)
    }

    /// A lane has failed: it rests. Returns until when; `None` where that is known already, since what it fails
    /// while it rests, but for a probe, it had before.
    pub(crate) fn failed(
        &mut self,
        lane: At<LaneId>,
        now: Instant,
        standings: &Standings,
    ) -> Option<Instant> {
        let member = self.member(lane)?;
        if member.resting && !member.probing {
            return None;
        }
        member.failures = (member.failures + 1).min(WORST);
        member.probing = false;
        self.rest(lane, now, standings)
    }

    /// A lane has got a part. Where that is a probe it rests meanwhile, and it is returned until when.
    #[inline]
    pub(crate) fn handed(
        &mut self,
        lane: At<LaneId>,
        now: Instant,
        standings: &Standings,
    ) -> Option<Instant> {
        if self.marked == 0 {
            return None;
        }
        let member = self.member(lane)?;
        if member.failures == 0 || member.resting {
            return None;
        }
        member.probing = true;
        self.rest(lane, now, standings)
    }

    /// A lane has answered: it is sound. Returns whether that may have changed anything.
    #[inline]
    pub(crate) fn answered(&mut self, lane: At<LaneId>, standings: &Standings) -> bool {
        if self.marked == 0 {
            return false;
        }
        if let Some(member) = self.member(lane) {
            member.failures = 0;
            member.probing = false;
        }
        self.rested(lane, standings);
        true
    }

    /// The rest of a lane is over.
    pub(crate) fn rested(&mut self, lane: At<LaneId>, standings: &Standings) {
        if let Some(member) = self.member(lane) {
            member.resting = false;
            self.rests.retain(|&(other, _)| other != lane);
            self.recount(standings);
        }
    }

    pub(crate) fn rests_until(&self, lane: At<LaneId>) -> Option<Instant> {
        let mut rests = self.rests.iter();
        rests.find_map(|&(other, until)| (other == lane).then_some(until))
    }

    /// What is held against a lane, for [`hold_against`](Self::hold_against) once it is here again.
    pub(crate) fn mark(&self, lane: At<LaneId>) -> Option<Mark> {
        let member = self.all.iter().find(|member| member.lane == lane && member.failures > 0)?;
        let (failures, probing) = (member.failures, member.probing);
        Some(Mark { failures, probing, rests_until: self.rests_until(lane) })
    }

    pub(crate) fn hold_against(&mut self, lane: At<LaneId>, mark: Mark, standings: &Standings) {
        if let Some(member) = self.member(lane) {
            (member.failures, member.probing) = (mark.failures, mark.probing);
            member.resting = mark.rests_until.is_some();
            self.rests.extend(mark.rests_until.map(|until| (lane, until)));
            self.recount(standings);
        }
    }

    fn member(&mut self, lane: At<LaneId>) -> Option<&mut Member> {
        self.all.iter_mut().find(|member| member.lane == lane)
    }

    fn rest(&mut self, lane: At<LaneId>, now: Instant, standings: &Standings) -> Option<Instant> {
        let member = self.member(lane)?;
        let until = now.checked_add(rest(member.failures));
        member.resting = until.is_some();
        self.rests.retain(|&(other, _)| other != lane);
        self.rests.extend(until.map(|until| (lane, until)));
        self.recount(standings);
        until
    }

    /// Counts anew what follows from the lanes.
    fn recount(&mut self, standings: &Standings) {
        self.marked = self.all.iter().filter(|member| member.failures > 0).count();
        self.sound = self.all.iter().any(|member| member.failures == 0 && standings.is_able(member.lane));
        let ready = |member: &&Member| self.may(member) && standings.room_of(member.lane) > 0;
        self.ready = self.all.iter().filter(ready).count();
    }
}
