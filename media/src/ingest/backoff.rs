//! How long to wait before trying again.

use std::time::Duration;

/// Capped exponential backoff with jitter, so that a hundred cameras behind a restarted switch do not all
/// come back in the same instant.
#[derive(Clone, Debug)]
pub(super) struct Backoff {
    first: Duration,
    cap: Duration,
    next: Duration,
}

impl Backoff {
    pub(super) fn new(first: Duration, cap: Duration) -> Self {
        // Zero would spin.
        let first = first.max(Duration::from_millis(10));
        Self { first, cap: cap.max(first), next: first }
    }

    /// The source worked: the next wait is a short one again.
    pub(super) fn reset(&mut self) {
        self.next = self.first;
    }

    /// The next wait: between half and all of a time that doubles up to the cap.
    pub(super) fn wait(&mut self) -> Duration {
        let wait = self.next;
        self.next = (wait * 2).min(self.cap);
        wait.mul_f64(0.5 + fastrand::f64() / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_doubles_up_to_the_cap_and_starts_again() {
        let (first, cap) = (Duration::from_millis(100), Duration::from_secs(1));
        let mut backoff = Backoff::new(first, cap);
        for expected in [100, 200, 400, 800, 1000, 1000] {
            let expected = Duration::from_millis(expected);
            let wait = backoff.wait();
            assert!(wait >= expected / 2 && wait <= expected, "{wait:?} for {expected:?}");
        }
        backoff.reset();
        assert!(backoff.wait() <= first);
    }
}
