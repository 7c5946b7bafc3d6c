//! What jobs of a key are like, so that the next one can be treated as small before it is prepared.

use std::collections::HashMap;
use std::time::Duration;

use queue::Key;

/// Beyond this a job's bytes cost more than its stream.
const SMALL_BYTES: usize = 2048;
/// Beyond this others of a batch would wait for its preparation.
const SMALL_PREPARE: Duration = Duration::from_micros(50);
/// Keys that are remembered. A lane serves fewer; beyond it all is forgotten and learned again.
const KEYS: usize = 256;

/// One job that was prepared.
#[derive(Debug, Clone, Copy)]
pub(in crate::lane) struct Seen {
    /// Bytes of its head and body.
    pub(in crate::lane) bytes: usize,
    /// The time that its preparation took.
    pub(in crate::lane) prepare: Duration,
}

impl Seen {
    pub(in crate::lane) fn is_small(self) -> bool {
        self.bytes <= SMALL_BYTES && self.prepare <= SMALL_PREPARE
    }
}

/// How many jobs in a row were small, by key.
#[derive(Debug, Default)]
pub(in crate::lane) struct Habits(HashMap<Key, u32>);

/// So many in a row make a habit: the first preparations may pay for caches.
const HABIT: u32 = 4;

impl Habits {
    pub(in crate::lane) fn is_small(&self, key: &Key) -> bool {
        self.0.get(key).is_some_and(|in_a_row| *in_a_row >= HABIT)
    }

    /// A large job ends the habit; a slow one may be an accident of scheduling, and only weakens it.
    pub(in crate::lane) fn learn(&mut self, key: &Key, seen: Seen) {
        if self.0.len() >= KEYS && !self.0.contains_key(key) {
            self.0.clear();
        }
        let in_a_row = match self.0.get_mut(key) {
            Some(in_a_row) => in_a_row,
            None => self.0.entry(key.clone()).or_default(),
        };
        *in_a_row = match seen.is_small() {
            true => (*in_a_row + 1).min(4 * HABIT),
            false if seen.bytes > SMALL_BYTES => 0,
            false => in_a_row.saturating_sub(HABIT),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_habit_takes_some_jobs_to_make_and_one_large_one_to_break() {
        let key = Key::task(queue::TaskName::new("count").expect("a good name"));
        let small = Seen { bytes: 10, prepare: Duration::from_micros(1) };
        let slow = Seen { prepare: Duration::from_millis(1), ..small };
        let large = Seen { bytes: 100_000, ..small };
        let mut habits = Habits::default();
        for _ in 0..HABIT {
            assert!(!habits.is_small(&key));
            habits.learn(&key, small);
        }
        assert!(habits.is_small(&key));
        (0..100).for_each(|_| habits.learn(&key, small));
        habits.learn(&key, slow);
        assert!(habits.is_small(&key), "once is no habit");
        (0..4).for_each(|_| habits.learn(&key, slow));
        assert!(!habits.is_small(&key));
        (0..100).for_each(|_| habits.learn(&key, small));
        habits.learn(&key, large);
        assert!(!habits.is_small(&key));
    }
}
