//! How many jobs a worker asks for at a time.
//!
//! One more than it has threads keeps a worker busy whose jobs take much longer than the way to it. Where
//! they do not, as many more must be under way as threads do in the time that a job and its answer
//! travel, or the threads wait for the network. More than that would only be a hidden queue.

use std::time::Duration;

/// What scheduling, batches and the server's turns add to the round trip.
const SLACK: Duration = Duration::from_millis(1);
/// The most bytes of bodies that may be under way, whatever the jobs' number.
const BYTES: f64 = 64.0 * 1024.0 * 1024.0;
/// A job's size counts with this share in the mean.
const SHARE: f64 = 1.0 / 16.0;

/// The credit of one connection.
#[derive(Debug)]
pub(super) struct Credit {
    threads: u32,
    /// What the server was told last.
    given: u32,
    /// Whether it follows the jobs, or was set by a person.
    follows: bool,
    /// The mean size of a job.
    bytes: f64,
    /// Whether jobs came since it was last seen that there are none.
    stirred: bool,
}

impl Credit {
    /// `fixed` turns following off.
    pub(super) fn new(threads: u32, fixed: Option<u32>) -> Self {
        let given = fixed.unwrap_or(threads.saturating_add(1));
        Self { threads, given, follows: fixed.is_none(), bytes: 0.0, stirred: false }
    }

    /// What the server knows.
    pub(super) fn given(&self) -> u32 {
        self.given
    }

    /// A job of this size came.
    pub(super) fn came(&mut self, bytes: usize) {
        self.bytes += (bytes as f64 - self.bytes) * SHARE;
        self.stirred = true;
    }

    /// Whether there may be something to learn: an idle worker need not look.
    pub(super) fn is_due(&self) -> bool {
        self.follows && self.stirred
    }

    /// There are no jobs now.
    pub(super) fn rests(&mut self) {
        self.stirred = false;
    }

    /// What to tell the server now; nothing while it would make no difference.
    pub(super) fn change(&mut self, service: Duration, rtt: Duration, most: u32) -> Option<u32> {
        if !self.follows {
            return None;
        }
        let least = self.threads.saturating_add(1);
        let travelling = match service.is_zero() {
            true => 1.0,
            false => f64::from(self.threads) * (rtt + SLACK).as_secs_f64() / service.as_secs_f64(),
        };
        let wanted = f64::from(self.threads) + travelling.ceil();
        // Floats that are too large for an integer become the largest one.
        let wanted = wanted.min(BYTES / self.bytes.max(1.0)) as u32;
        let wanted = wanted.min(most).max(least);
        if wanted.abs_diff(self.given) * 4 <= self.given {
            return None;
        }
        self.given = wanted;
        Some(wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const US: Duration = Duration::from_micros(1);

    #[test]
    fn slow_jobs_nearby_want_one_more_than_there_are_threads() {
        let mut credit = Credit::new(2, None);
        assert_eq!(credit.given(), 3);
        assert_eq!(credit.change(Duration::ZERO, MS, 1024), None);
        assert_eq!(credit.change(25 * MS, 100 * US, 1024), None);
    }

    #[test]
    fn a_long_way_and_short_jobs_want_more() {
        let mut credit = Credit::new(1, None);
        assert_eq!(credit.change(5 * MS, 19 * MS, 1024), Some(5));
        assert_eq!(credit.change(10 * US, 100 * US, 1024), Some(111));
        assert_eq!(credit.change(11 * US, 100 * US, 1024), None, "nearly the same");
        assert_eq!(credit.change(Duration::from_nanos(100), 100 * US, 1024), Some(1024));
        assert_eq!(credit.change(25 * MS, 100 * US, 1024), Some(2), "and less again");
    }

    #[test]
    fn large_jobs_are_bounded_by_their_bytes() {
        let mut credit = Credit::new(1, None);
        (0..1000).for_each(|_| credit.came(8 << 20));
        assert_eq!(credit.change(US, MS, 1024), Some(8));
    }

    #[test]
    fn what_a_person_set_stays() {
        let mut credit = Credit::new(4, Some(7));
        assert_eq!(credit.given(), 7);
        assert_eq!(credit.change(US, MS, 1024), None);
    }
}
