//! Submitting tasks from a shell.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use clap::{Args, ValueEnum};
use program::signals::Signals;
use queue::{Key, TaskName};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::time::timeout;
use wire::client::{Config, Id, Raw, RawAnswers, Unanswered, Wishes};
use wire::identity::Role;
use wire::{Cbor, Message};

use crate::{At, say};

/// `submit`.
#[derive(Debug, Args)]
pub(crate) struct Submit {
    #[command(flatten)]
    at: At,
    /// The task.
    task: String,
    /// The job as JSON; a worker gets it as CBOR. Default null.
    #[arg(long, value_name = "JSON")]
    json: Option<String>,
    /// A file that travels beside it as raw bytes; `-` is the standard input.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// One task for each line of the standard input.
    #[arg(long, value_enum, num_args = 0..=1, default_missing_value = "text", conflicts_with_all = ["json", "file"])]
    lines: Option<Lines>,
    /// Write the raw bytes of the answer here. Otherwise only their number is shown.
    #[arg(long, value_name = "FILE", conflicts_with = "lines")]
    out: Option<PathBuf>,
    /// Give a task up after so many milliseconds.
    #[arg(long, value_name = "MS")]
    budget: Option<u64>,
    /// How many failures end a task; 0: none does. Default: as the coordinator says.
    #[arg(long)]
    attempts: Option<u32>,
    /// Milliseconds that a worker may take over a task; then another one gets it. Default: as the coordinator says.
    #[arg(long, value_name = "MS")]
    answer_within: Option<u64>,
    /// Give a task whose worker is among the slowest so many percent to a second one too, if one is idle. The first
    /// answer counts.
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u16).range(0..=100))]
    hedge: Option<u16>,
    /// Only this worker, by its id.
    #[arg(long, value_name = "ID")]
    worker: Option<String>,
}

/// What a line is.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Lines {
    /// A text.
    Text,
    /// JSON.
    Json,
}

impl Submit {
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        let name =
            TaskName::new(&self.task).with_context(|| format!("{:?} is no name of a task", self.task))?;
        let key = Key::task(name);
        // First what is wrong on this side: whoever has connected is to be answered.
        let job = if self.lines.is_none() { Some(self.job().await?) } else { None };
        let worker = self.worker.as_deref().map(|id| id.trim_start_matches('w').parse());
        let worker = worker.transpose().context("--worker: give the id as `status` shows it")?;
        let wishes = Wishes {
            budget_ms: self.budget,
            attempts: self.attempts,
            answer_within_ms: self.answer_within,
            hedge_percent: self.hedge,
            worker,
            ..Wishes::default()
        };
        let server = self.at.server()?;
        // What a shell sends it sends again by itself.
        let config = Config { wishes, reconnect: false, ..Config::new("framelane-tasks") };
        let (raw, answers) = match self.at.seat(Role::Client, &server) {
            Some(seat) => seat.connect(config).await?,
            None => wire::client::connect(&server, self.at.own(Role::Client).await?, config).await?,
        };
        let submitting = async {
            match (job, self.lines) {
                (Some(job), _) => {
                    raw.push(0, &key, job).await?;
                    one(&raw, answers, self.out.as_deref(), &key).await
                }
                (None, lines) => many(&raw, answers, key, lines.unwrap_or(Lines::Text)).await,
            }
        };
        let mut signals = Signals::catch().context("signals cannot be caught")?;
        let done = tokio::select! {
            biased;
            _ = signals.next() => Ok(ExitCode::from(STOPPED)),
            done = submitting => done,
        };
        // Else the coordinator would hear nothing, and have its workers go on until it wonders.
        raw.abandon().await;
        done
    }

    async fn job(&self) -> anyhow::Result<Message> {
        let head: Value =
            self.json.as_deref().map_or(Ok(Value::Null), serde_json::from_str).context("--json")?;
        let body = match &self.file {
            None => Vec::new(),
            Some(path) if path.as_os_str() == "-" => {
                let mut body = Vec::new();
                tokio::io::stdin().read_to_end(&mut body).await?;
                body
            }
            Some(path) => tokio::fs::read(path).await.with_context(|| path.display().to_string())?,
        };
        Ok(Message { head: wire::encode(Cbor(head))?.head, body: body.into() })
    }
}

/// The exit code after a signal, as a shell gives it for Ctrl-C.
const STOPPED: u8 = 130;

/// After this long without any answer people wonder whether there is somebody to give one.
const WONDER: Duration = Duration::from_secs(3);

/// The next answer. Waits for as long as it takes, and says once where to look.
async fn first(answers: &mut RawAnswers, key: &Key) -> Option<(Id, Result<Message, Unanswered>)> {
    match timeout(WONDER, answers.next()).await {
        Ok(answer) => answer,
        Err(_) => {
            eprintln!(
                "framelane-tasks: no answer yet; `framelane-tasks status` shows whether a worker serves {key}, \
                 --budget MS gives up"
            );
            answers.next().await
        }
    }
}

async fn one(raw: &Raw, mut answers: RawAnswers, out: Option<&Path>, key: &Key) -> anyhow::Result<ExitCode> {
    let Some((_, answer)) = first(&mut answers, key).await else { bail!("the connection ended") };
    let answer = answer?;
    if let Some(path) = out {
        tokio::fs::write(path, &answer.body).await.with_context(|| path.display().to_string())?;
    }
    say(text(answer))?;
    raw.close().await;
    Ok(ExitCode::SUCCESS)
}

async fn many(raw: &Raw, mut answers: RawAnswers, key: Key, lines: Lines) -> anyhow::Result<ExitCode> {
    let closing = Cell::new(false);
    let reading = async {
        let mut input = BufReader::new(tokio::io::stdin()).lines();
        let mut number = 0;
        while let Some(line) = input.next_line().await? {
            number += 1;
            let head = match lines {
                Lines::Text => Value::String(line),
                Lines::Json => serde_json::from_str(&line).with_context(|| format!("line {number}"))?,
            };
            raw.push(number, &key, wire::encode(Cbor(head))?).await?;
        }
        closing.set(true);
        raw.close().await;
        anyhow::Ok(())
    };
    let printing = async {
        let mut failed = 0_u64;
        while let Some((id, answer)) = answers.next().await {
            match answer {
                Ok(answer) => say(text(answer))?,
                Err(why) => {
                    failed += 1;
                    // A line for a line, so that what comes after can be told apart.
                    say("null")?;
                    tell(&id, &why);
                }
            }
        }
        // Else the rest of the input would be waited for, and nobody takes it.
        match raw.ended() {
            Some(why) if !closing.get() => bail!("the connection ended before the input did: {why}"),
            _ => Ok(failed),
        }
    };
    let ((), failed) = tokio::try_join!(reading, printing)?;
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn tell(id: &Id, why: &Unanswered) {
    match id {
        Id::Number(line) => eprintln!("line {line}: {why}"),
        Id::Bytes(_) => eprintln!("{why}"),
    }
}

/// An answer for people and for other programs: its head as JSON, where it has such a form.
fn text(answer: Message) -> Value {
    let Message { head, body } = answer;
    let bytes = body.len();
    let head = wire::decode::<Cbor<Value>>(Message { head: head.clone(), body: Bytes::new() }).map_or_else(
        |_| Value::String(format!("{} bytes of CBOR that are no JSON", head.len())),
        |head| head.0,
    );
    match (bytes, head) {
        (0, head) => head,
        (_, Value::Null) => serde_json::json!({ "bytes": bytes }),
        (_, head) => serde_json::json!({ "head": head, "bytes": bytes }),
    }
}
