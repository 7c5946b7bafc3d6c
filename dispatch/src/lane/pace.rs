//! How many short tasks are worth taking together.

use std::time::Duration;

/// What is taken together should be about this much work: enough that the cost of taking is small beside
/// it, little enough that nobody notices the wait.
const WORK: Duration = Duration::from_micros(50);

/// The time that one task takes, as a decaying mean.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    seconds: f64,
}

impl Pace {
    /// Learns from tasks that were done one after the other.
    pub(crate) fn learn(&mut self, took: Duration, tasks: usize) {
        if tasks > 0 {
            let each = took.as_secs_f64() / tasks as f64;
            // A slow one counts at once: behind it others would wait. A fast one counts slowly.
            self.seconds = if each > self.seconds { each } else { (self.seconds * 7.0 + each) / 8.0 };
        }
    }

    /// How many to take together: one while nothing is known.
    pub(crate) fn together(&self) -> usize {
        if self.seconds == 0.0 {
            return 1;
        }
        // A float that is too large for an integer becomes the largest one.
        ((WORK.as_secs_f64() / self.seconds) as usize).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_tasks_are_taken_together_and_long_ones_alone() {
        let mut pace = Pace::default();
        assert_eq!(pace.together(), 1);
        pace.learn(Duration::from_micros(10), 1);
        assert_eq!(pace.together(), 5);
        for _ in 0..100 {
            pace.learn(Duration::from_micros(64), 64);
        }
        assert!((45..=50).contains(&pace.together()), "{}", pace.together());
        pace.learn(Duration::from_millis(25), 1);
        assert_eq!(pace.together(), 1);
        pace.learn(Duration::ZERO, 0);
        assert_eq!(pace.together(), 1);
    }
}
