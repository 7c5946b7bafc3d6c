//! Encoded packets of one stream for any number of readers, each at its own pace.
//!
//! The producer never waits. A reader that falls behind what the ring holds (or behind its own
//! [`Reader::within`]) goes on at a key frame, from which a decoder can start, and is told how many packets
//! it lost.

mod packet;
mod reader;
mod state;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use state::State;

pub use packet::{Codec, Packet};
pub use reader::{Next, Reader};

/// The least time between two key frames that readers ask for: a crowd of new viewers must not turn the
/// stream into key frames only, which are ten times as large.
const KEY_REQUESTS: Duration = Duration::from_millis(500);

/// How much a ring holds. The older packets go when either bound is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Packets, at least 2.
    pub packets: usize,
    /// Bytes of their data; a single larger packet is still held.
    pub bytes: usize,
}

impl Default for Bounds {
    /// About ten seconds of video, and at most 16 MiB.
    fn default() -> Self {
        Self { packets: 256, bytes: 16 << 20 }
    }
}

/// The newest packets of one encoder.
#[derive(Debug)]
pub struct Ring {
    state: Mutex<State>,
    bounds: Bounds,
    /// The number of the next packet, for readers to wait on.
    next: watch::Sender<u64>,
}

impl Ring {
    /// An empty ring.
    pub fn new(bounds: Bounds) -> Arc<Self> {
        let bounds = Bounds { packets: bounds.packets.max(2), ..bounds };
        Arc::new(Self { state: Mutex::default(), bounds, next: watch::Sender::new(0) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a packet; the oldest ones go where it is full.
    pub(crate) fn push(&self, packet: Packet) {
        let mut state = self.state();
        if state.ended {
            return;
        }
        state.bytes += packet.data.len();
        if packet.key {
            state.wants_key = false;
        }
        state.packets.push_back(packet);
        while state.packets.len() > self.bounds.packets
            || (state.bytes > self.bounds.bytes && state.packets.len() > 1)
        {
            if let Some(oldest) = state.packets.pop_front() {
                state.bytes -= oldest.data.len();
                state.first += 1;
            }
        }
        let end = state.end();
        drop(state);
        self.next.send_replace(end);
    }

    /// No more packets come. Readers get what is held, then [`Next::End`].
    pub(crate) fn end(&self) {
        self.state().ended = true;
        // Readers wait for a change of any kind, so the same number wakes them too.
        self.next.send_modify(|_| {});
    }

    /// Whether a key frame was asked for and may be made now. Says yes once per request.
    pub(crate) fn take_key_request(&self, now: Instant) -> bool {
        let mut state = self.state();
        let may = state.last_request.is_none_or(|last| now.duration_since(last) >= KEY_REQUESTS);
        if !(state.wants_key && may) {
            return false;
        }
        state.last_request = Some(now);
        state.wants_key = false;
        true
    }

    /// A reader that starts at the next key frame, which is asked for: a new viewer sees the present, not
    /// what the ring still holds.
    pub fn subscribe(self: &Arc<Self>) -> Reader {
        let mut state = self.state();
        state.wants_key = true;
        Reader {
            at: state.end(),
            ring: self.clone(),
            woken: self.next.subscribe(),
            at_key: true,
            lost: 0,
            within: Duration::MAX,
        }
    }

    /// A reader that starts at the newest key frame that is held, where there is one: for a picture at once.
    pub fn subscribe_from_key(self: &Arc<Self>) -> Reader {
        let mut reader = self.subscribe();
        let mut state = self.state();
        if let Some(key) = state.newest_key(state.first) {
            reader.at = key;
            state.wants_key = false;
        }
        drop(state);
        reader
    }

    /// The codec data of the newest packet; none before the first one.
    pub fn codec(&self) -> Option<Arc<Codec>> {
        self.state().packets.back().map(|packet| packet.codec.clone())
    }

    /// Packets and bytes held now.
    pub fn held(&self) -> (usize, usize) {
        let state = self.state();
        (state.packets.len(), state.bytes)
    }

    /// Whether the encoder has ended.
    pub fn is_ended(&self) -> bool {
        self.state().ended
    }

    /// How many packets readers have passed over since the ring was made, because they were too slow: all
    /// readers together, those that are gone too. Counted by a reader when it tells of them, under the ring's
    /// lock.
    pub fn skipped(&self) -> u64 {
        self.state().skipped
    }

    /// How many readers there are.
    pub fn readers(&self) -> usize {
        self.next.receiver_count()
    }
}
