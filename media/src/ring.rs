//! Encoded packets of one stream for any number of readers, each at its own pace.
//!
//! The producer never waits. A reader that falls behind what the ring holds (or behind its own
//! [`Reader::within`]) goes on at a key frame, from which a decoder can start, and is told how many packets
//! it lost.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use picture::Pts;
use tokio::sync::watch;

/// The least time between two key frames that readers ask for: a crowd of new viewers must not turn the
/// stream into key frames only, which are ten times as large.
const KEY_REQUESTS: Duration = Duration::from_millis(500);

/// One access unit of H.264 as an Annex B byte stream. Cloning copies no data.
#[derive(Clone, Debug)]
pub struct Packet {
    /// The presentation time of the frame that it holds.
    pub pts: Pts,
    /// When the encoder gave it.
    pub encoded_at: Instant,
    /// True where a decoder can start. Then the data holds SPS and PPS too.
    pub key: bool,
    /// The access unit.
    pub data: Bytes,
    /// What a decoder must know before it starts.
    pub codec: Arc<Codec>,
}

/// The codec data of a stream. When it changes, its version rises.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Codec {
    /// Counted from 1.
    pub version: u32,
    /// The sequence parameter set, without a start code.
    pub sps: Bytes,
    /// The picture parameter set, without a start code.
    pub pps: Bytes,
}

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

#[derive(Debug, Default)]
struct State {
    packets: VecDeque<Packet>,
    /// The number of the first packet held.
    first: u64,
    bytes: usize,
    ended: bool,
    /// A reader waits for a key frame.
    wants_key: bool,
    last_request: Option<Instant>,
}

impl State {
    fn end(&self) -> u64 {
        self.first + self.packets.len() as u64
    }

    fn get(&self, number: u64) -> Option<&Packet> {
        let index = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.packets.get(index)
    }

    /// The number of the first key frame at or after `from`.
    fn first_key(&self, from: u64) -> Option<u64> {
        let skip = usize::try_from(from.saturating_sub(self.first)).ok()?;
        let mut held = (self.first..).zip(&self.packets).skip(skip);
        held.find(|(_, packet)| packet.key).map(|(number, _)| number)
    }

    /// The number of the newest key frame at or after `from`.
    fn newest_key(&self, from: u64) -> Option<u64> {
        let packets = self.packets.iter().rev();
        let numbers = (self.first..self.end()).rev();
        let mut held = numbers.zip(packets).take_while(|&(number, _)| number >= from);
        held.find(|(_, packet)| packet.key).map(|(number, _)| number)
    }
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

    /// How many readers there are.
    pub fn readers(&self) -> usize {
        self.next.receiver_count()
    }
}

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
    ring: Arc<Ring>,
    woken: watch::Receiver<u64>,
    /// The number of the packet to read next.
    at: u64,
    /// Goes on only at a key frame.
    at_key: bool,
    /// Packets passed over that the reader was not told of.
    lost: u64,
    within: Duration,
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

#[cfg(test)]
mod tests {
    use super::*;

