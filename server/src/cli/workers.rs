//! `framelane workers`.
//!
//! All of it works on the state folder, so it needs no running server; one that runs on the same folder does
//! what is asked within a second.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use wire::identity::{Authority, Known, TokenOptions};

/// Workers that dial in.
#[derive(Subcommand)]
pub enum Workers {
    /// Print a token with which a new worker enrols.
    Token(Token),
    /// List the workers that have enrolled.
    List(List),
    /// Let a worker finish what it has and leave; its process ends and does not come back by itself.
    Drain(Which),
    /// Admit a worker no more: its connection ends, and what it held goes to others. It can only enrol anew.
    Revoke(Which),
}

/// What the token allows.
#[derive(Args)]
pub struct Token {
    /// The state folder of the server, which may be running.
    #[arg(long, env = "FRAMELANE_STATE", default_value = "framelane-state", value_name = "DIR")]
    state: PathBuf,
    /// How many workers may enrol with it.
    #[arg(long, default_value = "1", value_name = "N")]
    uses: NonZeroU32,
    /// How long it is good for, in minutes.
    #[arg(long, default_value_t = 60, value_name = "MINUTES", value_parser = clap::value_parser!(u64).range(1..=525_600))]
    minutes: u64,
}

/// Where to look.
#[derive(Args)]
pub struct List {
    /// The state folder of the server, which may be running.
    #[arg(long, env = "FRAMELANE_STATE", default_value = "framelane-state", value_name = "DIR")]
    state: PathBuf,
}

/// Which worker.
#[derive(Args)]
pub struct Which {
    /// Its id or, if no other worker has the same, its name, as `framelane workers list` shows them.
    #[arg(value_name = "ID|NAME")]
    worker: String,
    /// The state folder of the server, which may be running.
    #[arg(long, env = "FRAMELANE_STATE", default_value = "framelane-state", value_name = "DIR")]
    state: PathBuf,
}

impl Workers {
    /// Does what the subcommand says.
    pub fn run(self) -> anyhow::Result<()> {
        match self {
            Workers::Token(token) => {
                let authority = Authority::load_or_create(&token.state)
                    .with_context(|| format!("--state {}", token.state.display()))?;
                let options =
                    TokenOptions { expires_in: Duration::from_secs(60 * token.minutes), uses: token.uses };
                println!("{}", authority.token(options).context("no token could be made")?);
            }
            Workers::List(List { state }) => {
                print!("{}", table(&load(&state)?.workers()?, SystemTime::now()))
            }
            Workers::Drain(which) => {
                let (authority, worker) = which.find()?;
                authority.drain(worker.id)?;
                println!("{} ({}) is drained if it is connected", worker.name, worker.id);
            }
            Workers::Revoke(which) => {
                let (authority, worker) = which.find()?;
                authority.revoke(worker.id)?;
                println!("{} ({}) is revoked", worker.name, worker.id);
            }
        }
        Ok(())
    }
}

fn load(state: &PathBuf) -> anyhow::Result<Authority> {
    Authority::load(state).with_context(|| format!("--state {}", state.display()))
}

impl Which {
    fn find(&self) -> anyhow::Result<(Authority, Known)> {
        let authority = load(&self.state)?;
        let worker = pick(authority.workers()?, &self.worker)?;
        Ok((authority, worker))
    }
}

/// The worker of this id or, if it is the only one that is still admitted, of this name.
fn pick(known: Vec<Known>, wanted: &str) -> anyhow::Result<Known> {
    if let Some(worker) = known.iter().find(|worker| worker.id.to_string() == wanted) {
        return Ok(worker.clone());
    }
    let mut named: Vec<_> = known.into_iter().filter(|worker| worker.name == wanted).collect();
    if named.len() > 1 {
        named.retain(|worker| worker.revoked.is_none());
    }
    if named.len() > 1 {
        let ids: Vec<_> = named.iter().map(|worker| worker.id.to_string()).collect();
        bail!("{} workers are named `{wanted}`: give one of their ids, {}", named.len(), ids.join(", "));
    }
    named.pop().with_context(|| format!("no worker `{wanted}`: see `framelane workers list`"))
}

/// A line a worker.
fn table(known: &[Known], now: SystemTime) -> String {
    let mut text = format!("{:<21}  {:>9}  {:>9}  {:<9}  NAME\n", "ID", "ENROLLED", "EXPIRES", "STATE");
    for worker in known {
        let enrolled = format!("{} ago", span(now.duration_since(worker.enrolled).unwrap_or_default()));
        let (expires, state) = match (worker.expires.duration_since(now), worker.revoked) {
            (_, Some(_)) => ("-".to_owned(), "revoked"),
            (Ok(left), None) => (format!("in {}", span(left)), "admitted"),
            (Err(_), None) => ("-".to_owned(), "expired"),
        };
        text += &format!(
            "{:<21}  {enrolled:>9}  {expires:>9}  {state:<9}  {}\n",
            worker.id.to_string(),
            worker.name
        );
    }
    text
}

/// A time for people: its largest unit.
fn span(time: Duration) -> String {
    match time.as_secs() {
        s @ 0..60 => format!("{s} s"),
        s @ 60..3600 => format!("{} min", s / 60),
        s @ 3600..172_800 => format!("{} h", s / 3600),
        s => format!("{} d", s / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use queue::WorkerId;

    use super::*;

    fn known(id: u64, name: &str, revoked: bool) -> Known {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        Known {
            id: WorkerId(id),
            role: wire::identity::Role::Worker,
            name: name.to_owned(),
            enrolled: at(1_000_000),
            renewed: at(1_000_000),
            expires: at(9_000_000),
            revoked: revoked.then(|| at(2_000_000)),
        }
    }

    #[test]
    fn a_worker_is_found_by_id_and_by_a_name_that_is_its_own() {
        let all =
            || vec![known(1, "a", false), known(2, "b", false), known(3, "b", false), known(4, "a", true)];
        assert_eq!(pick(all(), "w3").unwrap().id, WorkerId(3));
        assert_eq!(pick(all(), "a").unwrap().id, WorkerId(1), "the other one is revoked");
        let error = pick(all(), "b").unwrap_err().to_string();
        assert!(error.contains("w2, w3"), "{error}");
        assert!(pick(all(), "c").unwrap_err().to_string().contains("workers list"));
    }

    #[test]
    fn the_table_says_who_is_admitted_and_for_how_long() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 + 3 * 86_400);
        let text = table(&[known(1, "gpu", false), known(2, "old", true)], now);
        let line = "w1                       3 d ago    in 89 d  admitted   gpu";
        assert!(text.lines().any(|l| l == line), "{text}");
        assert!(text.contains("revoked    old"), "{text}");
    }
}
