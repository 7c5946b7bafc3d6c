//! How long to wait for a broker that is not there, and how often to speak of it.

use std::time::{Duration, Instant};

use wire::broker::Error;

/// The first wait. Short, since a broker that starts again is mostly back in a second.
const FIRST: Duration = Duration::from_millis(100);
/// The longest.
const MOST: Duration = Duration::from_secs(5);
/// The same trouble is said again only so often.
const REPEAT: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
pub(super) struct Retry {
    tries: u32,
    said: Option<(String, Instant)>,
}

impl Retry {
    /// The next wait, of random length up to a bound that doubles: servers that lost one broker do not come
    /// back in step.
    pub(super) fn wait(&mut self) -> Duration {
        let bound = FIRST.saturating_mul(1 << self.tries.min(10)).min(MOST);
        self.tries = self.tries.saturating_add(1);
        bound.mul_f64(0.5 + fastrand::f64() / 2.0)
    }

    pub(super) fn worked(&mut self) {
        *self = Retry::default();
    }

    pub(super) fn failed(&mut self, error: &Error) {
        let text = error.to_string();
        let known = |(last, at): &(String, Instant)| *last == text && at.elapsed() < REPEAT;
        if !self.said.as_ref().is_some_and(known) {
            tracing::warn!(tries = self.tries + 1, "{text}; trying again for as long as it takes");
            self.said = Some((text, Instant::now()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_bound_for_ever() {
        let mut retry = Retry::default();
        for bound in [100, 200, 400] {
            let (wait, bound) = (retry.wait(), Duration::from_millis(bound));
            assert!(wait >= bound / 2 && wait <= bound, "{wait:?} of {bound:?}");
        }
        for _ in 0..100_000 {
            retry.wait();
        }
        assert!(retry.wait() >= MOST / 2 && retry.wait() <= MOST);
        retry.worked();
        assert!(retry.wait() <= FIRST);
    }
}
