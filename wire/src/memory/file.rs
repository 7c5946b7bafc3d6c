//! The file: made and sealed by the server, checked by the worker, mapped by both.

use std::fs::File;
use std::io;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, memfd_create};
use vm_memory::mmap::MmapRegionBuilder;
use vm_memory::{FileOffset, MmapRegion};

use super::{MOST, PAGE};

/// Nobody can shrink it, so that a mapping never loses its pages, nor grow it, nor take this back.
const SEALS: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::SEAL);

/// Makes a file of `size` bytes, all zero and none of them in memory yet, and seals it.
pub(super) fn create(size: u64) -> io::Result<File> {
    let name = "framelane";
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // Not executable; before Linux 6.3 nobody knows the flag.
    let made = memfd_create(name, flags | MemfdFlags::NOEXEC_SEAL).or_else(|_| memfd_create(name, flags));
    let file = File::from(made?);
    file.set_len(size)?;
    fcntl_add_seals(&file, SEALS)?;
    Ok(file)
}

/// Checks that a file from outside has the size that was announced, for good.
pub(super) fn check(file: &File, size: u64) -> Result<(), String> {
    // Seals first: of a file that is not sealed, the size says nothing about later.
    let seals = fcntl_get_seals(file).map_err(|e| format!("has no seals ({e})"))?;
    if !seals.contains(SEALS) {
        return Err(format!("is not sealed against shrinking and growing: {seals:?}"));
    }
    let actual = file.metadata().map_err(|e| format!("cannot be looked at: {e}"))?.len();
    if actual != size {
        return Err(format!("has {actual} bytes instead of the {size} announced"));
    }
    Ok(())
}

/// Whether a file of this size can be shared at all.
pub(super) fn sensible(size: u64) -> bool {
    (PAGE..=MOST).contains(&size) && size.is_multiple_of(PAGE) && usize::try_from(size).is_ok()
}

/// Maps all of a file that [`create`] made or [`check`] passed: pages beyond the end of one that shrinks
/// would end the process.
pub(super) fn map(file: File, size: u64, access: Access) -> io::Result<MmapRegion> {
    use rustix::mm::{MapFlags, ProtFlags};
    let size = usize::try_from(size).map_err(io::Error::other)?;
    let prot = match access {
        Access::Read => ProtFlags::READ,
        Access::Write => ProtFlags::READ | ProtFlags::WRITE,
    };
    MmapRegionBuilder::new(size)
        .with_file_offset(FileOffset::new(file, 0))
        .with_mmap_prot(prot.bits() as i32)
        .with_mmap_flags(MapFlags::SHARED.bits() as i32)
        .build()
        .map_err(io::Error::other)
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Access {
    Read,
    Write,
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    const SIZE: u64 = 4 * PAGE;

    fn memfd(seals: SealFlags, size: u64) -> File {
        let file = File::from(memfd_create("test", MemfdFlags::ALLOW_SEALING).unwrap());
        file.set_len(size).unwrap();
        fcntl_add_seals(&file, seals).unwrap();
        file
    }

    #[test]
    fn a_sealed_file_keeps_its_size() {
        let file = create(SIZE).unwrap();
        check(&file, SIZE).unwrap();
        assert!(file.set_len(SIZE - 1).is_err());
        assert!(file.set_len(SIZE + 1).is_err());
        assert!(file.write_at(b"x", SIZE).is_err());
        assert!(fcntl_add_seals(&file, SealFlags::WRITE).is_err(), "the seals are final");
        assert!(file.write_at(b"x", SIZE - 1).is_ok());
    }

    #[test]
    fn what_is_not_sealed_or_has_another_size_is_refused() {
        for seals in [
            SealFlags::empty(),
            SealFlags::SHRINK,
            SealFlags::SHRINK | SealFlags::GROW,
            SealFlags::GROW | SealFlags::SEAL,
            SealFlags::WRITE | SealFlags::SEAL,
        ] {
            assert!(check(&memfd(seals, SIZE), SIZE).unwrap_err().contains("not sealed"), "{seals:?}");
        }
        for size in [0, SIZE - 1, SIZE + 1, 2 * SIZE] {
            assert!(check(&memfd(SEALS, size), SIZE).unwrap_err().contains("instead of"), "{size}");
        }
        check(&memfd(SEALS | SealFlags::WRITE, SIZE), SIZE).unwrap();
    }

    #[test]
    fn what_is_no_memory_file_is_refused() {
        check(&tempfile::tempfile_in("/tmp").unwrap(), 0).unwrap_err();
        let (pipe, _other) = std::io::pipe().unwrap();
        check(&File::from(std::os::fd::OwnedFd::from(pipe)), 0).unwrap_err();
        check(&File::open("/dev/zero").unwrap(), 0).unwrap_err();
    }

    #[test]
    fn sizes_are_whole_pages_within_reason() {
        assert!(sensible(PAGE) && sensible(SIZE));
        for size in [0, 1, PAGE - 1, PAGE + 1, MOST + PAGE, u64::MAX] {
            assert!(!sensible(size), "{size}");
        }
    }
}
