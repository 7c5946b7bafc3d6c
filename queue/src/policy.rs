//! What a flow asks of the queue, as values with names.

use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use crate::id::WorkerId;

/// What happens to a newcomer when a flow already has `pending` unsettled places.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WhenFull {
    /// The newcomer is handed back and gets no number; `Room` tells when to try again.
    Refuse,
    /// The oldest place that no lane is working on is settled as `Missing(Evicted)`. Where lanes work
    /// on all of them the newcomer is admitted as `Missing(Evicted)`: work begun is work kept.
    DropOldest,
    /// The newcomer is admitted as `Missing(Evicted)`.
    DropNewest,
}

/// What happens to a part whose key no lane serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NoLane {
    /// It is settled at once as `Missing(NoLane)`: video flows without a worker.
    Pass,
    /// It waits for a lane, or for its deadline where there is one.
    Wait,
}

/// A share in thousandths: more than none, at most all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Share(u16);

impl Share {
    /// So many thousandths; `None` for 0 and above 1000.
    #[must_use]
    pub const fn of_1000(per_mille: u16) -> Option<Self> {
        match per_mille {
            1..=1000 => Some(Self(per_mille)),
            _ => None,
        }
    }

    /// So many hundredths; `None` for 0 and above 100.
    #[must_use]
    pub const fn percent(percent: u16) -> Option<Self> {
        match percent {
            1..=100 => Self::of_1000(10 * percent),
            _ => None,
        }
    }

    /// The share in thousandths, 1 to 1000.
    #[must_use]
    pub const fn per_mille(self) -> u16 {
        self.0
    }
}

/// Handing a part out a second time, to another lane, while the first hand-out takes long: the first
/// answer wins and the other ticket is cancelled. It cuts the tail of the time that parts take, for
/// some more work.
///
/// A hedge takes only a lane that nobody else wants: it comes after every first hand-out. A part whose
/// hand-out becomes slow while `extra` is used up is not hedged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Hedge {
    /// Which hand-outs are slow: those that take longer than all but this share of the key's did. A
    /// key is hedged once there were so many answers that one of them is expected to be that slow.
    pub slowest: Share,
    /// How many second hand-outs there may be, as a share of the first ones, so that lanes which all
    /// become slow get that much more work and not twice as much.
    pub extra: Share,
}

impl Hedge {
    /// The slowest so many percent, with room for twice as many, so that a bad moment does not use it up at
    /// once; `None` for 0 and above 100.
    #[must_use]
    pub const fn slowest_percent(percent: u16) -> Option<Self> {
        let Some(slowest) = Share::percent(percent) else {
            return None;
        };
        let twice = 2 * slowest.per_mille();
        Some(Self { slowest, extra: Share(if twice > 1000 { 1000 } else { twice }) })
    }
}

impl Default for Hedge {
    /// The slowest percent, with room for twice as many.
    fn default() -> Self {
        const { Self::slowest_percent(1).expect("1 is a percentage") }
    }
}

/// The policy of one flow, fixed when it is opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// The most unsettled places; at this number `when_full` decides.
    pub pending: NonZeroUsize,
    /// The most untaken places, settled or not; at this number a newcomer is always refused, because
    /// the one who takes is behind and dropping work would not help.
    pub held: NonZeroUsize,
    /// What happens at `pending`.
    pub when_full: WhenFull,
    /// How long after `captured_at` a place must be settled; `None` never gives up.
    pub budget: Option<Duration>,
    /// How many failures end a part as `Missing(Failed)`; `None` tries for ever.
    pub attempts: Option<NonZeroU32>,
    /// How long a part rests after a failure before it is handed out again; `None` is at once.
    pub retry_after: Option<Duration>,
    /// How long a lane may take over a hand-out. Then it is cancelled and counts as a failure: the part is
    /// tried again, a later answer is stale, and a lane that does not let go is lost. It is what ends the
    /// wait for a worker that is heard and never answers. `None` waits for as long as the lane lives, which
    /// is right where work has no usual length, or a budget ends it.
    pub answer_within: Option<Duration>,
    /// What happens where no lane serves a part's key.
    pub no_lane: NoLane,
    /// Hand out to this worker only.
    pub pin: Option<WorkerId>,
    /// The flow's share of lanes beside other flows: twice the weight, twice the hand-outs.
    pub weight: NonZeroU32,
    /// Whether slow hand-outs get a second one beside them; `None` never does.
    pub hedge: Option<Hedge>,
}

/// Unsettled places of a video flow: a third of a second at 25 a second. More would only queue frames
/// that are late when their turn comes.
const VIDEO_PENDING: NonZeroUsize = NonZeroUsize::new(8).expect("8 is not 0");
/// Untaken places of a video flow: twice the pending ones, so that an output which hiccups for some
/// frames does not make the source refuse.
const VIDEO_HELD: NonZeroUsize = NonZeroUsize::new(16).expect("16 is not 0");
/// Two tries inside a video budget: a frame outlives one lost worker, and a poisonous one ends.
const VIDEO_ATTEMPTS: NonZeroU32 = NonZeroU32::new(2).expect("2 is not 0");
/// Unsettled places of a lossless flow: enough for some lanes of short tasks, each with hundreds under way.
/// Where items are long, fewer do, and memory counts: `pending` is there to be set.
const LOSSLESS_PENDING: NonZeroUsize = NonZeroUsize::new(1024).expect("1024 is not 0");
/// Untaken places of a lossless flow: answers behind a slow first one pile up here.
const LOSSLESS_HELD: NonZeroUsize = NonZeroUsize::new(4096).expect("4096 is not 0");

impl Policy {
    /// Live video: newest first, settled within `budget`, flowing with or without workers.
    #[must_use]
    pub fn video(budget: Duration) -> Self {
        Self {
            pending: VIDEO_PENDING,
            held: VIDEO_HELD,
            when_full: WhenFull::DropOldest,
            budget: Some(budget),
            attempts: Some(VIDEO_ATTEMPTS),
            retry_after: None,
            answer_within: None,
            no_lane: NoLane::Pass,
            pin: None,
            weight: NonZeroU32::MIN,
            hedge: None,
        }
    }

    /// Nothing is lost, whatever lanes die: the source waits, and every part is tried until it is answered.
    #[must_use]
    pub fn lossless() -> Self {
        Self {
            pending: LOSSLESS_PENDING,
            held: LOSSLESS_HELD,
            when_full: WhenFull::Refuse,
            budget: None,
            attempts: None,
            retry_after: None,
            answer_within: None,
            no_lane: NoLane::Wait,
            pin: None,
            weight: NonZeroU32::MIN,
            hedge: None,
        }
    }

    /// Nothing but the end of its lane ends a hand-out.
    pub(crate) fn is_unlimited(&self) -> bool {
        self.budget.is_none() && self.answer_within.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_more_than_none_and_at_most_all() {
        assert_eq!(Share::of_1000(0), None);
        assert_eq!(Share::of_1000(1001), None);
        assert_eq!(Share::percent(101), None);
        assert_eq!(Share::percent(100), Share::of_1000(1000));
        assert_eq!(Hedge::default().slowest.per_mille(), 10);
    }

    #[test]
    fn a_hedge_by_percent_has_room_for_twice_as_many_and_never_for_more_than_all() {
        let shares = |percent| {
            let hedge = Hedge::slowest_percent(percent)?;
            Some((hedge.slowest.per_mille(), hedge.extra.per_mille()))
        };
        assert_eq!([0, 101].map(shares), [None, None]);
        assert_eq!([1, 50, 100].map(shares), [Some((10, 20)), Some((500, 1000)), Some((1000, 1000))]);
    }
}
