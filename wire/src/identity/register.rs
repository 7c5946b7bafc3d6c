//! The workers that an authority has admitted, as files, so that one process can revoke what another
//! serves.
//!
//! `workers/<id>` holds one record. Whoever changes one holds the lock on `workers/.lock` meanwhile and
//! puts the new record in place whole, so that a reader needs no lock and sees the old one or the new
//! one. A worker without a record is not admitted, whatever its certificate says: a record that is lost or
//! swept too early shuts a worker out and lets nobody in.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use queue::WorkerId;
use serde::{Deserialize, Serialize};

use super::{Role, files};
use crate::framing::{decode_cbor, encode_cbor};

/// Bounds the files: as many workers as may hold a valid certificate.
const MAX_WORKERS: usize = 10_000;
/// How long a record outlives its certificate. Until then a late worker is told that it has expired.
const KEPT: u64 = 30 * 24 * 3600;
const LOCK: &str = ".lock";
/// A record is a name and some numbers.
const MAX_RECORD: usize = 1024;

/// What is known of a worker. Times in seconds of the Unix epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) name: String,
    /// Absent in records of before there were others: a worker's.
    #[serde(default)]
    pub(crate) role: Role,
    pub(crate) enrolled: u64,
    /// When its latest certificate was issued.
    pub(crate) issued: u64,
    /// When its latest certificate expires.
    pub(crate) expires: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) revoked: Option<u64>,
    /// How often an operator asked that it be drained.
    #[serde(default)]
    pub(crate) drains: u64,
}

impl Record {
    pub(crate) fn read(bytes: &[u8]) -> io::Result<Self> {
        if bytes.len() > MAX_RECORD {
            return Err(io::Error::other("it is too long for a record"));
        }
        decode_cbor(bytes).map_err(io::Error::other)
    }
}

/// The folder of records.
#[derive(Debug)]
pub(crate) struct Register {
    dir: PathBuf,
}

impl Register {
    pub(super) fn open(dir: PathBuf) -> io::Result<Self> {
        files::private_dir(&dir)?;
        Ok(Self { dir })
    }

    fn path(&self, worker: WorkerId) -> PathBuf {
        self.dir.join(format!("{:016x}", worker.get()))
    }

    /// What is known of a worker; none if nothing is.
    pub(crate) fn find(&self, worker: WorkerId) -> io::Result<Option<Record>> {
        let path = self.path(worker);
        match fs::read(&path) {
            Ok(bytes) => Record::read(&bytes).map(Some).map_err(|e| damaged(&path, &e)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Every worker, by id. A record that cannot be read is logged and left out.
    pub(super) fn all(&self) -> io::Result<Vec<(WorkerId, Record)>> {
        let mut all = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let Some(worker) = id(&entry?.path()) else { continue };
            match self.find(worker) {
                Ok(record) => all.extend(record.map(|record| (worker, record))),
                Err(error) => tracing::error!(%error, "the record of a worker cannot be read"),
            }
        }
        all.sort_unstable_by_key(|(worker, _)| worker.get());
        Ok(all)
    }

    /// Writes down a worker that is new.
    pub(super) fn add(&self, worker: WorkerId, record: &Record, now: u64) -> io::Result<()> {
        let _lock = self.lock()?;
        self.sweep(now)?;
        if self.path(worker).try_exists()? {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "a worker of this id exists"));
        }
        self.write(worker, record)
    }

    /// Changes what is known of a worker; gives what is known afterwards, or none if nothing was.
    pub(super) fn change(
        &self,
        worker: WorkerId,
        change: impl FnOnce(&mut Record),
    ) -> io::Result<Option<Record>> {
        let _lock = self.lock()?;
        let Some(mut record) = self.find(worker)? else { return Ok(None) };
        let before = record.clone();
        change(&mut record);
        if record != before {
            self.write(worker, &record)?;
        }
        Ok(Some(record))
    }

    /// Differs from what it was before once any record has changed, at the latest a few milliseconds
    /// after the change.
    pub(crate) fn stamp(&self) -> io::Result<SystemTime> {
        fs::metadata(&self.dir)?.modified()
    }

    fn write(&self, worker: WorkerId, record: &Record) -> io::Result<()> {
        let bytes = encode_cbor(record, MAX_RECORD).map_err(io::Error::other)?;
        files::replace(&self.path(worker), &bytes)
    }

    /// Held until it is dropped, by this handle alone among all processes and threads.
    fn lock(&self) -> io::Result<File> {
        let path = self.dir.join(LOCK);
        let file = match files::private_new(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => File::options().write(true).open(&path)?,
            Err(e) => return Err(e),
        };
        file.lock()?;
        Ok(file)
    }

