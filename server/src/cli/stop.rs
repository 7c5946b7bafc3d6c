//! `framelane stop`.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;

use crate::control;

/// How long the server may take to answer, by itself always milliseconds.
const ANSWER: Duration = Duration::from_secs(5);

/// Tell the server that runs on a state folder to stop, and wait until it has.
#[derive(Args)]
pub struct Stop {
    /// The state folder of the server.
    #[arg(long, env = "FRAMELANE_STATE", default_value = "framelane-state", value_name = "DIR")]
    state: PathBuf,
    /// How long to wait for the end, in seconds; the server's own `grace_ms` comes first. 0: not at all.
    #[arg(long, default_value_t = 30, value_name = "SECONDS")]
    wait: u64,
}

impl Stop {
    /// Asks, and waits.
    pub fn run(&self) -> anyhow::Result<()> {
        let path = control::path(&self.state);
        let running = match control::read(&path) {
            Ok(running) => running,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                bail!("no server runs on {}: --state names its folder", self.state.display())
            }
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        };
        ask(running.http, &running.secret).with_context(|| {
            format!("no server answers on {}; if it was killed, remove {}", running.http, path.display())
        })?;
        if self.wait > 0 {
            ended(&path, &running.secret, Duration::from_secs(self.wait))?;
        }
        Ok(())
    }
}

/// One request by hand: a client for HTTP would be a dependency for eight lines.
fn ask(server: SocketAddr, secret: &str) -> anyhow::Result<()> {
    let mut connection = TcpStream::connect_timeout(&server, ANSWER)?;
    connection.set_read_timeout(Some(ANSWER))?;
    connection.set_write_timeout(Some(ANSWER))?;
    let request = format!(
        "POST /api/v1/shutdown HTTP/1.1\r\nHost: {server}\r\nAuthorization: Bearer {secret}\r\n\
         Content-Length: 0\r\nConnection: close\r\n\r\n"
    );
    connection.write_all(request.as_bytes())?;
    let mut answer = String::new();
    // Bounded, since it may be something else that listens there.
    connection.take(64 * 1024).read_to_string(&mut answer)?;
    match answer.split(' ').nth(1) {
        Some("202") => Ok(()),
        _ => bail!("it answers: {}", answer.lines().next().unwrap_or("nothing")),
    }
}

/// Waits until the server has removed its file.
fn ended(path: &Path, secret: &str, within: Duration) -> anyhow::Result<()> {
    let begun = Instant::now();
    while control::read(path).is_ok_and(|running| running.secret == secret) {
        if begun.elapsed() > within {
            bail!("it was told to stop and has not ended within {} s", within.as_secs());
        }
        // Nobody tells of a file's end.
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}
