//! When the only thread of a host drives the network too: while jobs are quick and come one at a time.
//!
//! Where more come at once than one thread does, work and network go on beside each other on two threads.

use std::time::{Duration, Instant};

use queue::Key;

use super::line::{Line, Next, Taken};
use crate::drive::Wheel;

/// Of the last 32 turns, how many may be other than quick for this thread to begin driving ...
const FEW: u32 = 2;
/// ... and for it to go on. Further apart, so that it does not change with each job.
const MANY: u32 = 8;

/// A wait of this length shows as well as so many quick turns that there is nothing to be done beside.
const PAUSE: Duration = Duration::from_millis(1);
const WORTH: u32 = 10;

/// A thread's share in the network, if it has one.
pub(super) struct Calm {
    wheel: Option<Wheel>,
    /// For how long after a job the thread looks for the next without sleeping.
    busy_poll: Duration,
    /// A bit for each of the last turns: whether it was anything but one quick job.
    turns: u32,
    /// When the last one ended.
    ended: Instant,
}

impl Calm {
    pub(super) fn new(wheel: Option<Wheel>, busy_poll: Duration) -> Self {
        // Nothing is known to be quick yet.
        Calm { wheel, busy_poll, turns: u32::MAX, ended: Instant::now() }
    }

    /// Waits for something to do.
    pub(super) fn next(&mut self, line: &Line, thread: usize, cold: &[Key]) -> Next {
        let busy = self.turns.count_ones();
        let awake = self.ended.checked_add(self.busy_poll).filter(|_| !self.busy_poll.is_zero());
        while let Some(wheel) = &mut self.wheel {
            if busy > if wheel.is_mine() { MANY } else { FEW } {
                wheel.hand_over();
                break;
            }
            if let Some(next) = line.look(cold) {
                return next;
            }
            if !wheel.drive_until(line.came(), awake) {
                self.wheel = None;
            }
        }
        line.take(thread, cold)
    }

    /// The thread turns to this.
    pub(super) fn begins(&mut self, taken: &Taken) {
        if self.ended.elapsed() > PAUSE {
            self.turns <<= WORTH;
        }
        self.turns = self.turns << 1 | u32::from(!taken.quick);
        match &mut self.wheel {
            Some(wheel) if taken.quick => wheel.leave(),
            Some(wheel) => wheel.hand_over(),
            None => {}
        }
    }

    /// The thread turns to something that may take long.
    pub(super) fn leaves(&mut self) {
        if let Some(wheel) = &mut self.wheel {
            wheel.hand_over();
        }
    }

    /// It is done.
    pub(super) fn ended(&mut self) {
        self.ended = Instant::now();
        if let Some(wheel) = &mut self.wheel {
            wheel.back();
        }
    }
}
