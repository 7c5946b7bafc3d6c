//! The worker's end: takes bodies out of the file.

use std::fs::File;
use std::io;

use bytes::Bytes;
use vm_memory::{MmapRegion, VolatileMemory};

use super::NotShared;
use super::buffers::Buffers;
use super::file::{Access, check, map, sensible};
use crate::protocol::Place;

/// The server's file, as the worker sees it: it can be read, within its size, by copying.
#[derive(Debug)]
pub(crate) struct Window {
    mapping: MmapRegion,
    buffers: Buffers,
}

/// A place that is not in the file.
#[derive(Debug, thiserror::Error)]
#[error("it names {len} bytes at {at} of the {size} bytes of memory that it shares")]
pub(crate) struct Outside {
    len: u32,
    at: u64,
    size: usize,
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

    /// Copies a body out. The caller has checked its length against its limits.
    pub(crate) fn take(&self, place: Place) -> Result<Bytes, Outside> {
        let Place { at, len } = place;
        let outside = || Outside { len, at, size: self.mapping.size() };
        let begin = usize::try_from(at).map_err(|_| outside())?;
        let count = usize::try_from(len).map_err(|_| outside())?;
        let source = self.mapping.get_slice(begin, count).map_err(|_| outside())?;
        Ok(self.buffers.fill(count, |buffer| {
            // All of it: both have the same length.
            let _ = source.copy_to(buffer);
        }))
    }
}

impl From<rustix::io::Errno> for NotShared {
    fn from(e: rustix::io::Errno) -> Self {
        Self::Unreachable(io::Error::from(e))
    }
}
