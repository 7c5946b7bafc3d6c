//! The packets of a ring, by number.

use std::collections::VecDeque;
use std::time::Instant;

use super::Packet;

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) packets: VecDeque<Packet>,
    /// The number of the first packet held.
    pub(super) first: u64,
    pub(super) bytes: usize,
    pub(super) ended: bool,
    /// A reader waits for a key frame.
    pub(super) wants_key: bool,
    pub(super) last_request: Option<Instant>,
    /// Packets that readers passed over and were told of, all readers together, those that are gone too.
    pub(super) skipped: u64,
}

impl State {
    pub(super) fn end(&self) -> u64 {
        self.first + self.packets.len() as u64
    }

    pub(super) fn get(&self, number: u64) -> Option<&Packet> {
        let index = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.packets.get(index)
    }

    /// The number of the first key frame at or after `from`.
    pub(super) fn first_key(&self, from: u64) -> Option<u64> {
        let skip = usize::try_from(from.saturating_sub(self.first)).ok()?;
        let mut held = (self.first..).zip(&self.packets).skip(skip);
        held.find(|(_, packet)| packet.key).map(|(number, _)| number)
    }

    /// The number of the newest key frame at or after `from`.
    pub(super) fn newest_key(&self, from: u64) -> Option<u64> {
        let packets = self.packets.iter().rev();
        let numbers = (self.first..self.end()).rev();
        let mut held = numbers.zip(packets).take_while(|&(number, _)| number >= from);
        held.find(|(_, packet)| packet.key).map(|(number, _)| number)
    }
}