    /// Removes records whose certificates expired long ago and what a crash left half written, and
    /// refuses when too many are left.
    fn sweep(&self, now: u64) -> io::Result<()> {
        let mut workers = 0;
        for entry in fs::read_dir(&self.dir)? {
            let path = entry?.path();
            let Some(worker) = id(&path) else {
                if path.extension().is_some_and(|extension| extension == "tmp") {
                    fs::remove_file(&path)?;
                }
                continue;
            };
            match self.find(worker) {
                Ok(Some(record)) if now > record.expires.saturating_add(KEPT) => fs::remove_file(&path)?,
                _ => workers += 1,
            }
        }
        if workers >= MAX_WORKERS {
            return Err(io::Error::other(format!("{MAX_WORKERS} workers are enrolled already")));
        }
        Ok(())
    }
}

/// The worker whose record a file is, if it is one.
fn id(path: &Path) -> Option<WorkerId> {
    let name = path.file_name()?.to_str()?;
    (name.len() == 16).then(|| u64::from_str_radix(name, 16).ok().map(WorkerId))?
}

fn damaged(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// A worker, or who has another role, that an authority has admitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// The same over all its connections and certificates.
    pub id: WorkerId,
    /// For people; several workers may have the same.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// When it exchanged its token.
    pub enrolled: SystemTime,
    /// When it got its latest certificate.
    pub renewed: SystemTime,
    /// When its latest certificate expires.
    pub expires: SystemTime,
    /// Since when it is not admitted any more.
    pub revoked: Option<SystemTime>,
}

impl Known {
    pub(super) fn new(id: WorkerId, record: Record) -> Self {
        let time = |seconds| {
            SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds)).unwrap_or(SystemTime::UNIX_EPOCH)
        };
        Known {
            id,
            name: record.name,
            role: record.role,
            enrolled: time(record.enrolled),
            renewed: time(record.issued),
            expires: time(record.expires),
            revoked: record.revoked.map(time),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn register() -> (tempfile::TempDir, Register) {
        let dir = tempfile::tempdir().unwrap();
        let register = Register::open(dir.path().join("workers")).unwrap();
        (dir, register)
    }

    fn record(expires: u64) -> Record {
        Record {
            name: "w".into(),
            role: Role::Worker,
            enrolled: 1,
            issued: 1,
            expires,
            revoked: None,
            drains: 0,
        }
    }

    #[test]
    fn changes_of_many_writers_are_all_kept() {
        let (_dir, register) = register();
        register.add(WorkerId(7), &record(100), 0).unwrap();
        std::thread::scope(|s| {
            for _ in 0..4 {
                s.spawn(|| {
                    for _ in 0..25 {
                        register.change(WorkerId(7), |record| record.drains += 1).unwrap();
                    }
                });
            }
        });
        assert_eq!(register.find(WorkerId(7)).unwrap().unwrap().drains, 100);
        assert_eq!(register.change(WorkerId(8), |_| {}).unwrap(), None);
    }

    /// A folder, open for its times to be set. Windows opens none unless it is told to.
    fn folder(path: &Path) -> File {
        let mut options = File::options();
        #[cfg(windows)]
        {
            use std::os::windows::fs::OpenOptionsExt;
            const FILE_WRITE_ATTRIBUTES: u32 = 0x0100;
            const FILE_FLAG_BACKUP_SEMANTICS: u32 = 0x0200_0000;
            options.access_mode(FILE_WRITE_ATTRIBUTES).custom_flags(FILE_FLAG_BACKUP_SEMANTICS);
        }
        options.read(cfg!(not(windows))).open(path).unwrap()
    }

    #[test]
    fn a_change_shows_in_the_stamp_and_a_change_to_the_same_does_not() {
        let (_dir, register) = register();
        register.add(WorkerId(7), &record(100), 0).unwrap();
        let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
        folder(&register.dir).set_modified(long_ago).unwrap();
        register.change(WorkerId(7), |record| record.drains = 0).unwrap();
        assert_eq!(register.stamp().unwrap(), long_ago);
        register.change(WorkerId(7), |record| record.revoked = Some(3)).unwrap();
        assert_ne!(register.stamp().unwrap(), long_ago);
    }

    #[test]
    fn long_expired_records_and_half_written_ones_are_swept_and_ids_are_given_once() {
        let (_dir, register) = register();
        register.add(WorkerId(1), &record(100), 0).unwrap();
        fs::write(register.dir.join("0000000000000001.0123456789abcdef.tmp"), "half").unwrap();
        register.add(WorkerId(2), &record(100 + KEPT), 101 + KEPT).unwrap();
        let all: Vec<_> = register.all().unwrap().into_iter().map(|(id, _)| id.get()).collect();
        assert_eq!(all, [2]);
        assert_eq!(fs::read_dir(&register.dir).unwrap().count(), 2, "the record and the lock");
        assert!(register.add(WorkerId(2), &record(0), 0).is_err());
    }

    #[test]
    fn a_damaged_record_is_an_error_that_names_the_file() {
        let (_dir, register) = register();
        for content in [&b"\xff"[..], &[0; 5000]] {
            fs::write(register.path(WorkerId(5)), content).unwrap();
            let error = register.find(WorkerId(5)).unwrap_err().to_string();
            assert!(error.contains("0000000000000005"), "{error}");
        }
        assert!(register.all().unwrap().is_empty());
    }
}
