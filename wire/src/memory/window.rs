//! The worker's end: takes bodies out of the file.

use std::fs::File;
use std::io;
use std::sync::atomic::{Ordering, fence};

use bytes::Bytes;
use vm_memory::{Bytes as _, MmapRegion, VolatileMemory};

use super::buffers::{Buffers, Used};
use super::file::{Access, check, map, sensible};
use super::{MARK, NotShared, PIECE};
use crate::protocol::Place;

/// The server's file, as the worker sees it: it can be read, within its size, by copying.
#[derive(Debug)]
pub(crate) struct Window {
    mapping: MmapRegion,
    buffers: Buffers,
}

/// A place that is not in the file.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("it names {place:?} in the {size} bytes of memory that it shares")]
pub(crate) struct Outside {
    place: Place,
    size: usize,
}

/// A body that is being copied out.
#[derive(Debug)]
pub(crate) struct Taking {
    place: Place,
    /// So many bytes of it are in the buffer.
    done: usize,
    buffer: Used,
}

impl Window {
    /// Looks into a file of which nothing is known yet but the size it is said to have.
    pub(super) fn open(file: File, size: u64) -> Result<Self, NotShared> {
        if !sensible(size) {
            return Err(NotShared::Wrong(format!("cannot have a size of {size} bytes")));
        }
        check(&file, size).map_err(NotShared::Wrong)?;
        let mapping = map(file, size, Access::Read)?;
        Ok(Self { mapping, buffers: Buffers::default() })
    }

    /// Begins to copy a body out. The caller has checked its length against its limits.
    pub(crate) fn begin(&self, place: Place) -> Result<Taking, Outside> {
        let outside = || Outside { place, size: self.mapping.size() };
        let at = usize::try_from(place.at).map_err(|_| outside())?;
        let len = usize::try_from(place.len).map_err(|_| outside())?;
        self.mapping.get_slice(at, len).map_err(|_| outside())?;
        Ok(Taking { place, done: 0, buffer: self.buffers.take(len) })
    }

    /// Copies what has been laid of it and is worth it; true once that is all.
    pub(crate) fn take(&self, taking: &mut Taking) -> Result<bool, Outside> {
        let outside = Outside { place: taking.place, size: self.mapping.size() };
        let len = taking.place.len as usize;
        loop {
            let laid = self.laid(taking.place).ok_or(outside)?;
            // Small steps would keep the caller busy for as long as a server likes.
            if laid < len && laid < taking.done.saturating_add(PIECE) {
                return Ok(false);
            }
            let at = usize::try_from(taking.place.at).ok().and_then(|at| at.checked_add(taking.done));
            let room = &mut taking.buffer.bytes()[taking.done..laid];
            let source = at.and_then(|at| self.mapping.get_slice(at, room.len()).ok()).ok_or(outside)?;
            // All of it: both have the same length.
            let _ = source.copy_to(room);
            taking.done = laid;
            if laid == len {
                return Ok(true);
            }
        }
    }

    /// How many bytes of a body are there, as the server says.
    fn laid(&self, place: Place) -> Option<usize> {
        let Some(mark) = place.laid else { return Some(place.len as usize) };
        let mark = self.mapping.get_slice(usize::try_from(mark).ok()?, MARK as usize).ok()?;
        let laid: u32 = mark.load(0, Ordering::Relaxed).ok()?;
        // Not in the load: of memory that can only be read, no other than a relaxed one is defined.
        fence(Ordering::Acquire);
        Some(laid.min(place.len) as usize)
    }
}

impl Taking {
    /// The body. What was not taken of it is anything.
    pub(crate) fn body(self) -> Bytes {
        self.buffer.into()
    }
}

impl From<rustix::io::Errno> for NotShared {
    fn from(e: rustix::io::Errno) -> Self {
        Self::Unreachable(io::Error::from(e))
    }
}
