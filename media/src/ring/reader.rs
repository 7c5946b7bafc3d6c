//! A reader of a ring, at its own pace.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::state::State;
use super::{Codec, Packet, Ring};

/// What a reader gets.
#[derive(Clone, Debug)]
pub enum Next {
    /// The next packet.
    Packet(Packet),
    /// So many packets are lost to this reader; a key frame follows.
    Lagged(u64),
    /// The encoder has ended.
    End,
}

/// One reader of a ring.
#[derive(Debug)]
pub struct Reader {
    pub(super) ring: Arc<Ring>,
    pub(super) woken: watch::Receiver<u64>,
    /// The number of the packet to read next.
    pub(super) at: u64,
    /// Goes on only at a key frame.
    pub(super) at_key: bool,
    /// Packets passed over that the reader was not told of.
    pub(super) lost: u64,
    pub(super) within: Duration,
}

impl Reader {
    /// The reader is never further behind the newest packet than this: for live viewers, whose delay would
    /// otherwise grow to all that the ring holds and stay there.
    #[must_use]
    pub fn within(mut self, behind: Duration) -> Self {
        self.within = behind;
        self
    }

    /// The next packet, or what happened instead. Cancel-safe.
    pub async fn next(&mut self) -> Next {
        loop {
            self.woken.borrow_and_update();
            if let Some(next) = self.try_next() {
                return next;
            }
            if self.woken.changed().await.is_err() {
                return Next::End;
            }
        }
    }

    /// The next packet if it is there.
    pub fn try_next(&mut self) -> Option<Next> {
        let ring = self.ring.clone();
        let mut state = ring.state();
        self.keep_up(&mut state);
        if self.at_key {
            match state.first_key(self.at) {
                Some(key) => {
                    self.lost += if self.lost > 0 { key - self.at } else { 0 };
                    self.at = key;
                    self.at_key = false;
                }
                None if state.ended => return Some(Next::End),
                None => return None,
            }
        }
        if self.lost > 0 {
            state.skipped += self.lost;
            return Some(Next::Lagged(std::mem::take(&mut self.lost)));
        }
        match state.get(self.at) {
            Some(packet) => {
                self.at += 1;
                Some(Next::Packet(packet.clone()))
            }
            None => state.ended.then_some(Next::End),
        }
    }

    /// Passes over what is gone, or too old for this reader.
    fn keep_up(&mut self, state: &mut State) {
        let gone = state.first.saturating_sub(self.at);
        let behind = match (state.get(self.at), state.packets.back()) {
            // By arrival, not by `pts`: after a pause frames come in a burst, and whoever reads it as it
            // comes is not slow.
            (Some(next), Some(newest)) => newest.encoded_at.saturating_duration_since(next.encoded_at),
            _ => Duration::ZERO,
        };
        if gone == 0 && (behind <= self.within || self.at_key) {
            return;
        }
        let to = state.newest_key(state.first.max(self.at + 1));
        let to = to.unwrap_or_else(|| state.first.max(self.at));
        self.lost += to - self.at;
        self.at = to;
        if state.get(to).is_none_or(|packet| !packet.key) {
            self.at_key = true;
            state.wants_key = true;
        }
    }

    /// The codec data of the newest packet; none before the first one.
    pub fn codec(&self) -> Option<Arc<Codec>> {
        self.ring.codec()
    }
}
