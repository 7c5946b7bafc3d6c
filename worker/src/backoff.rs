//! How long to wait before the next try, and how often to speak of it.

use std::time::{Duration, Instant};

/// Waits that double up to a bound, each shortened at random, so that many workers that lost one server
/// do not come back in step.
#[derive(Debug)]
pub(crate) struct Backoff {
    first: Duration,
    most: Duration,
    next: Duration,
}

impl Backoff {
    pub(crate) fn new(first: Duration, most: Duration) -> Self {
        Backoff { first, most, next: first }
    }

    /// The next wait: between half of the current bound and all of it.
    pub(crate) fn wait(&mut self) -> Duration {
        let bound = self.next.min(self.most);
        self.next = (bound * 2).min(self.most);
        bound.mul_f64(0.5 + fastrand::f64() / 2.0)
    }

    /// It went well: the next trouble is a new one.
    pub(crate) fn reset(&mut self) {
        self.next = self.first;
    }
}

/// The same trouble again is said again only so often.
const REPEAT: Duration = Duration::from_secs(10);

/// Trouble that repeats itself: said at once when it is new, then now and then with the number of tries.
#[derive(Debug, Default)]
pub(crate) struct Trouble {
    last: Option<(String, Instant)>,
    tries: u32,
}

impl Trouble {
    /// Whether this text is worth a line now; if so, after how many tries.
    pub(crate) fn worth_saying(&mut self, text: &str, now: Instant) -> Option<u32> {
        self.tries += 1;
        match &self.last {
            Some((last, said)) if last == text && now.saturating_duration_since(*said) < REPEAT => None,
            _ => {
                self.last = Some((text.to_owned(), now));
                Some(self.tries)
            }
        }
    }

    /// It is over.
    pub(crate) fn over(&mut self) {
        *self = Trouble::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_bound_and_start_again_after_a_reset() {
        let first = Duration::from_millis(100);
        let mut backoff = Backoff::new(first, Duration::from_millis(350));
        for bound in [100, 200, 350, 350] {
            let bound = Duration::from_millis(bound);
            let wait = backoff.wait();
            assert!(wait >= bound / 2 && wait <= bound, "{wait:?} of {bound:?}");
        }
        backoff.reset();
        assert!(backoff.wait() <= first);
    }

    #[test]
    fn trouble_is_said_once_until_it_changes_or_lasts() {
        let start = Instant::now();
        let mut trouble = Trouble::default();
        assert_eq!(trouble.worth_saying("refused", start), Some(1));
        assert_eq!(trouble.worth_saying("refused", start + REPEAT / 2), None);
        assert_eq!(trouble.worth_saying("refused", start + REPEAT), Some(3));
        assert_eq!(trouble.worth_saying("unreachable", start + REPEAT), Some(4));
        trouble.over();
        assert_eq!(trouble.worth_saying("unreachable", start + REPEAT), Some(1));
    }
}
