//! Memory for bodies, used again: fresh pages for each would cost more than all the copying.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use bytes::Bytes;

/// At most so many buffers wait to be used again, and so many bytes in all of them.
const WAITING: usize = 32;
const WAITING_BYTES: usize = 64 << 20;
/// Lengths are rounded up to this, so that bodies of about one length use the same buffers.
const ROUND: usize = 64 << 10;

/// Buffers that wait to be used again. They are let go of with this.
#[derive(Debug, Default)]
pub(super) struct Buffers(Arc<Mutex<Vec<Vec<u8>>>>);

impl Buffers {
    /// A body of `len` bytes as `write` fills it.
    #[cfg(test)]
    fn fill(&self, len: usize, write: impl FnOnce(&mut [u8])) -> Bytes {
        let mut used = self.take(len);
        write(used.bytes());
        used.into()
    }

    /// Memory for a body of `len` bytes, to be filled; it holds anything before.
    pub(super) fn take(&self, len: usize) -> Used {
        Used { buffer: self.get(len), len, home: Arc::downgrade(&self.0) }
    }

    /// A buffer of at least `len` bytes, and not of much more: a short body must not hold a long buffer.
    fn get(&self, len: usize) -> Vec<u8> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let most = len.saturating_mul(2).max(ROUND);
        // The last one first: it is the likeliest to be in a cache still.
        let fits = waiting.iter().rposition(|buffer| (len..=most).contains(&buffer.len()));
        match fits {
            Some(place) => waiting.remove(place),
            None => {
                drop(waiting);
                vec![0; len.checked_next_multiple_of(ROUND).unwrap_or(len)]
            }
        }
    }

    #[cfg(test)]
    fn waiting(&self) -> Vec<usize> {
        self.0.lock().unwrap().iter().map(Vec::len).collect()
    }
}

/// A buffer in use, which goes back when this is dropped.
#[derive(Debug)]
pub(super) struct Used {
    buffer: Vec<u8>,
    len: usize,
    home: Weak<Mutex<Vec<Vec<u8>>>>,
}

impl Used {
    pub(super) fn bytes(&mut self) -> &mut [u8] {
        &mut self.buffer[..self.len]
    }
}

impl From<Used> for Bytes {
    fn from(used: Used) -> Bytes {
        Bytes::from_owner(used)
    }
}

impl AsRef<[u8]> for Used {
    fn as_ref(&self) -> &[u8] {
        &self.buffer[..self.len]
    }
}

impl Drop for Used {
    fn drop(&mut self) {
        let Some(home) = self.home.upgrade() else { return };
        let mut waiting = home.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.push(std::mem::take(&mut self.buffer));
        // The oldest go: nobody has asked for their length for the longest time.
        while waiting.len() > WAITING || waiting.iter().map(Vec::len).sum::<usize>() > WAITING_BYTES {
            waiting.remove(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_used_again_once_its_body_is_gone() {
        let buffers = Buffers::default();
        let first = buffers.fill(100_000, |buffer| buffer.fill(1));
        let second = buffers.fill(100_000, |buffer| buffer.fill(2));
        let clone = first.clone();
        let address = first.as_ptr();
        drop(first);
        assert!(buffers.waiting().is_empty(), "a clone still reads it");
        assert!(clone.iter().all(|b| *b == 1) && clone.len() == 100_000);
        drop(clone);
        let third = buffers.fill(99_000, |buffer| buffer.fill(3));
        assert_eq!((third.as_ptr(), third.len()), (address, 99_000));
        assert!(second.iter().all(|b| *b == 2));
        drop(buffers);
        assert!(third.iter().all(|b| *b == 3), "bodies outlive the connection");
    }

    #[test]
    fn what_waits_is_bounded_and_fits() {
        let buffers = Buffers::default();
        drop((0..100).map(|_| buffers.fill(1000, |_| ())).collect::<Vec<_>>());
        assert_eq!(buffers.waiting().len(), WAITING);
        drop((0..3).map(|_| buffers.fill(30 << 20, |_| ())).collect::<Vec<_>>());
        assert!(buffers.waiting().iter().sum::<usize>() <= WAITING_BYTES);
        assert_eq!(buffers.waiting().last(), Some(&(30 << 20)));
        drop(buffers.fill(1000, |buffer| assert_eq!(buffer.len(), 1000)));
        assert!(buffers.waiting().contains(&ROUND), "a short body does not take a long buffer");
    }
}
