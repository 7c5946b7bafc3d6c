//! What a connection carries, as bytes of bodies a second, measured on the bodies that are sent anyway.
//!
//! A link that has nothing to carry tells nothing, so only time with a body under way counts. A **stretch**
//! begins when the first body is handed to QUIC and ends when the last one under way was acknowledged; a long
//! one is cut as it goes. Bodies side by side share a stretch, so the sum is that of the link and not of one
//! of them.
//!
//! Every disturbance makes a stretch look slower than the link: a late acknowledgement, a busy machine, a
//! window that is still growing. So a faster stretch counts for more than a slower one.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A stretch that never ends, since the link is never idle, is cut after this.
const STRETCH: Duration = Duration::from_millis(100);
/// A stretch with less is no measure: it fits the first window, so its time is all round trip.
const LEAST_BYTES: u64 = 8 << 10;
/// A faster stretch moves the estimate by this share of the difference.
const RISE: f64 = 0.5;
/// A slower stretch moves the estimate by this share of the difference: a link that has lost nine tenths of
/// its speed is known after a dozen stretches, and one lost packet is forgotten after two.
const FALL: f64 = 0.2;
/// What was learnt so long ago is not known any more.
const KNOWN_FOR: Duration = Duration::from_secs(30);
/// No stretch counts as shorter. It bounds the estimate where clocks and round trip leave nothing.
const LEAST_TIME: Duration = Duration::from_micros(100);

/// The meter of one connection. One lock, held for some arithmetic.
#[derive(Debug, Default)]
pub(super) struct Goodput(Mutex<Estimate>);

/// A body under way. Dropped before it arrived, its bytes are not counted.
#[derive(Debug)]
pub(super) struct Trip<'a> {
    meter: &'a Goodput,
    bytes: Option<u64>,
}

impl Goodput {
    fn estimate(&self) -> MutexGuard<'_, Estimate> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A body of so many bytes is handed to QUIC now.
    pub(super) fn depart(&self, bytes: usize, rtt: Duration) -> Trip<'_> {
        self.estimate().depart(rtt, Instant::now());
        Trip { meter: self, bytes: Some(bytes as u64) }
    }

    /// Bytes a second, where something was measured lately.
    pub(super) fn bytes_per_s(&self) -> Option<f64> {
        self.estimate().get(Instant::now())
    }
}

impl Trip<'_> {
    /// All of the body is known to have arrived by now.
    pub(super) fn arrived(mut self) {
        if let Some(bytes) = self.bytes.take() {
            self.meter.estimate().arrive(Some(bytes), Instant::now());
        }
    }
}

impl Drop for Trip<'_> {
    fn drop(&mut self) {
        if self.bytes.is_some() {
            self.meter.estimate().arrive(None, Instant::now());
        }
    }
}

/// The arithmetic, without a clock.
#[derive(Debug, Default)]
struct Estimate {
    bytes_per_s: f64,
    learnt_at: Option<Instant>,
    /// Bodies under way.
    under_way: u32,
    /// The current stretch: since when, the bytes that arrived in it, and the round trip it began with.
    since: Option<Instant>,
    bytes: u64,
    lead: Duration,
    /// Of all round trips; the current one contains the queue that our own bodies make.
    least_rtt: Option<Duration>,
}

impl Estimate {
    fn depart(&mut self, rtt: Duration, now: Instant) {
        let least = self.least_rtt.map_or(rtt, |least| least.min(rtt));
        self.least_rtt = Some(least);
        if self.under_way == 0 {
            (self.since, self.bytes, self.lead) = (Some(now), 0, least);
        }
        self.under_way += 1;
    }

    /// A body arrived, or was given up.
    fn arrive(&mut self, bytes: Option<u64>, now: Instant) {
        self.under_way = self.under_way.saturating_sub(1);
        let Some(since) = self.since else { return };
        let Some(bytes) = bytes else {
            // How much of it was carried is unknown, so this stretch says nothing.
            (self.since, self.bytes) = (Some(now), 0);
            return;
        };
        self.bytes += bytes;
        let took = now.saturating_duration_since(since);
        if self.under_way > 0 && took < STRETCH {
            return;
        }
        if self.bytes >= LEAST_BYTES {
            // With a round trip of 100 ms, a body that takes 101 says little about the rest of 1 ms.
            let least = LEAST_TIME.max(self.lead / 8);
            self.learn(self.bytes as f64 / took.saturating_sub(self.lead).max(least).as_secs_f64(), now);
        }
        (self.since, self.bytes, self.lead) = (Some(now), 0, Duration::ZERO);
    }

    fn learn(&mut self, bytes_per_s: f64, now: Instant) {
        self.bytes_per_s = match self.get(now) {
            None => bytes_per_s,
            Some(known) => known + (bytes_per_s - known) * if bytes_per_s > known { RISE } else { FALL },
        };
        self.learnt_at = Some(now);
    }

