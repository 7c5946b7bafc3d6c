//! The right to serve with a state folder, which one process has at a time.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use super::files;

/// The file that is locked. It stays when nobody serves, so that there is never more than one to lock.
const FILE: &str = "serving.lock";

/// Holds a state folder until it is dropped, or its process ends, however that comes.
///
/// Two servers in one folder would tell commands of two addresses in one file, of which the later one stays.
/// Commands that only read the folder, or make tokens in it, need not hold it.
#[derive(Debug)]
#[must_use = "the folder is held for as long as this lives"]
pub struct Hold {
    _locked: Option<File>,
}

/// Why a folder cannot be held.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HoldError {
    /// Another process serves with it.
    #[error(
        "{}: {} serves with this state folder already: stop it, or give this one a folder of its own",
        folder.display(),
        pid.map_or_else(|| "another process".to_owned(), |pid| format!("the process {pid}"))
    )]
    Taken {
        /// The folder.
        folder: PathBuf,
        /// Which process, where it can be told.
        pid: Option<u32>,
    },
    /// The system refuses.
    #[error("{}: {source}; is the folder there, and does it belong to this user?", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

impl Hold {
    /// Takes hold of a folder, and makes it if it is missing.
    ///
    /// # Errors
    /// [`HoldError`].
    pub fn take(folder: impl AsRef<Path>) -> Result<Self, HoldError> {
        let folder = folder.as_ref();
        let path = folder.join(FILE);
        let refused = |source| HoldError::File { path: path.clone(), source };
        files::private_dir(folder).map_err(refused)?;
        let mut file = open(&path).map_err(refused)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(HoldError::Taken { folder: folder.to_owned(), pid: read(&mut file) });
            }
            // Some network file systems know no locks, and a server there is better than none.
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {
                tracing::warn!(folder = %folder.display(), "no locks here, so nothing keeps a second server away");
                return Ok(Self { _locked: None });
            }
            Err(TryLockError::Error(source)) => return Err(refused(source)),
        }
        // Only for the text of an error, so whoever cannot write it serves all the same.
        let _ = tell(&mut file);
        Ok(Self { _locked: Some(file) })
    }
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

fn tell(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

/// The process that has the folder. Where a lock is one on reading too, as on Windows, nobody can tell.
fn read(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_has_a_folder_and_its_end_lets_the_next_one_in() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        let first = Hold::take(&state).unwrap();
        let refused = Hold::take(&state).unwrap_err();
        #[cfg(unix)]
        assert!(matches!(refused, HoldError::Taken { pid: Some(pid), .. } if pid == std::process::id()));
        let text = refused.to_string();
        assert!(text.contains(&state.display().to_string()) && text.contains("of its own"), "{text}");
        // Another folder is nobody's business.
        let _other = Hold::take(folder.path()).unwrap();
        drop(first);
        let _second = Hold::take(&state).unwrap();
    }
}
