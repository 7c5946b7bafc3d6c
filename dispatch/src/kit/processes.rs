//! Worker processes that a program starts: itself again, in another role.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::{Child, Command};
use tokio::time::timeout_at;

use super::Error;

/// Those that were started. Dropping them kills them.
pub(super) struct Processes(Vec<(String, Child)>);

impl Processes {
    pub(super) fn start(count: u32, server: SocketAddr, token: &str, state: &Path) -> Result<Self, Error> {
        let one = |number| {
            let name = format!("worker-{number}");
            let child = start(server, token, state, &name)?;
            Ok((name, child))
        };
        (1..=count).map(one).collect::<Result<_, _>>().map(Processes)
    }

    /// Fails if one has ended.
    pub(super) fn live(&mut self) -> Result<(), Error> {
        for (name, child) in &mut self.0 {
            // One that cannot be asked is one that does not join either.
            if let Ok(Some(status)) = child.try_wait() {
                return Err(Error::Ended { name: name.clone(), status });
            }
        }
        Ok(())
    }

    /// Waits so long for all of them to end, and kills the rest.
    pub(super) async fn ended(mut self, within: Duration) {
        let until = tokio::time::Instant::now() + within;
        for (_, child) in &mut self.0 {
            let _ = timeout_at(until, child.wait()).await;
        }
    }
}

/// Starts a worker that ends with this process's listener.
fn start(server: SocketAddr, token: &str, state: &Path, name: &str) -> Result<Child, Error> {
    let system = |what: String| move |source| Error::System { what, source };
    let program = std::env::current_exe().map_err(system("where does this program lie?".to_owned()))?;
    let mut command = Command::new(&program);
    command
        .args(["worker", "--server", &server.to_string(), "--name", name])
        .args(["--threads", "1", "--once", "--log", "warn"])
        .arg("--state")
        .arg(state.join(name))
        // Not among the arguments, which everybody on this machine can read.
        .env("FRAMELANE_TOKEN", token)
        // Those are this process's own.
        .env_remove("FRAMELANE_LOG_FILE")
        .env_remove("FRAMELANE_REDIS")
        .env_remove("FRAMELANE_AMQP")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    // A Ctrl-C in the terminal is for this process alone, which lets them finish first.
    #[cfg(unix)]
    command.process_group(0);
    command.spawn().map_err(system(format!("cannot start {}", program.display())))
}

/// The name under which people start this program.
pub(super) fn program() -> String {
    let path = std::env::current_exe().ok();
    let name = path.as_deref().and_then(Path::file_stem);
    name.map_or_else(|| "PROGRAM".to_owned(), |name| name.to_string_lossy().into_owned())
}
