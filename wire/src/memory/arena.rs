//! The server's end: lays bodies into the file.

use std::fs::File;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use rustix::fs::{FallocateFlags, fallocate};
use vm_memory::{Bytes, MmapRegion, VolatileMemory};

use super::file::{Access, create, map};
use super::ranges::Ranges;
use super::{MARK, PIECE};
use crate::protocol::Place;

/// The file of one connection, and which parts of it are in use.
///
/// It takes as much memory as bodies were outstanding at once, at most its size, and keeps it until the
/// connection ends.
#[derive(Debug)]
pub(crate) struct Arena {
    mapping: MmapRegion,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    ranges: Ranges,
    /// Up to here there are pages.
    backed: u64,
}

/// A part of the file that one hand-out uses, until this is dropped.
#[derive(Debug)]
pub(crate) struct Lease {
    /// Weak: a lease that nobody drops must not keep the memory of a connection that ended.
    arena: Weak<Arena>,
    place: Place,
}

impl Arena {
    /// Makes the file.
    pub(super) fn new(size: u64) -> io::Result<Self> {
        let mapping = map(create(size)?, size, Access::Write)?;
        Ok(Self { mapping, state: Mutex::new(State { ranges: Ranges::new(size), backed: 0 }) })
    }

    /// Lays a body into the file; `None` if there is no room, in the file or in the system.
    pub(crate) fn lay(self: &Arc<Self>, body: &[u8]) -> Option<Lease> {
        let len = u32::try_from(body.len()).ok()?;
        let at = self.reserve(len.into())?;
        // From here on, dropping the lease gives the range back.
        let lease = Lease { arena: Arc::downgrade(self), place: Place { at, len, laid: None } };
        self.write(at, body).then_some(lease)
    }

    /// Sets a place aside for a body of `len` bytes that is yet to be laid, see [`Lease::fill`].
    pub(crate) fn begin(self: &Arc<Self>, len: usize) -> Option<Lease> {
        let len = u32::try_from(len).ok()?;
        let mark = u64::from(len).checked_next_multiple_of(MARK)?;
        let at = self.reserve(mark + MARK)?;
        let place = Place { at, len, laid: Some(at + mark) };
        let lease = Lease { arena: Arc::downgrade(self), place };
        // Whatever lay there before must not pass for this body.
        self.mark(at + mark, 0).then_some(lease)
    }

    /// Copies bytes to where they have been given room.
    pub(super) fn write(&self, at: u64, bytes: &[u8]) -> bool {
        let room = usize::try_from(at).ok().and_then(|at| self.mapping.get_slice(at, bytes.len()).ok());
        room.map(|room| room.copy_from(bytes)).is_some()
    }

    /// Says how many bytes of a body are laid, after they are.
    pub(super) fn mark(&self, at: u64, laid: u32) -> bool {
        let mark = usize::try_from(at).ok().and_then(|at| self.mapping.get_slice(at, MARK as usize).ok());
        mark.is_some_and(|mark| mark.store(laid, 0, Ordering::Release).is_ok())
    }

    fn reserve(&self, len: u64) -> Option<u64> {
        let mut state = self.state();
        let at = state.ranges.take(len)?;
        let end = at + len;
        if end > state.backed {
            // Writing to a page that the system cannot give would end this process.
            let pages = fallocate(self.file()?, FallocateFlags::empty(), state.backed, end - state.backed);
            if let Err(error) = pages {
                tracing::debug!(%error, "no memory for a body");
                state.ranges.give(at);
                return None;
            }
            state.backed = end;
        }
        Some(at)
    }

    /// The file, to be handed over.
    pub(super) fn file(&self) -> Option<&File> {
        self.mapping.file_offset().map(|file| file.file())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No step panics in the middle of a change, so a poisoned state is a whole one.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many bodies lie in the file.
    #[cfg(test)]
    pub(crate) fn used(&self) -> usize {
        self.state().ranges.used()
    }

    #[cfg(test)]
    pub(super) fn backed(&self) -> u64 {
        self.state().backed
    }
}

impl Lease {
    /// Where the body lies.
    pub(crate) fn place(&self) -> Place {
        self.place
    }

    /// Lays the body that the place was set aside for, piece by piece, and says after each how far it is. Lays
    /// nothing once the connection has ended.
    pub(crate) fn fill(&self, body: &[u8]) {
        let (Some(arena), Some(mark)) = (self.arena.upgrade(), self.place.laid) else { return };
        let mut laid = 0;
        for piece in body[..body.len().min(self.place.len as usize)].chunks(PIECE) {
            // There is room for all of it.
            arena.write(self.place.at + u64::from(laid), piece);
            laid += piece.len() as u32;
            arena.mark(mark, laid);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(arena) = self.arena.upgrade() {
            arena.state().ranges.give(self.place.at);
        }
    }
}
