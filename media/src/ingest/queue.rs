//! The bounded channel between a decoder's thread and the stream, and the source's books.
//!
//! One mutex holds frames and counters, so that every reading of the counters is consistent:
//! `decoded = waiting + skipped + delivered`, always.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use picture::Frame;
use tokio::sync::Notify;

use super::{Counts, Event};

/// What a decoder's thread does with a frame that finds the channel full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WhenFull {
    /// The oldest waiting frame gives way and is counted: live video wants the freshest picture.
    SkipOldest,
    /// The thread waits for room.
    Wait,
}

/// The channel. Frames are bounded by `capacity`, and texts to about as many.
#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    /// Wakes the one consumer.
    arrived: Notify,
    /// Wakes the decoder's thread that waits for room.
    room: Condvar,
    capacity: usize,
}

#[derive(Debug, Default)]
struct State {
    events: VecDeque<Event>,
    counts: Counts,
    /// No more frames are taken.
    closed: bool,
}

impl Queue {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            state: Mutex::default(),
            arrived: Notify::new(),
            room: Condvar::new(),
            capacity: capacity.max(1),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in here can leave the state half changed, so a panic elsewhere does not spoil it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a decoded frame in. False: the channel is closed and the frame was not counted.
    pub(super) fn push(&self, frame: Frame, when_full: WhenFull) -> bool {
        let mut state = self.state();
        if when_full == WhenFull::Wait {
            while !state.closed && state.counts.waiting >= self.capacity as u64 {
                state = self.room.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        }
        if state.closed {
            return false;
        }
        if state.counts.waiting >= self.capacity as u64 {
            let oldest = state.events.iter().position(|event| matches!(event, Event::Frame(_)));
            if let Some(oldest) = oldest {
                state.events.remove(oldest);
                state.counts.waiting -= 1;
                state.counts.skipped += 1;
            }
        }
        state.events.push_back(Event::Frame(frame));
        state.counts.decoded += 1;
        state.counts.waiting += 1;
        drop(state);
        self.arrived.notify_one();
        true
    }

    /// Says that something went wrong and is tried again. The newest text replaces one that nobody has read.
    pub(super) fn trouble(&self, text: String) {
        let mut state = self.state();
        if state.closed {
            return;
        }
        if matches!(state.events.back(), Some(Event::Trouble(_))) {
            state.events.pop_back();
        }
        // Frames that gave way may leave texts side by side; without this a consumer that never comes
        // would let them grow.
        while state.events.len() > 2 * self.capacity {
            match state.events.iter().position(|event| matches!(event, Event::Trouble(_))) {
                Some(oldest) => state.events.remove(oldest),
                None => break,
            };
        }
        state.events.push_back(Event::Trouble(text));
        drop(state);
        self.arrived.notify_one();
    }

    /// The last event: `Ended` or `Failed`. What waits before it is still delivered.
    pub(super) fn finish(&self, last: Event) {
        let mut state = self.state();
        if !state.closed {
            state.closed = true;
            state.events.push_back(last);
        }
        drop(state);
        self.room.notify_all();
        self.arrived.notify_one();
    }

    /// Discards what waits (counted as skipped) and ends.
    pub(super) fn abort(&self) {
        let mut state = self.state();
        state.events.clear();
        state.counts.skipped += state.counts.waiting;
        state.counts.waiting = 0;
        state.closed = true;
        drop(state);
        self.room.notify_all();
        self.arrived.notify_one();
    }

    /// The next event; `Ended` again and again once it is over.
    pub(super) async fn next(&self) -> Event {
        loop {
            if let Some(event) = self.try_next() {
                return event;
            }
            // `notify_one` stores a permit, so what arrives between the two lines is not missed.
            self.arrived.notified().await;
        }
    }

    fn try_next(&self) -> Option<Event> {
        let mut state = self.state();
        let event = state.events.pop_front();
        if let Some(Event::Frame(_)) = event {
            state.counts.waiting -= 1;
            state.counts.delivered += 1;
            drop(state);
            self.room.notify_one();
            return event;
        }
        if event.is_none() && state.closed { Some(Event::Ended) } else { event }
    }

    pub(super) fn counts(&self) -> Counts {
        self.state().counts
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use picture::{Colour, Pts, Size, Stamp};

    use super::*;

    fn frame(n: u64) -> Frame {
        let size = Size::new(2, 2).unwrap();
        Frame::black(Stamp::at(Pts::from_nanos(n)), size, Colour::BT601_LIMITED)
    }

    fn counts(decoded: u64, waiting: u64, skipped: u64, delivered: u64) -> Counts {
        Counts { decoded, waiting, skipped, delivered }
    }

    #[tokio::test]
    async fn the_oldest_gives_way_and_is_counted() {
        let queue = Queue::new(2);
        for n in 0..5 {
            assert!(queue.push(frame(n), WhenFull::SkipOldest));
        }
        assert_eq!(queue.counts(), counts(5, 2, 3, 0));
        let Event::Frame(first) = queue.next().await else { panic!() };
        assert_eq!(first.pts(), Pts::from_nanos(3));
        assert_eq!(queue.counts(), counts(5, 1, 3, 1));
    }

    #[tokio::test]
    async fn waiting_for_room_loses_nothing() {
        let queue = Arc::new(Queue::new(1));
        let producer = std::thread::spawn({
            let queue = queue.clone();
            move || {
                for n in 0..100 {
                    assert!(queue.push(frame(n), WhenFull::Wait));
                }
                queue.finish(Event::Ended);
            }
        });
        for n in 0..100 {
            let Event::Frame(frame) = queue.next().await else { panic!() };
            assert_eq!(frame.pts(), Pts::from_nanos(n));
            assert!(queue.counts().balances());
        }
        assert!(matches!(queue.next().await, Event::Ended));
        assert!(matches!(queue.next().await, Event::Ended));
        producer.join().unwrap();
        assert_eq!(queue.counts(), counts(100, 0, 0, 100));
    }

    #[test]
    fn abort_frees_a_waiting_producer_and_counts_what_waited() {
        let queue = Arc::new(Queue::new(1));
        assert!(queue.push(frame(0), WhenFull::Wait));
        let producer = std::thread::spawn({
            let queue = queue.clone();
            move || queue.push(frame(1), WhenFull::Wait)
        });
        queue.abort();
        assert!(!producer.join().unwrap());
        assert_eq!(queue.counts(), counts(1, 0, 1, 0));
    }

    #[tokio::test]
    async fn unread_trouble_is_replaced_and_stays_in_order() {
        let queue = Queue::new(4);
        queue.push(frame(0), WhenFull::Wait);
        for n in 0..100 {
            queue.trouble(format!("{n}"));
        }
        queue.push(frame(1), WhenFull::Wait);
        queue.finish(Event::Ended);
        assert!(matches!(queue.next().await, Event::Frame(_)));
        assert!(matches!(queue.next().await, Event::Trouble(text) if text == "99"));
        assert!(matches!(queue.next().await, Event::Frame(_)));
        assert!(matches!(queue.next().await, Event::Ended));
    }
}
