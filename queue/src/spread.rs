//! How the times that a key's work takes are spread, so that the slowest of them can be told.
//!
//! Times are counted in buckets, eight for each doubling, so a time is known to an eighth at any scale.
//! Counts are halved whenever they have doubled, and every minute: what is long ago weighs little, and
//! a key that has not been used for long knows nothing.

use std::time::{Duration, Instant};

use crate::policy::Share;

/// Buckets of one doubling.
const FINE: u64 = 8;
/// Times above this many nanoseconds, an hour and more, count as this.
const LONGEST: u64 = (1 << 42) - 1;
const BUCKETS: usize = bucket(LONGEST) + 1;
/// At this many answers the counts are halved: enough of them for the slowest thousandth to be seen,
/// few enough that a key that has become slower is believed after some dozen answers.
const WINDOW: u32 = 2048;
/// The counts halve in this time too. A key with two answers a second still tells its slowest percent.
const HALF_LIFE: Duration = Duration::from_secs(60);

/// The times of one pool.
#[derive(Debug)]
pub(crate) struct Spread {
    counts: [u16; BUCKETS],
    total: u32,
    halved: Option<Instant>,
}

impl Spread {
    pub(crate) fn new() -> Self {
        Self { counts: [0; BUCKETS], total: 0, halved: None }
    }

    /// Learns from one hand-out.
    pub(crate) fn learn(&mut self, took: Duration, now: Instant) {
        self.decay(now);
        if self.total >= WINDOW {
            self.halve();
        }
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(LONGEST).min(LONGEST);
        self.counts[bucket(nanos)] += 1;
        self.total += 1;
    }

    /// The time that all but the slowest `share` of hand-outs stay below. `None` before there were so
    /// many answers that one of them is expected to be among the slowest.
    pub(crate) fn slowest(&mut self, share: Share, now: Instant) -> Option<Duration> {
        self.decay(now);
        let above = self.total * u32::from(share.per_mille()) / 1000;
        if above == 0 {
            return None;
        }
        let mut seen = 0;
        let at = self.counts.iter().rposition(|&count| {
            seen += u32::from(count);
            seen >= above
        })?;
        Some(Duration::from_nanos(end(at)))
    }

    fn decay(&mut self, now: Instant) {
        let halved = *self.halved.get_or_insert(now);
        let halvings = now.saturating_duration_since(halved).as_nanos() / HALF_LIFE.as_nanos();
        if halvings == 0 {
            return;
        }
        // Sixteen halvings leave nothing of any count.
        for _ in 0..halvings.min(16) {
            self.halve();
        }
        self.halved = Some(now);
    }

    fn halve(&mut self) {
        self.total = 0;
        for count in &mut self.counts {
            *count /= 2;
            self.total += u32::from(*count);
        }
    }
}

/// The bucket of a time.
const fn bucket(nanos: u64) -> usize {
    if nanos < FINE {
        return nanos as usize;
    }
    let doublings = nanos.ilog2() - FINE.ilog2();
    (doublings as u64 * FINE + (nanos >> doublings)) as usize
}

/// The first time, in nanoseconds, that is above all of a bucket.
fn end(bucket: usize) -> u64 {
    let next = bucket as u64 + 1;
    match (next / FINE).checked_sub(1) {
        None => next,
        Some(doublings) => (FINE + next % FINE) << doublings,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn percent(percent: u16) -> Share {
        Share::percent(percent).unwrap()
    }

    #[test]
    fn every_time_lies_below_the_end_of_its_bucket_and_not_far() {
        for shift in 0..42 {
            for nanos in [1_u64 << shift, (1 << shift) + 1, (1 << (shift + 1)) - 1] {
                let end = end(bucket(nanos));
                assert!(end > nanos && end - nanos <= nanos / FINE + 1, "{nanos} ends at {end}");
            }
        }
        assert_eq!(bucket(LONGEST) + 1, BUCKETS);
    }

    #[test]
    fn the_slowest_are_told_from_the_rest() {
        let now = Instant::now();
        let mut spread = Spread::new();
        for each in 0..1000 {
            let slow = each % 50 == 0;
            spread.learn(if slow { 400 * MS } else { 20 * MS }, now);
        }
        let one = spread.slowest(percent(1), now).unwrap();
        assert!(one > 400 * MS && one <= 460 * MS, "{one:?}");
        let three = spread.slowest(percent(3), now).unwrap();
        assert!(three > 20 * MS && three <= 23 * MS, "{three:?}");
    }

    #[test]
    fn a_few_answers_do_not_tell_the_slowest() {
        let now = Instant::now();
        let mut spread = Spread::new();
        for answers in 1..=100 {
            assert_eq!(spread.slowest(percent(1), now), None, "after {} answers", answers - 1);
            spread.learn(20 * MS, now);
        }
        assert!(spread.slowest(percent(1), now).is_some());
    }

    #[test]
    fn what_is_long_ago_is_forgotten_by_answers_and_by_time() {
        let start = Instant::now();
        let mut spread = Spread::new();
        let learn = |spread: &mut Spread, millis: u32, answers: u32| {
            (0..answers).for_each(|_| spread.learn(millis * MS, start));
            spread.slowest(percent(5), start).unwrap()
        };
        assert!(learn(&mut spread, 20, 5000) < 25 * MS);
        assert!(learn(&mut spread, 200, 200) > 200 * MS, "slower is believed soon");
        assert!(learn(&mut spread, 20, 10_000) < 25 * MS, "and faster after a while");
        assert!(spread.slowest(percent(5), start + 2 * HALF_LIFE).is_some());
        assert_eq!(spread.slowest(percent(5), start + 20 * HALF_LIFE), None);
    }
}
