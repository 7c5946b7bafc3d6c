//! Tasks that clients push: `framelane-tasks` in a process of its own, two worker processes, and a client here.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::time::sleep;
use wire::client::{Answers, Ask, Client, Config, Id, operate};
use wire::identity::{Authority, Role, TokenOptions};

use crate::child::Child;
use crate::wordcount::Sums;
use crate::work::{Job, Work, body, reply};

/// Everything is slow on a machine that has just compiled for minutes.
const READY_WITHIN: Duration = Duration::from_secs(60);
const WORKERS: usize = 2;
/// Bytes of a job's body.
const SMALL: usize = 100;

/// A coordinator and its workers.
pub(crate) struct Tasks {
    serving: Child,
    workers: Vec<Child>,
    state: PathBuf,
    server: String,
}

impl Tasks {
    /// Starts them, and waits until all workers are there.
    pub(crate) async fn start(folder: &Path) -> anyhow::Result<Tasks> {
        let state = folder.join("state");
        let args = ["serve", "--bind", "127.0.0.1:0", "--state"].map(AsRef::as_ref);
        let serving = Child::start("framelane-tasks", args.into_iter().chain([state.as_os_str()]), "warn")?;
        let mut tasks = Tasks { serving, workers: Vec::new(), state, server: String::new() };
        tasks.server = tasks.address().await?;
        for number in 0..WORKERS {
            let (token, name) = (tasks.token(Role::Worker)?, format!("w{number}"));
            let own = folder.join(&name);
            let own = own.to_str().context("the temporary folder has an odd name")?;
            let args = ["worker", "--server", &tasks.server, "--token", &token, "--name", &name];
            let args = args.into_iter().chain(["--state", own]);
            tasks.workers.push(Child::start("framelane-bench", args, "warn")?);
        }
        tasks.joined().await?;
        Ok(tasks)
    }

    /// Where clients connect.
    pub(crate) fn server(&self) -> &str {
        &self.server
    }

    /// Lets one in.
    pub(crate) fn token(&self, role: Role) -> anyhow::Result<String> {
        let token = Authority::load(&self.state)?.token_for(role, TokenOptions::default());
        Ok(token.context("no token")?.to_string())
    }

    /// Ends all of them.
    pub(crate) async fn end(self) -> anyhow::Result<()> {
        for child in self.workers.into_iter().chain([self.serving]) {
            let (name, status) = (child.name(), child.end().await?);
            anyhow::ensure!(status.success(), "{name} ended with {status}");
        }
        Ok(())
    }

    /// Pushes small numbered tasks for so long; gives how many a second were answered, in order.
    pub(crate) async fn rate(&self, time: Duration, sums: &mut Sums) -> anyhow::Result<f64> {
        let identity = Authority::load(&self.state)?.own(Role::Client)?;
        let config = Config { reconnect: false, ..Config::new("bench") };
        let (raw, answers) = wire::client::connect(&self.server, identity, config).await?;
        let (client, mut answers) = (Client::<Work>::new(raw)?, Answers::<Work>::new(answers));
        let body = body(SMALL, 4);
        let expected = reply(&body);
        let begin = Instant::now();
        let pushing = tokio::spawn(async move {
            let mut number = 0;
            while begin.elapsed() < time {
                client.push(number, Job { number, body: body.clone() }).await?;
                number += 1;
            }
            client.raw().close().await;
            anyhow::Ok(number)
        });
        let taking = tokio::spawn(async move {
            let (mut seen, mut next, mut answered) = (Sums::default(), 0, 0);
            while let Some((id, answer)) = answers.next().await {
                let Id::Number(number) = id else { continue };
                seen.out_of_order += u64::from(number > next);
                seen.duplicates += u64::from(number < next);
                next = next.max(number + 1);
                let good = answer.is_ok_and(|answer| answer.number == number && answer.body == expected);
                answered += u64::from(good);
            }
            (seen, answered)
        });
        let (seen, answered) = taking.await.context("the taker panicked")?;
        let seconds = begin.elapsed().as_secs_f64();
        let pushed = pushing.await.context("the source panicked")??;
        sums.out_of_order += seen.out_of_order;
        sums.duplicates += seen.duplicates;
        sums.lost += pushed.abs_diff(answered);
        Ok(answered as f64 / seconds)
    }

    /// It says where it listens when it does.
    async fn address(&mut self) -> anyhow::Result<String> {
        let (begin, path) = (Instant::now(), self.state.join("address"));
        loop {
            if let Ok(address) = std::fs::read_to_string(&path) {
                return Ok(address.trim().to_owned());
            }
            anyhow::ensure!(!self.serving.has_ended(), "framelane-tasks has ended");
            anyhow::ensure!(begin.elapsed() < READY_WITHIN, "framelane-tasks does not listen");
            sleep(Duration::from_millis(10)).await;
        }
    }

    async fn joined(&self) -> anyhow::Result<()> {
        let (begin, operator) = (Instant::now(), Authority::load(&self.state)?.own(Role::Operator)?);
        loop {
            let status = operate(&self.server, &operator, Ask::Status, READY_WITHIN).await?;
            let status: serde_json::Value = serde_json::from_str(&status)?;
            let joined = status["workers"].as_array().map_or(0, Vec::len);
            if joined == WORKERS {
                return Ok(());
            }
            anyhow::ensure!(begin.elapsed() < READY_WITHIN, "{joined} of {WORKERS} workers joined");
            // Nobody tells when a worker joins.
            sleep(Duration::from_millis(20)).await;
        }
    }
}
