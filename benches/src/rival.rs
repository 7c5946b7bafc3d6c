//! A rival's script: it starts what the rival needs, says that it is ready, and measures when it is asked.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

/// RabbitMQ is slow to start.
const READY_WITHIN: Duration = Duration::from_secs(90);
/// Beyond what it was asked to measure.
const ANSWERS_WITHIN: Duration = Duration::from_secs(120);
/// It ends what it started.
const ENDS_WITHIN: Duration = Duration::from_secs(30);

/// A running script. It ends what it started when nobody can ask it any more, so dropping it does not kill it;
/// [`end`](Self::end) waits for that.
pub struct Rival {
    process: Child,
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Rival {
    /// Starts it and waits until it is ready to measure.
    pub async fn start(python: &Path, script: &Path, name: &str) -> anyhow::Result<Rival> {
        let mut command = Command::new(python);
        command.arg(script).arg(name);
        Self::start_as(command).await
    }

    /// The same, by any command.
    pub async fn start_as(mut command: Command) -> anyhow::Result<Rival> {
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", command.as_std().get_program().display()))?;
        let stdin = process.stdin.take().context("its standard input")?;
        let stdout = process.stdout.take().context("its standard output")?;
        let mut rival = Rival { process, stdin, lines: BufReader::new(stdout).lines() };
        let line = rival.line(READY_WITHIN).await?;
        anyhow::ensure!(line == "ready", "it said: {line}");
        Ok(rival)
    }

    /// Has it measure; gives the figure.
    pub async fn ask(&mut self, question: &str) -> anyhow::Result<f64> {
        self.stdin.write_all(format!("{question}\n").as_bytes()).await.context("it does not listen")?;
        let line = self.line(ANSWERS_WITHIN).await?;
        line.parse().with_context(|| format!("asked `{question}`, it said: {line}"))
    }

    /// Lets it end what it started.
    pub async fn end(mut self) -> anyhow::Result<()> {
        drop(self.stdin);
        let status = timeout(ENDS_WITHIN, self.process.wait()).await.context("a rival does not end")??;
        anyhow::ensure!(status.success(), "a rival ended with {status}");
        Ok(())
    }

    async fn line(&mut self, within: Duration) -> anyhow::Result<String> {
        let line = timeout(within, self.lines.next_line()).await;
        line.with_context(|| format!("it said nothing for {} s", within.as_secs()))??.context("it ended")
    }
}
