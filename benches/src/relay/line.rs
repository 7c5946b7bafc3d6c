//! One direction: what becomes of a packet, and when it leaves. No socket and no clock.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::Weather;

/// Packets under way at once, about 3 MB; more are lost.
const QUEUE: usize = 2048;

/// A packet that leaves.
pub(super) struct Packet {
    pub(super) bytes: Bytes,
    /// Whether one that came later has left before.
    pub(super) overtaken: bool,
}

/// What became of a packet that came.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Fate {
    pub(super) lost: u64,
    pub(super) doubled: u64,
    pub(super) overflowed: u64,
}

pub(super) struct Line {
    weather: Weather,
    random: fastrand::Rng,
    /// Soonest first, and in the order of arrival where two are due at once.
    queue: BinaryHeap<Reverse<(Instant, u64, Bytes)>>,
    arrived: u64,
    /// The latest arrival that has left.
    left: u64,
}

impl Line {
    pub(super) fn new(weather: Weather, random: fastrand::Rng) -> Self {
        Line { weather, random, queue: BinaryHeap::new(), arrived: 0, left: 0 }
    }

    /// A packet comes.
    pub(super) fn enter(&mut self, bytes: Bytes, now: Instant) -> Fate {
        // The dice fall in the same order for every packet, so that a seed means the same whatever comes.
        let (lost, doubled) = (self.random.f64(), self.random.f64());
        let delays = [self.delay(), self.delay()];
        if lost < self.weather.loss {
            return Fate { lost: 1, ..Fate::default() };
        }
        let doubled = doubled < self.weather.duplicate;
        let mut fate = Fate { doubled: doubled.into(), ..Fate::default() };
        for delay in &delays[..1 + usize::from(doubled)] {
            if self.queue.len() == QUEUE {
                fate.overflowed += 1;
                continue;
            }
            self.arrived += 1;
            self.queue.push(Reverse((now + *delay, self.arrived, bytes.clone())));
        }
        fate
    }

    fn delay(&mut self) -> Duration {
        let (longer, by) = (self.random.f64() < self.weather.reorder, self.random.f64());
        self.weather.delay + if longer { self.weather.jitter.mul_f64(by) } else { Duration::ZERO }
    }

    /// When the next packet leaves.
    pub(super) fn due(&self) -> Option<Instant> {
        self.queue.peek().map(|Reverse((due, ..))| *due)
    }

    /// The next packet whose time has come.
    pub(super) fn leave(&mut self, now: Instant) -> Option<Packet> {
        if self.due()? > now {
            return None;
        }
        let Reverse((_, number, bytes)) = self.queue.pop()?;
        let overtaken = number < self.left;
        self.left = self.left.max(number);
        Some(Packet { bytes, overtaken })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(weather: &str, seed: u64) -> Line {
        Line::new(weather.parse().unwrap(), fastrand::Rng::with_seed(seed))
    }

    /// Sends `count` packets, one each millisecond; gives what leaves, and when.
    fn through(line: &mut Line, count: u16) -> (Vec<(u16, Duration)>, u64) {
        let start = Instant::now();
        let (mut out, mut reordered) = (Vec::new(), 0);
        for ms in 0..u64::from(count) + 1000 {
            let now = start + Duration::from_millis(ms);
            if ms < u64::from(count) {
                line.enter(Bytes::copy_from_slice(&(ms as u16).to_be_bytes()), now);
            }
            while let Some(packet) = line.leave(now) {
                reordered += u64::from(packet.overtaken);
                out.push((u16::from_be_bytes(packet.bytes[..].try_into().unwrap()), now - start));
            }
        }
        (out, reordered)
    }

    #[test]
    fn a_good_line_changes_nothing() {
        let (out, reordered) = through(&mut line("none", 1), 100);
        let expected: Vec<_> = (0..100).map(|n| (n, Duration::from_millis(n.into()))).collect();
        assert_eq!((out, reordered), (expected, 0));
    }

    #[test]
    fn a_seed_decides_everything() {
        let bad = "loss=10%,duplicate=10%,delay=20ms,jitter=15ms";
        let (first, reordered) = through(&mut line(bad, 7), 1000);
        assert_eq!(through(&mut line(bad, 7), 1000), (first.clone(), reordered));
        assert_ne!(through(&mut line(bad, 8), 1000).0, first);
        assert!(reordered > 100, "{reordered}");
        let doubles =
            first.len() - first.iter().map(|(n, _)| n).collect::<std::collections::BTreeSet<_>>().len();
        assert!((50..150).contains(&doubles), "{doubles} doubles");
        assert!((850..1100).contains(&first.len()), "{} of 1000 and some left", first.len());
    }

    #[test]
    fn packets_take_as_long_as_they_should() {
        let (out, _) = through(&mut line("delay=20ms,jitter=15ms", 3), 200);
        assert_eq!(out.len(), 200);
        for (number, at) in out {
            let took = at.as_millis() as i64 - i64::from(number);
            assert!((20..=35).contains(&took), "{took} ms");
        }
    }

    #[test]
    fn only_a_part_takes_longer_where_a_part_is_to() {
        let (out, reordered) = through(&mut line("delay=5ms,jitter=20ms,reorder=10%", 5), 1000);
        let late = out.iter().filter(|(number, at)| at.as_millis() as i64 - i64::from(*number) > 5).count();
        assert!((50..150).contains(&late), "{late} of 1000");
        assert!((1..=late as u64).contains(&reordered), "{reordered}");
    }

    #[test]
    fn a_full_queue_loses() {
        let mut line = line("delay=100ms", 1);
        let now = Instant::now();
        for _ in 0..QUEUE {
            assert_eq!(line.enter(Bytes::new(), now), Fate::default());
        }
        assert_eq!(line.enter(Bytes::new(), now).overflowed, 1);
    }
}
