//! How much of long bodies may be under way on one connection, which bounds what its other end can take by
//! beginning many and ending none.
//!
//! QUIC's windows do not: who reads takes the bytes out of them, and keeps them until the body is whole. So
//! there is a rule for both ends.
//!
//! - Who sends has at most [`AT_ONCE`] bytes of bodies longer than [`LONG`] begun and not written, or announced and
//!   not laid into shared memory, or one alone that is longer than that. It waits before the first byte of the next
//!   one ([`Sending`]).
//! - Who reads counts what is announced, before it sets memory aside, until the body is whole, and ends the
//!   connection when that is more than somebody who keeps to the rule can come to ([`Reading`]).
//!
//! Who reads does not wait instead: what lies unread on the streams that wait would fill the window of the
//! connection, and then those that are read could not end either.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Semaphore, SemaphorePermit};

/// Bodies up to this many bytes are not counted. With as many streams as there can be they take less than one
/// of the longest bodies, and they are too many to be slowed down.
pub(crate) const LONG: usize = 16 << 10;

/// Twice the longest body by default: one can be on its way while another comes to its end. A smaller one would
/// hold up fast links, whose windows allow no more than a few megabytes anyway.
const AT_ONCE: u32 = 128 << 20;

/// The sending end of a connection.
#[derive(Debug)]
pub(crate) struct Sending(Semaphore);

impl Sending {
    pub(crate) fn new() -> Self {
        Self(Semaphore::new(AT_ONCE as usize))
    }

    /// Waits until a body of this length may be begun; those that waited longer come first. What it gives is to
    /// be kept until the body is written, and no other may be begun by who keeps it.
    pub(crate) async fn begin(&self, len: usize) -> Option<SemaphorePermit<'_>> {
        if len <= LONG {
            return None;
        }
        // All that there is, for one that is longer. Nobody closes the semaphore.
        let len = u32::try_from(len).unwrap_or(u32::MAX).min(AT_ONCE);
        self.0.acquire_many(len).await.ok()
    }
}

/// The reading end of a connection.
#[derive(Debug)]
pub(crate) struct Reading {
    most: usize,
    now: AtomicUsize,
}

/// A body that is being read, until it is whole or given up.
#[derive(Debug)]
pub(crate) struct Begun<'a> {
    reading: &'a Reading,
    len: usize,
}

/// The other end does not keep to the rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it has {len} bytes of long bodies under way at once, where {most} are the most")]
pub(crate) struct TooMuch {
    len: usize,
    most: usize,
}

impl Reading {
    /// Of a connection whose bodies have at most `longest` bytes.
    pub(crate) fn new(longest: usize) -> Self {
        // Those that the other end has begun and not written; as many again whose last bytes were written and
        // have not come yet, since many are at their end together and some of their packets were lost; and two
        // more.
        let most = longest.max(AT_ONCE as usize).saturating_add(longest).saturating_mul(2);
        Self { most, now: AtomicUsize::new(0) }
    }

    /// Begins a long body.
    pub(crate) fn begin(&self, len: usize) -> Result<Begun<'_>, TooMuch> {
        let before = self.now.fetch_add(len, Ordering::Relaxed);
        let begun = Begun { reading: self, len };
        match before.saturating_add(len) {
            len if len > self.most => Err(TooMuch { len, most: self.most }),
            _ => Ok(begun),
        }
    }

    /// Bytes of long bodies that are begun.
    #[cfg(test)]
    pub(crate) fn now(&self) -> usize {
        self.now.load(Ordering::Relaxed)
    }
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        self.reading.now.fetch_sub(self.len, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    const MIB: usize = 1 << 20;

    #[test]
    fn who_keeps_to_the_rule_is_never_cut_off_and_who_does_not_is() {
        let reading = Reading::new(64 * MIB);
        let mut all: Vec<_> = (0..6).map(|_| reading.begin(64 * MIB).unwrap()).collect();
        assert_eq!(reading.now(), 384 * MIB);
        assert_eq!(reading.begin(LONG + 1).unwrap_err().most, 384 * MIB);
        assert_eq!(reading.now(), 384 * MIB, "what is refused is not counted");
        all.pop();
        assert!(reading.begin(64 * MIB).is_ok());
        all.clear();
        assert_eq!(reading.now(), 0);
        // The longest can always come, and with small limits all that the rule allows.
        assert!(Reading::new(u32::MAX as usize).begin(u32::MAX as usize).is_ok());
        assert!(Reading::new(MIB).begin(AT_ONCE as usize).is_ok());
        assert!(Reading::new(usize::MAX).begin(usize::MAX).is_ok());
    }

    #[test]
    fn what_is_begun_waits_for_what_was_and_small_ones_for_nothing() {
        let sending = Sending::new();
        let first = sending.begin(100 * MIB).now_or_never().unwrap();
        let mut second = Box::pin(sending.begin(64 * MIB));
        assert!((&mut second).now_or_never().is_none());
        assert!(sending.begin(20 * MIB).now_or_never().is_none(), "there is room, and another comes first");
        assert!(sending.begin(LONG).now_or_never().unwrap().is_none());
        drop(first);
        let second = second.now_or_never().unwrap();
        // One that is longer than all of them goes alone.
        let mut long = Box::pin(sending.begin(u32::MAX as usize + 1));
        assert!((&mut long).now_or_never().is_none());
        drop(second);
        let _long = long.now_or_never().unwrap();
        assert!(sending.begin(LONG + 1).now_or_never().is_none());
    }
}