    static BEGIN: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);

    fn packet(n: u64, key: bool) -> Packet {
        let codec = Codec { version: 1, sps: Bytes::new(), pps: Bytes::new() };
        let data = Bytes::from(vec![0; 10]);
        let (pts, encoded_at) = (Pts::from_nanos(n * 1_000_000_000), *BEGIN + Duration::from_secs(n));
        Packet { pts, encoded_at, key, data, codec: Arc::new(codec) }
    }

    /// Packets `from..to`, a key frame each fourth.
    fn fill(ring: &Ring, from: u64, to: u64) {
        (from..to).for_each(|n| ring.push(packet(n, n % 4 == 0)));
    }

    fn ring(packets: usize, bytes: usize) -> Arc<Ring> {
        Ring::new(Bounds { packets, bytes })
    }

    fn number(next: Option<Next>) -> u64 {
        match next {
            Some(Next::Packet(packet)) => packet.pts.nanos() / 1_000_000_000,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn both_bounds_hold() {
        let by_packets = ring(8, 1 << 20);
        fill(&by_packets, 0, 100);
        assert_eq!(by_packets.held(), (8, 80));
        let by_bytes = ring(100, 45);
        fill(&by_bytes, 0, 100);
        assert_eq!(by_bytes.held(), (4, 40));
        let tiny = ring(100, 1);
        fill(&tiny, 0, 100);
        assert_eq!(tiny.held(), (1, 10));
    }

    #[test]
    fn a_new_reader_starts_at_the_next_key_frame_and_asks_for_it() {
        let ring = ring(100, 1 << 20);
        fill(&ring, 0, 6);
        assert!(!ring.take_key_request(Instant::now()));
        let mut reader = ring.subscribe();
        let now = Instant::now();
        assert!(ring.take_key_request(now));
        assert!(reader.try_next().is_none());
        fill(&ring, 6, 8);
        assert!(reader.try_next().is_none());
        fill(&ring, 8, 10);
        assert_eq!(number(reader.try_next()), 8);
        assert_eq!(number(reader.try_next()), 9);
        assert!(reader.try_next().is_none());

        // A crowd asks once.
        let _second = ring.subscribe();
        assert!(!ring.take_key_request(now + KEY_REQUESTS / 2));
        assert!(ring.take_key_request(now + KEY_REQUESTS));
        assert!(!ring.take_key_request(now + 3 * KEY_REQUESTS));
    }

    #[test]
    fn a_reader_from_the_held_key_frame_starts_at_once() {
        let ring = ring(100, 1 << 20);
        fill(&ring, 0, 7);
        let mut reader = ring.subscribe_from_key();
        assert_eq!(number(reader.try_next()), 4);
        assert!(!ring.take_key_request(Instant::now()));
    }

    #[test]
    fn a_slow_reader_skips_to_the_newest_key_frame_and_is_told() {
        let ring = ring(6, 1 << 20);
        let mut reader = ring.subscribe();
        let mut fast = ring.subscribe();
        fill(&ring, 0, 2);
        assert_eq!(number(reader.try_next()), 0);
        for n in 2..30 {
            fill(&ring, n, n + 1);
            while let Some(next) = fast.try_next() {
                assert!(matches!(next, Next::Packet(_)), "the fast one loses nothing");
            }
        }
        assert!(matches!(reader.try_next(), Some(Next::Lagged(27))), "1..28 are lost");
        assert_eq!(number(reader.try_next()), 28);
        assert_eq!(number(reader.try_next()), 29);
    }

    #[test]
    fn without_a_key_frame_in_the_ring_it_waits_for_one() {
        let ring = ring(2, 1 << 20);
        let mut reader = ring.subscribe();
        fill(&ring, 0, 1);
        assert_eq!(number(reader.try_next()), 0);
        (1..6).for_each(|n| ring.push(packet(n, false)));
        assert!(reader.try_next().is_none());
        assert!(ring.take_key_request(Instant::now()));
        (6..9).for_each(|n| ring.push(packet(n, n == 8)));
        assert!(matches!(reader.try_next(), Some(Next::Lagged(7))));
        assert_eq!(number(reader.try_next()), 8);
    }

    #[test]
    fn a_live_reader_stays_within_its_bound() {
        let ring = ring(100, 1 << 20);
        let mut reader = ring.subscribe().within(Duration::from_secs(5));
        fill(&ring, 0, 6);
        assert_eq!(number(reader.try_next()), 0);
        fill(&ring, 6, 20);
        assert!(matches!(reader.try_next(), Some(Next::Lagged(15))));
        assert_eq!(number(reader.try_next()), 16);
    }

    #[tokio::test]
    async fn readers_are_woken_and_told_of_the_end() {
        let ring = ring(100, 1 << 20);
        let mut reader = ring.subscribe();
        let task = tokio::spawn(async move {
            let mut got = 0;
            while let Next::Packet(_) = reader.next().await {
                got += 1;
            }
            got
        });
        fill(&ring, 0, 5);
        ring.end();
        ring.push(packet(5, true));
        assert_eq!(task.await.unwrap(), 5);
        assert!(matches!(ring.subscribe().next().await, Next::End));
        assert_eq!(ring.readers(), 0);
    }

    #[test]
    fn a_burst_after_a_pause_is_no_ones_fault() {
        let ring = ring(100, 1 << 20);
        let mut reader = ring.subscribe_from_key().within(Duration::from_secs(2));
        for n in 0..20 {
            let mut late = packet(n, n == 0);
            late.encoded_at = *BEGIN + Duration::from_secs(20);
            ring.push(late);
        }
        let read = std::iter::from_fn(|| reader.try_next());
        assert_eq!(read.filter(|next| matches!(next, Next::Packet(_))).count(), 20);
    }
}
