//! The server's end: lays bodies into the file.

use std::fs::File;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use rustix::fs::{FallocateFlags, fallocate};
use vm_memory::{MmapRegion, VolatileMemory};

use super::file::{Access, create, map};
use super::ranges::Ranges;
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
        let lease = Lease { arena: Arc::downgrade(self), place: Place { at, len } };
        self.mapping.get_slice(usize::try_from(at).ok()?, body.len()).ok()?.copy_from(body);
        Some(lease)
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
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(arena) = self.arena.upgrade() {
            arena.state().ranges.give(self.place.at);
        }
    }
}
