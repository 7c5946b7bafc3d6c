//! What was handed out again, and after whose loss.
//!
//! A recovery counts from the loss of the very connection that had the item. So each life of a worker has a
//! name of its own: one that was killed comes back under another name while its old connection is not known to
//! be dead yet, and an item may go to either.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use queue::LaneId;

use crate::outsider::name::worker_of;

/// When workers were lost, by [`crate::clock`]: killed, or gone by themselves.
#[derive(Clone, Default)]
pub(super) struct Losses(Arc<Mutex<HashMap<String, u64>>>);

impl Losses {
    /// Notes the end of a worker, or of one of its connections.
    pub(super) fn note(&self, name: String, at_us: u64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(name).or_insert(at_us);
    }

    /// How many there were.
    pub(super) fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// When the connection of this name was lost, or its worker with it, whichever came first.
    fn of(&self, name: &str) -> Option<u64> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        [name, worker_of(name)].into_iter().filter_map(|name| all.get(name).copied()).min()
    }
}

/// One hand-out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct HandOut {
    /// The connection that it went to.
    pub(super) lane: LaneId,
    /// When, by [`crate::clock`].
    pub(super) at_us: u64,
}

/// An item that had been handed out before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Again {
    /// Who had it last.
    pub(super) before: HandOut,
    /// Who got it now.
    pub(super) now: HandOut,
}

/// All that was handed out again, by its cause.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Recoveries {
    /// For each item whose worker was lost, milliseconds from the loss to the next hand-out.
    pub(super) ms: Vec<f64>,
    /// After how many losses.
    pub(super) losses: usize,
    /// Items that were taken from a worker that was not lost: it was not heard for a while, or failed, or
    /// took too long.
    pub(super) living: u64,
    /// Items of connections that nobody saw.
    pub(super) unknown: u64,
}

impl Recoveries {
    /// Of the coordinators one after the other: the names of their connections, and what was handed out again.
    pub(super) fn of<'a>(
        lives: impl IntoIterator<Item = (&'a HashMap<LaneId, String>, &'a [Again])>,
        losses: &Losses,
    ) -> Recoveries {
        let mut recoveries = Recoveries::default();
        let mut lost = HashSet::new();
        for (names, agains) in lives {
            for Again { before, now } in agains {
                let Some(name) = names.get(&before.lane) else {
                    recoveries.unknown += 1;
                    continue;
                };
                let loss = losses.of(name);
                tracing::debug!(
                    name,
                    to = names.get(&now.lane).map(String::as_str),
                    at_us = before.at_us,
                    again_us = now.at_us,
                    lost_us = loss,
                    "handed out again"
                );
                match loss.and_then(|loss| now.at_us.checked_sub(loss)) {
                    Some(us) => {
                        recoveries.ms.push(us as f64 / 1e3);
                        lost.insert(name.as_str());
                    }
                    None => recoveries.living += 1,
                }
            }
        }
        recoveries.losses = lost.len();
        recoveries
    }

    /// Those of another scenario too.
    pub(super) fn add(&mut self, more: &Recoveries) {
        self.ms.extend(&more.ms);
        self.losses += more.losses;
        self.living += more.living;
        self.unknown += more.unknown;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outsider::name::connection;

    const A: LaneId = LaneId(1);
    const B: LaneId = LaneId(2);
    const A_AGAIN: LaneId = LaneId(3);

    /// Worker a was killed at 1 s and came back as lane 3; the connection 0 of worker b was closed at 2 s.
    fn recoveries(before: (LaneId, u64), now: (LaneId, u64)) -> Recoveries {
        let losses = Losses::default();
        losses.note("a.0".into(), 1_000_000);
        losses.note(connection("b.0", 0), 2_000_000);
        let names = [(A, "a.0".into()), (B, connection("b.0", 0)), (A_AGAIN, "a.1".into())].into();
        let hand_out = |(lane, at_us)| HandOut { lane, at_us };
        let again = Again { before: hand_out(before), now: hand_out(now) };
        Recoveries::of([(&names, [again].as_slice())], &losses)
    }

    fn after(ms: f64) -> Recoveries {
        Recoveries { ms: vec![ms], losses: 1, ..Recoveries::default() }
    }

    fn from_the_living() -> Recoveries {
        Recoveries { living: 1, ..Recoveries::default() }
    }

    #[test]
    fn a_recovery_counts_from_the_loss_of_the_worker_that_had_the_item() {
        assert_eq!(recoveries((A, 990_000), (B, 1_200_000)), after(200.0), "in its hand");
        assert_eq!(recoveries((A, 1_100_000), (B, 1_200_000)), after(200.0), "given to a dead one");
        assert_eq!(recoveries((B, 900_000), (A_AGAIN, 2_000_300)), after(0.3), "another's loss lies between");
    }

    #[test]
    fn what_a_living_worker_had_is_counted_apart() {
        assert_eq!(recoveries((B, 1_100_000), (A, 1_200_000)), from_the_living(), "another's loss before");
        assert_eq!(recoveries((B, 1_100_000), (A, 1_900_000)), from_the_living(), "lost later");
        assert_eq!(recoveries((A_AGAIN, 1_300_000), (B, 3_000_000)), from_the_living(), "never lost");
    }

    #[test]
    fn a_worker_that_came_back_has_a_new_life_beside_the_old_one() {
        assert_eq!(recoveries((A_AGAIN, 1_100_000), (B, 1_150_000)), from_the_living());
        assert_eq!(recoveries((A, 1_100_000), (A_AGAIN, 1_250_000)), after(250.0), "to its own new life");
    }

    #[test]
    fn one_that_nobody_saw_is_told_from_the_living() {
        let unknown = Recoveries { unknown: 1, ..Recoveries::default() };
        assert_eq!(recoveries((LaneId(9), 1_100_000), (B, 1_150_000)), unknown);
    }

    #[test]
    fn a_connection_is_lost_with_its_worker() {
        let losses = Losses::default();
        losses.note("b.0".into(), 5);
        assert_eq!(losses.of(&connection("b.0", 3)), Some(5));
        losses.note(connection("b.0", 3), 4);
        assert_eq!(losses.of(&connection("b.0", 3)), Some(4), "closed before the worker died");
        assert_eq!(losses.of("b.1"), None);
    }

    #[test]
    fn losses_are_counted_once_each() {
        let losses = Losses::default();
        losses.note("a.0".into(), 10);
        let names = HashMap::from([(A, "a.0".to_owned())]);
        let again = Again { before: HandOut { lane: A, at_us: 5 }, now: HandOut { lane: B, at_us: 1010 } };
        let mut both = Recoveries::of([(&names, [again; 3].as_slice())], &losses);
        assert_eq!((both.ms.len(), both.losses), (3, 1));
        both.add(&after(2.0));
        assert_eq!((both.ms.len(), both.losses), (4, 2));
    }
}
