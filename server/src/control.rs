//! How a running server is told to stop: a file in its state folder says where it listens and holds the secret
//! that it answers to. It is made anew at each start and gone after the stop.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use wire::identity::{Secret, write_private};

/// In the state folder, readable by its owner alone.
const FILE: &str = "running.json";

/// What the file holds.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Running {
    /// Where it answers.
    pub(crate) http: SocketAddr,
    /// What it lets in.
    pub(crate) secret: String,
}

/// The file of this process; dropping it removes it.
pub(crate) struct Control {
    path: PathBuf,
    secret: Secret,
}

impl Control {
    /// Writes the file.
    pub(crate) fn open(state: &Path, http: SocketAddr) -> anyhow::Result<Control> {
        let secret = Secret::new().context("no secret for `framelane stop`")?;
        let running = Running { http, secret: secret.expose().to_owned() };
        let text = serde_json::to_vec(&running).context("the state cannot be written")?;
        let path = path(state);
        write_private(&path, &text)
            .with_context(|| format!("--state: {} cannot be written", path.display()))?;
        Ok(Control { path, secret })
    }

    /// Lets in who has read the file; `asked` is then cancelled.
    pub(crate) fn shutdown(&self, asked: CancellationToken) -> web::Shutdown {
        web::Shutdown::new(self.secret.expose(), asked)
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        // Another server may have begun on the same folder; its file is its own.
        let ours = read(&self.path).is_ok_and(|running| running.secret == self.secret.expose());
        if ours {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Where the file lies.
pub(crate) fn path(state: &Path) -> PathBuf {
    state.join(FILE)
}

/// Reads it.
pub(crate) fn read(path: &Path) -> io::Result<Running> {
    Ok(serde_json::from_slice(&std::fs::read(path)?)?)
}