    fn get(&self, now: Instant) -> Option<f64> {
        let learnt_at = self.learnt_at?;
        (now.saturating_duration_since(learnt_at) <= KNOWN_FOR).then_some(self.bytes_per_s)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const BODY: u64 = 200_000;

    /// One body after the other over a link of this speed, with pauses.
    fn one_by_one(
        estimate: &mut Estimate,
        mut now: Instant,
        n: usize,
        mb_per_s: f64,
        pause: Duration,
    ) -> Instant {
        for _ in 0..n {
            now += pause;
            estimate.depart(20 * MS, now);
            now += 20 * MS + Duration::from_secs_f64(BODY as f64 / mb_per_s / 1e6);
            estimate.arrive(Some(BODY), now);
        }
        now
    }

    fn near(estimate: &Estimate, now: Instant, mb_per_s: f64) {
        let found = estimate.get(now).unwrap() / 1e6;
        assert!((found / mb_per_s - 1.0).abs() < 0.1, "{found} MB/s, not {mb_per_s}");
    }

    #[test]
    fn nothing_is_known_before_the_first_body_and_long_after_the_last() {
        let (mut estimate, now) = (Estimate::default(), Instant::now());
        assert_eq!(estimate.get(now), None);
        let now = one_by_one(&mut estimate, now, 1, 10.0, MS);
        near(&estimate, now, 10.0);
        near(&estimate, now + KNOWN_FOR, 10.0);
        assert_eq!(estimate.get(now + KNOWN_FOR + MS), None);
    }

    #[test]
    fn an_idle_link_is_not_a_slow_one() {
        let (mut estimate, now) = (Estimate::default(), Instant::now());
        let now = one_by_one(&mut estimate, now, 20, 50.0, 900 * MS);
        near(&estimate, now, 50.0);
    }

    #[test]
    fn bodies_side_by_side_share_what_the_link_carries() {
        let (mut estimate, mut now) = (Estimate::default(), Instant::now());
        // Four at a time, always: the link is never idle.
        for _ in 0..4 {
            estimate.depart(20 * MS, now);
        }
        for _ in 0..200 {
            now += 20 * MS;
            estimate.arrive(Some(BODY), now);
            estimate.depart(20 * MS, now);
        }
        near(&estimate, now, 10.0);
    }

    #[test]
    fn it_follows_the_link_down_and_up() {
        let (mut estimate, now) = (Estimate::default(), Instant::now());
        let now = one_by_one(&mut estimate, now, 20, 100.0, 20 * MS);
        let now = one_by_one(&mut estimate, now, 1, 1.0, 20 * MS);
        assert!(estimate.get(now).unwrap() > 50e6, "one hiccup is not believed");
        let now = one_by_one(&mut estimate, now, 12, 1.0, 20 * MS);
        assert!(estimate.get(now).unwrap() < 10e6, "a dozen are");
        let now = one_by_one(&mut estimate, now, 4, 100.0, 20 * MS);
        assert!(estimate.get(now).unwrap() > 70e6, "{:?}", estimate.get(now));
    }

    #[test]
    fn late_acknowledgements_do_not_hide_a_fast_link() {
        let (mut estimate, mut now) = (Estimate::default(), Instant::now());
        for n in 0..100 {
            now += 20 * MS;
            estimate.depart(MS, now);
            now += MS + MS / 2 + if n % 3 == 0 { Duration::ZERO } else { 5 * MS };
            estimate.arrive(Some(30_000), now);
        }
        // 30 kB in half a millisecond, every third time.
        assert!(estimate.get(now).unwrap() > 25e6, "{:?}", estimate.get(now));
    }

    #[test]
    fn small_and_cancelled_bodies_teach_nothing() {
        let (mut estimate, mut now) = (Estimate::default(), Instant::now());
        for _ in 0..10 {
            now += MS;
            estimate.depart(MS, now);
            estimate.depart(MS, now);
            now += 300 * MS;
            estimate.arrive(Some(100), now);
            estimate.arrive(None, now);
        }
        assert_eq!((estimate.get(now), estimate.under_way), (None, 0));
    }

    #[test]
    fn a_growing_round_trip_is_not_taken_for_speed() {
        let (mut estimate, mut now) = (Estimate::default(), Instant::now());
        // The queue of a link of 1 MB/s: the round trip that is measured contains our own bodies.
        for n in 0..20u32 {
            estimate.depart(if n == 0 { 2 * MS } else { 200 * MS }, now);
            now += 202 * MS;
            estimate.arrive(Some(BODY), now);
        }
        near(&estimate, now, 1.0);
    }
}
