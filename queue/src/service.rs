//! How long a key's work takes, as an estimate that leans towards "it can be done".
//!
//! It decides one thing only: a part whose remaining budget is below it is not handed out. Too high,
//! it would shut a key out; too low, it wastes a hand-out whose answer comes late. The first is the
//! worse, so the estimate rises slowly, falls fast, and decays while no answer comes.

use std::time::{Duration, Instant};

/// The estimate halves in this time without an answer: after one answer of ten seconds a key with a
/// budget of 0.2 s is tried again in about two seconds. Much longer shuts keys out; much shorter
/// forgets a slow model between two of its answers.
const HALF_LIFE: Duration = Duration::from_millis(500);
/// In less time than this the estimate is taken as it is: it would lose one part in seventy, and telling
/// that costs more than all else about an answer.
const NEGLIGIBLE: Duration = Duration::from_millis(10);
/// A slower answer moves the estimate by this share of the difference.
const RISE: f64 = 0.25;
/// A faster answer moves the estimate by this share of the difference.
const FALL: f64 = 0.5;
/// An answer moves the average by one part in so many of the difference.
const AVERAGE: u32 = 8;
/// A slower answer counts as at most this many times the estimate, so one hiccup is not believed.
const BELIEVED: f64 = 8.0;

/// The estimate of one pool.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Service {
    seconds: f64,
    at: Option<Instant>,
    /// What answers took lately on average. It neither decays nor leans to a side, and decides nothing.
    usual: Duration,
}

impl Service {
    /// Learns from one answer.
    pub(crate) fn learn(&mut self, took: Duration, now: Instant) {
        self.usual = match self.at {
            None => took,
            Some(_) => self.usual - self.usual / AVERAGE + took / AVERAGE,
        };
        let estimate = self.decayed(now);
        let mut took = took.as_secs_f64();
        if estimate > 0.0 {
            took = took.min(estimate * BELIEVED);
        }
        let share = if took > estimate { RISE } else { FALL };
        self.seconds = estimate + (took - estimate) * share;
        self.at = Some(now);
    }

    /// The estimate at this moment; zero while nothing is known.
    pub(crate) fn estimate(&self, now: Instant) -> Duration {
        Duration::from_secs_f64(self.decayed(now))
    }

    /// What answers took lately on average, however long ago that was; zero while nothing is known.
    pub(crate) fn usual(&self) -> Duration {
        self.usual
    }

    /// Whether work begun now can end within `left`.
    pub(crate) fn fits(&self, left: Duration, now: Instant) -> bool {
        // The estimate only decays, so most of the time its last value already says yes.
        let left = left.as_secs_f64();
        self.seconds <= left || self.decayed(now) <= left
    }

    fn decayed(&self, now: Instant) -> f64 {
        let Some(at) = self.at else { return 0.0 };
        let age = now.saturating_duration_since(at);
        if age < NEGLIGIBLE {
            return self.seconds;
        }
        let halvings = age.as_secs_f64() / HALF_LIFE.as_secs_f64();
        self.seconds * (-halvings).exp2()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn it_settles_near_steady_answers_and_never_above() {
        let mut now = Instant::now();
        let mut service = Service::default();
        for _ in 0..50 {
            now += 40 * MS;
            service.learn(40 * MS, now);
        }
        let estimate = service.estimate(now);
        assert!(estimate > 20 * MS && estimate <= 40 * MS, "{estimate:?}");
    }

    #[test]
    fn one_slow_answer_is_not_believed() {
        let now = Instant::now();
        let mut service = Service::default();
        for _ in 0..50 {
            service.learn(20 * MS, now);
        }
        service.learn(10_000 * MS, now);
        assert!(service.fits(100 * MS, now));
    }

    #[test]
    fn even_a_first_slow_answer_shuts_a_key_out_for_a_few_seconds_at_most() {
        let now = Instant::now();
        let mut service = Service::default();
        service.learn(10_000 * MS, now);
        assert!(!service.fits(200 * MS, now));
        assert!(service.fits(200 * MS, now + 3_000 * MS));
    }
}
