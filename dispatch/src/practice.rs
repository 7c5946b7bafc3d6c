//! Whose turn it is to practise while the queue polls and there is no work; see [`wire::practice`].

use std::sync::Arc;
use std::time::{Duration, Instant};

use queue::LaneId;
use tokio::sync::Notify;

/// After so long without work or practice a lane practises: well before caches are cold, and a small share of what
/// polling costs.
const AFTER: Duration = Duration::from_micros(500);

/// The owner's side of practice.
pub(crate) struct Practice {
    /// When there was work or practice last.
    last: Instant,
    /// The lane that practised last.
    lane: Option<LaneId>,
}

impl Practice {
    pub(crate) fn new(now: Instant) -> Self {
        Practice { last: now, lane: None }
    }

    /// There is work.
    pub(crate) fn works(&mut self, now: Instant) {
        self.last = now;
    }

    /// Has one of these lanes practise where it is time: each in its turn, so that many lanes cost no more than one.
    /// A lane that is busy right now does not hear of it.
    pub(crate) fn ring<'a>(
        &mut self,
        lanes: impl Iterator<Item = (LaneId, &'a Arc<Notify>)> + Clone,
        now: Instant,
    ) {
        if now.saturating_duration_since(self.last) < AFTER {
            return;
        }
        self.last = now;
        let first =
            |lanes: &mut dyn Iterator<Item = (LaneId, &'a Arc<Notify>)>| lanes.min_by_key(|(lane, _)| *lane);
        let next = first(&mut lanes.clone().filter(|(lane, _)| Some(*lane) > self.lane));
        if let Some((lane, practice)) = next.or_else(|| first(&mut lanes.clone())) {
            self.lane = Some(lane);
            practice.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn each_has_its_turn_when_it_is_time_and_work_puts_it_off() {
        let bells = [1, 2, 3].map(|lane| (LaneId(lane), Arc::<Notify>::default()));
        let begin = Instant::now();
        let mut practice = Practice::new(begin);
        let rung = |at: Instant, practice: &mut Practice| -> Vec<u64> {
            let waiting = bells.each_ref().map(|(lane, bell)| (lane.0, bell.notified()));
            practice.ring(bells.iter().map(|(lane, bell)| (*lane, bell)), at);
            let rung = waiting.into_iter().filter_map(|(lane, bell)| bell.now_or_never().map(|()| lane));
            rung.collect()
        };
        assert!(rung(begin, &mut practice).is_empty());
        for (turn, lane) in [1, 2, 3, 1, 2].into_iter().enumerate() {
            let at = begin + AFTER * (turn as u32 + 1);
            assert_eq!(rung(at, &mut practice), [lane]);
            assert!(rung(at, &mut practice).is_empty(), "not twice");
        }
        let later = begin + 10 * AFTER;
        practice.works(later);
        assert!(rung(later + AFTER / 2, &mut practice).is_empty());
        assert_eq!(rung(later + AFTER, &mut practice), [3]);
    }
}
