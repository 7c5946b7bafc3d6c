//! The parts of one flow that wait for one pool: earliest deadline first, then in order.
//!
//! Items come in order and budgets are the same for a whole flow, so nearly every part joins at the
//! back and leaves at the front. A sorted ring makes these two cheap, and puts parts that a lost lane
//! gives back where they belong: before everything younger.

use std::collections::VecDeque;
use std::time::Instant;

use crate::id::{PartIndex, Seq};
use crate::pool::PoolId;
use crate::slots::At;

/// A waiting part. The order of the fields is the order of service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Waiting {
    pub(crate) deadline: Option<Instant>,
    pub(crate) seq: Seq,
    pub(crate) part: PartIndex,
}

/// One flow's line at one pool.
#[derive(Debug)]
pub(crate) struct Line {
    /// The pool; the line keeps it alive.
    pub(crate) pool: At<PoolId>,
    /// The flow's virtual time at this pool: what it has had, divided by its weight.
    pub(crate) pass: u64,
    /// It is among the pool's turns.
    pub(crate) listed: bool,
    /// Unsettled parts with this key, waiting or handed out.
    pub(crate) open: usize,
    waiting: VecDeque<Waiting>,
}

impl Line {
    pub(crate) fn new(pool: At<PoolId>) -> Self {
        Self { pool, pass: 0, listed: false, open: 0, waiting: VecDeque::new() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(crate) fn front(&self) -> Option<Waiting> {
        self.waiting.front().copied()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Waiting> {
        self.waiting.iter().copied()
    }

    pub(crate) fn pop(&mut self) {
        self.waiting.pop_front();
    }

    pub(crate) fn insert(&mut self, part: Waiting) {
        if self.waiting.back().is_none_or(|last| *last < part) {
            self.waiting.push_back(part);
        } else if let Err(at) = self.waiting.binary_search(&part) {
            self.waiting.insert(at, part);
        }
    }

    /// Takes a part out; it need not be at the front.
    pub(crate) fn remove(&mut self, part: Waiting) {
        if self.waiting.front() == Some(&part) {
            self.waiting.pop_front();
        } else if let Ok(at) = self.waiting.binary_search(&part) {
            self.waiting.remove(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slots::Slots;
    use std::time::Duration;

    #[test]
    fn earliest_deadline_first_then_in_order() {
        let now = Instant::now();
        let mut pools = Slots::new();
        let mut line = Line::new(pools.insert(PoolId(0), ()));
        let part = |after: u64, seq| Waiting {
            deadline: Some(now + Duration::from_secs(after)),
            seq: Seq(seq),
            part: 0,
        };
        for each in [part(2, 1), part(3, 2), part(1, 3), part(2, 0)] {
            line.insert(each);
        }
        line.remove(part(2, 1));
        let mut order = Vec::new();
        while let Some(first) = line.front() {
            order.push(first.seq.get());
            line.remove(first);
        }
        assert_eq!(order, [3, 0, 2]);
    }
}
