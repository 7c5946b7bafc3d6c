//! Waits between tries: they double up to a limit, and no two clients keep in step.

use std::time::Duration;

#[derive(Debug)]
pub(super) struct Backoff {
    first: Duration,
    most: Duration,
    next: Duration,
}

impl Backoff {
    pub(super) fn new(first: Duration, most: Duration) -> Self {
        Self { first, most, next: first }
    }

    pub(super) fn reset(&mut self) {
        self.next = self.first;
    }

    /// The wait before the next try: between half of what it is and all of it.
    pub(super) fn wait(&mut self) -> Duration {
        let wait = self.next.min(self.most);
        self.next = wait.saturating_mul(2).min(self.most);
        wait.mul_f64(0.5 + fastrand::f64() / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_limit_and_begin_anew_after_a_success() {
        let ms = Duration::from_millis;
        let mut backoff = Backoff::new(ms(100), ms(300));
        for most in [100, 200, 300, 300] {
            let wait = backoff.wait();
            assert!((ms(most / 2)..=ms(most)).contains(&wait), "{wait:?} of {most} ms");
        }
        backoff.reset();
        assert!(backoff.wait() <= ms(100));
    }
}
