//! The worker's binary as a person starts it, and a server for it in this process.

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

#[cfg(unix)]
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};
use tokio::time::timeout;
use wire::identity::{Authority, TokenOptions};
use wire::server::{self, Listener};

/// Longer than anything here takes on a busy machine.
pub const WITHIN: Duration = Duration::from_secs(30);

/// The running binary and what it says.
pub struct Worker {
    child: Child,
    said: Lines<BufReader<ChildStderr>>,
    /// Every line that was read so far.
    pub heard: String,
}

impl Worker {
    /// Starts it with these arguments and no configuration from the environment.
    pub fn start(args: &[&str]) -> Worker {
        let mut child = Command::new(env!("CARGO_BIN_EXE_framelane-worker"))
            .args(args)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the worker's binary starts");
        let said = BufReader::new(child.stderr.take().expect("stderr is piped")).lines();
        Worker { child, said, heard: String::new() }
    }

    /// Waits until it says a line with this in it.
    pub async fn says(&mut self, what: &str) {
        let heard = timeout(WITHIN, async {
            while let Some(line) = self.said.next_line().await.expect("readable text") {
                self.heard += &line;
                self.heard.push('\n');
                if line.contains(what) {
                    return true;
                }
            }
            false
        });
        assert!(heard.await.unwrap_or(false), "it never said `{what}`, but:\n{}", self.heard);
    }

    #[cfg(unix)]
    pub fn signal(&self, signal: Signal) {
        let pid = self.child.id().expect("it runs");
        kill(Pid::from_raw(pid.try_into().expect("a process id")), signal).expect("the signal is sent");
    }

    /// Waits for its end, and reads the rest of what it says.
    pub async fn ended(&mut self) -> ExitStatus {
        let status = timeout(WITHIN, async {
            while let Some(line) = self.said.next_line().await.expect("readable text") {
                self.heard += &line;
                self.heard.push('\n');
            }
            self.child.wait().await.expect("its status")
        });
        status.await.unwrap_or_else(|_| panic!("it did not end, and said:\n{}", self.heard))
    }
}

/// A server's listener with its authority in a folder.
pub struct Server {
    pub listener: Listener,
    pub authority: Authority,
    pub folder: tempfile::TempDir,
}

impl Server {
    pub fn start() -> Server {
        Server::start_with(|authority| authority)
    }

    /// With an authority that was changed first.
    pub fn start_with(change: impl FnOnce(Authority) -> Authority) -> Server {
        let folder = tempfile::tempdir().expect("a folder");
        let authority = change(Authority::load_or_create(folder.path()).expect("an authority"));
        let any = "127.0.0.1:0".parse().expect("an address");
        let listener =
            Listener::bind(any, authority.clone(), server::Config::default()).expect("a free port");
        Server { listener, authority, folder }
    }

    /// Ends this server and starts it again on the same address and with the same authority.
    pub async fn restart(self) -> Server {
        let Server { listener, authority, folder } = self;
        let address = listener.local_addr();
        listener.close().await;
        drop(listener);
        // The socket is closed by a task of QUIC's own, soon after.
        let listener = timeout(WITHIN, async {
            loop {
                match Listener::bind(address, authority.clone(), server::Config::default()) {
                    Ok(listener) => return listener,
                    Err(_) => tokio::task::yield_now().await,
                }
            }
        });
        Server { listener: listener.await.expect("the port is free again"), authority, folder }
    }

    pub fn token(&self) -> String {
        let options = TokenOptions { expires_in: Duration::from_secs(600), uses: NonZeroU32::MIN };
        self.authority.token(options).expect("a token").to_string()
    }

    /// The next worker that joins.
    pub async fn peer(&self) -> (server::Peer, server::Events) {
        let accepted = timeout(WITHIN, self.listener.accept()).await.expect("a worker joins in time");
        accepted.expect("the listener is open")
    }
}

/// The models and ONNX Runtime that the set-up fetched.
pub fn assets() -> PathBuf {
    let path = std::env::var_os("FRAMELANE_ASSETS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets"), PathBuf::from);
    assert!(
        path.join("models/nanodet/model.onnx").exists(),
        "{} is not complete: run scripts/setup test",
        path.display()
    );
    path
}

/// A path as an argument.
pub fn text(path: &Path) -> String {
    path.to_str().expect("a path of ordinary letters").to_owned()
}
