//! Processes of ours: the programs that stand beside this one, started, watched and ended.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child as Process, ChildStdout, Command};
use tokio::time::timeout;

/// How long a process may take to end after SIGTERM. Its own grace is shorter.
const END_WITHIN: Duration = Duration::from_secs(8);

/// A running program of ours. Dropping it kills it; [`end`](Child::end) lets it finish first.
pub struct Child {
    name: &'static str,
    process: Process,
    stdout: Option<Lines<BufReader<ChildStdout>>>,
}

impl Child {
    /// Starts the program `name` that lies beside this one, in a process group of its own, so that
    /// a Ctrl-C in the terminal reaches this program alone and it ends the others in order.
    pub fn start<A: AsRef<OsStr>>(
        name: &'static str,
        args: impl IntoIterator<Item = A>,
        log: &str,
    ) -> anyhow::Result<Child> {
        Child::start_by::<&str, A>(&[], name, args, log)
    }

    /// Starts it by another command, such as `ip netns exec NAME`, which becomes the program.
    pub fn start_by<B: AsRef<OsStr>, A: AsRef<OsStr>>(
        by: &[B],
        name: &'static str,
        args: impl IntoIterator<Item = A>,
        log: &str,
    ) -> anyhow::Result<Child> {
        let path = beside(name)?;
        let mut words = by.iter().map(AsRef::as_ref).chain([path.as_os_str()]);
        let mut process = Command::new(words.next().unwrap_or(path.as_os_str()))
            .args(words)
            .args(args)
            .env("FRAMELANE_LOG", log)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            // Or a Ctrl-C in the terminal would reach it too, and then the SIGTERM as a second signal.
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {}", path.display()))?;
        let stdout = process.stdout.take().map(|stdout| BufReader::new(stdout).lines());
        Ok(Child { name, process, stdout })
    }

    /// The program's name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Its process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.process.id()
    }

    /// Waits for a line of its output that `find` makes something of.
    pub async fn line<T>(&mut self, within: Duration, find: impl Fn(&str) -> Option<T>) -> anyhow::Result<T> {
        let name = self.name;
        let Some(stdout) = &mut self.stdout else { bail!("the output of {name} is not read") };
        let found = timeout(within, async {
            while let Some(line) = stdout.next_line().await? {
                if let Some(found) = find(&line) {
                    return Ok(Some(found));
                }
            }
            Ok::<_, std::io::Error>(None)
        });
        match found.await {
            Ok(Ok(Some(found))) => Ok(found),
            Ok(_) => bail!("{name} ended before it was ready"),
            Err(_) => bail!("{name} was not ready within {} s", within.as_secs()),
        }
    }

    /// All lines of its output from here on, for one who reads them all.
    pub fn lines(&mut self) -> Option<Lines<BufReader<ChildStdout>>> {
        self.stdout.take()
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        // A process that cannot be asked is none of ours any more.
        !matches!(self.process.try_wait(), Ok(None))
    }

    /// Waits until it ends by itself.
    pub async fn ended(&mut self) -> anyhow::Result<ExitStatus> {
        self.process.wait().await.with_context(|| format!("cannot wait for {}", self.name))
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let Some(pid) = self.process.id() else { return Ok(()) };
        let pid = Pid::from_raw(pid.try_into().context("a process id beyond the system's range")?);
        kill(pid, signal).with_context(|| format!("cannot send {signal} to {}", self.name))
    }

    /// Asks it to end, and kills it if it does not in a few seconds.
    pub async fn end(mut self) -> anyhow::Result<ExitStatus> {
        self.signal(Signal::SIGTERM)?;
        match timeout(END_WITHIN, self.process.wait()).await {
            Ok(status) => status.with_context(|| format!("cannot wait for {}", self.name)),
            Err(_) => {
                tracing::warn!(name = self.name, "did not end after SIGTERM; killed");
                self.process.kill().await.with_context(|| format!("cannot kill {}", self.name))?;
                self.ended().await
            }
        }
    }
}

/// Where a program of ours lies: in the folder of this one, or above it when this one is a test.
pub fn beside(name: &str) -> anyhow::Result<PathBuf> {
    let this = std::env::current_exe().context("where does this program lie?")?;
    let found = this.ancestors().skip(1).take(2).map(|folder| folder.join(name)).find(|path| path.is_file());
    found.with_context(|| {
        format!("{name} does not lie beside {}; build it with `cargo build`", this.display())
    })
}
