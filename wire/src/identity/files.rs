//! Files that hold secrets: never readable by others, never half written.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Makes a folder that only its owner can enter.
pub(super) fn private_dir(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// Opens a new file that only its owner can read; fails if it exists.
pub(super) fn private_new(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Writes a file beside its place, so that it can be put there whole.
fn write_beside(path: &Path, content: &[u8]) -> io::Result<PathBuf> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{:016x}.tmp", fastrand::u64(..)));
    let beside = path.with_file_name(name);
    let mut file = private_new(&beside)?;
    let written = file.write_all(content).and_then(|()| file.sync_all());
    if let Err(error) = written {
        // The error that matters is the first one.
        let _ = fs::remove_file(&beside);
        return Err(error);
    }
    Ok(beside)
}

/// Puts a file in its place, over an older one.
pub(super) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let beside = write_beside(path, content)?;
    fs::rename(&beside, path).inspect_err(|_| {
        let _ = fs::remove_file(&beside);
    })?;
    // The name too must survive a crash: a revocation that is undone by one would let somebody in.
    #[cfg(unix)]
    if let Some(dir) = path.parent() {
        let here = Path::new(".");
        File::open(if dir.as_os_str().is_empty() { here } else { dir })?.sync_all()?;
    }
    Ok(())
}

/// Puts a file in its place if there is none: of several processes that try, one wins, and false
/// tells the others.
pub(super) fn create(path: &Path, content: &[u8]) -> io::Result<bool> {
    let beside = write_beside(path, content)?;
    let linked = fs::hard_link(&beside, path);
    fs::remove_file(&beside)?;
    match linked {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(e) => Err(e),
    }
}

/// Whether others than the owner can read or write the file.
pub(super) fn is_open_to_others(path: &Path) -> io::Result<bool> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        Ok(fs::metadata(path)?.permissions().mode() & 0o077 != 0)
    }
    #[cfg(not(unix))]
    {
        fs::metadata(path).map(|_| false)
    }
}

/// One PEM block.
pub(super) fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut out = format!("-----BEGIN {label}-----\n");
    for start in (0..text.len()).step_by(64) {
        // Base64 is ASCII, so any index is a character's edge.
        out.push_str(&text[start..text.len().min(start + 64)]);
        out.push('\n');
    }
    out + "-----END " + label + "-----\n"
}
