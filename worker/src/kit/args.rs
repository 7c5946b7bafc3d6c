//! The command line that every worker has.

use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use program::{Log, Profile};

use crate::identity::Token;
use crate::{host, node};

/// How a worker reaches its server, and how it works; for a program's command line.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The server's address for workers (QUIC, UDP).
    #[arg(long, env = "FRAMELANE_SERVER", value_name = "HOST:PORT", value_parser = server)]
    #[cfg_attr(
        any(feature = "redis", feature = "amqp"),
        arg(required_unless_present_any = ["redis", "amqp"])
    )]
    #[cfg_attr(not(any(feature = "redis", feature = "amqp")), arg(required = true))]
    pub server: Option<String>,
    #[cfg(any(feature = "redis", feature = "amqp"))]
    #[command(flatten)]
    brokers: super::brokers::Brokers,
    /// The token to enrol with, the first time. In the environment it stays out of `ps`.
    #[arg(long, env = "FRAMELANE_TOKEN", value_name = "TOKEN", hide_env_values = true)]
    pub token: Option<Token>,
    /// The folder that keeps this worker's identity.
    #[arg(
        long,
        env = "FRAMELANE_WORKER_STATE",
        value_name = "DIR",
        default_value = "framelane-worker-state"
    )]
    pub state: PathBuf,
    /// How many jobs are worked on at a time [default: as many as there are processors].
    #[arg(long, env = "FRAMELANE_WORKER_THREADS", value_name = "N")]
    threads: Option<NonZeroUsize>,
    /// How many jobs may be handed out at a time [default: follows the jobs; from a broker, twice the threads
    /// and at least 8].
    #[arg(long, env = "FRAMELANE_WORKER_CREDIT", value_name = "N")]
    credit: Option<NonZeroU32>,
    /// For how many milliseconds after a quick job a worker of one thread looks for the next one without
    /// sleeping. It takes a processor for that long, and spares the next job the time to wake one up.
    #[arg(long, env = "FRAMELANE_WORKER_BUSY_POLL", value_name = "MS", default_value_t = 0)]
    busy_poll: u32,
    /// What people see this worker as [default: this machine's name].
    #[arg(long, env = "FRAMELANE_WORKER_NAME", value_name = "NAME", value_parser = name)]
    name: Option<String>,
    /// After how many seconds a job counts as hung; then the process ends with 86, for whatever started
    /// it to start it again. 0: never.
    #[arg(long, env = "FRAMELANE_WORKER_HANG_AFTER", value_name = "SECONDS", default_value_t = 30)]
    hang_after: u32,
    /// Get all bodies over QUIC, also from a server on this machine, which could share memory.
    #[arg(long, env = "FRAMELANE_WORKER_NO_SHARED_MEMORY")]
    no_shared_memory: bool,
    /// End when the connection is lost, instead of connecting again.
    #[arg(long)]
    once: bool,
    /// End also when the first try to reach the server fails, instead of trying again for as long as it takes.
    #[arg(long, env = "FRAMELANE_WORKER_NO_RETRY", overrides_with = "retry")]
    no_retry: bool,
    /// Connect again for as long as it takes, which is the default: takes a --no-retry or --once back.
    #[arg(long, overrides_with_all = ["no_retry", "once"])]
    retry: bool,
    #[command(flatten)]
    pub(super) log: Log,
    #[command(flatten)]
    pub(super) profile: Profile,
}

impl Args {
    pub(super) fn host(&self) -> host::Config {
        let processors = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        let threads = self.threads.unwrap_or(processors);
        let credit = self.credit.map_or(0, |credit| credit.get() as usize);
        let defaults = host::Config::default();
        // The server keeps to the credit; a little more only forgives what crosses on the way.
        let waiting = (credit.max(threads.get() + 1) + 8).max(defaults.waiting);
        let busy_poll = Duration::from_millis(self.busy_poll.into());
        host::Config { threads, waiting, busy_poll, ..defaults }
    }

    /// The brokers to serve.
    #[cfg(any(feature = "redis", feature = "amqp"))]
    pub(super) fn brokers(&self) -> Vec<crate::broker::Config> {
        let broker = |url: &crate::broker::Url| {
            let defaults = crate::broker::Config::new(url.clone(), self.name());
            crate::broker::Config { credit: self.credit, reconnect: !self.once && self.retries(), ..defaults }
        };
        self.brokers.urls().map(broker).collect()
    }

    pub(super) fn node(&self, server: &str, abilities: Vec<String>) -> node::Config {
        let defaults = node::Config::new(server, self.name());
        let wire = wire::node::Config { shared_memory: !self.no_shared_memory, ..defaults.wire };
        node::Config {
            wire,
            credit: self.credit,
            abilities,
            reconnect: !self.once && self.retries(),
            retry: self.retries(),
            ..defaults
        }
    }

    /// Whether a server that does not answer is tried again.
    pub(super) fn retries(&self) -> bool {
        !self.no_retry
    }

    /// What people see this worker as.
    pub fn name(&self) -> String {
        self.name.clone().or_else(machine).unwrap_or_else(|| "worker".to_owned())
    }

    pub(super) fn hang_after(&self) -> Option<Duration> {
        (self.hang_after > 0).then(|| Duration::from_secs(self.hang_after.into()))
    }
}

/// This machine's name, if it can be a worker's.
fn machine() -> Option<String> {
    let text = std::fs::read_to_string("/proc/sys/kernel/hostname")
        .or_else(|_| std::fs::read_to_string("/etc/hostname"))
        .ok()
        // Windows.
        .or_else(|| std::env::var("COMPUTERNAME").ok())
        .or_else(asked);
    text.and_then(|text| name(text.trim()).ok())
}

/// What other Unixes answer; macOS has it in no file.
fn asked() -> Option<String> {
    let asked = std::process::Command::new("uname").arg("-n").output().ok()?;
    String::from_utf8(asked.stdout).ok()
}

fn name(text: &str) -> Result<String, String> {
    match wire::protocol::name_is_good(text) {
        true => Ok(text.to_owned()),
        false => Err("a name has 1 to 64 bytes and no control characters".to_owned()),
    }
}

fn server(text: &str) -> Result<String, String> {
    let port = text.rsplit_once(':').and_then(|(host, port)| (!host.is_empty()).then_some(port));
    match port.map(str::parse::<u16>) {
        Some(Ok(1..)) => Ok(text.to_owned()),
        _ => Err("give it as HOST:PORT, such as gate.example:4433 or [::1]:4433".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        worker: Args,
    }

    #[test]
    fn the_command_line_is_consistent() {
        Program::command().debug_assert();
    }

    #[test]
    fn a_server_is_a_host_and_a_port() {
        for good in ["127.0.0.1:4433", "[::1]:4433", "gate.example:1"] {
            assert_eq!(server(good).as_deref(), Ok(good));
        }
        for bad in ["127.0.0.1", ":4433", "gate:0", "gate:99999", "gate:", ""] {
            assert!(server(bad).is_err(), "{bad}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_worker_without_a_name_has_its_machine_s_also_where_no_file_tells_it() {
        let Program { worker } = Program::parse_from(["program", "--server", "a:1"]);
        assert_eq!(Some(worker.name()), asked().map(|name| name.trim().to_owned()));
        assert_ne!(asked().as_deref(), Some(""));
    }

    #[test]
    fn the_last_word_on_retrying_counts() {
        let node = |words: &[&str]| {
            let words = ["program", "--server", "a:1"].iter().chain(words);
            Program::parse_from(words).worker.node("a:1", Vec::new())
        };
        let told = |words: &[&str]| (node(words).retry, node(words).reconnect);
        assert_eq!(told(&[]), (true, true));
        assert_eq!(told(&["--once"]), (true, false));
        assert_eq!(told(&["--no-retry"]), (false, false));
        assert_eq!(told(&["--no-retry", "--retry"]), (true, true));
        assert_eq!(told(&["--once", "--retry"]), (true, true));
    }

    #[test]
    fn credit_is_never_more_than_what_may_wait() {
        let words = ["program", "--server", "a:1", "--threads", "2", "--credit", "5000"];
        let Program { worker } = Program::parse_from(words);
        assert!(worker.host().waiting >= 5000);
        assert_eq!(worker.node("a:1", Vec::new()).credit.map(NonZeroU32::get), Some(5000));
    }

    #[cfg(all(feature = "redis", feature = "amqp"))]
    #[test]
    fn it_serves_somebody() {
        let parse = |words: &[&str]| Program::try_parse_from(["program"].iter().chain(words));
        assert!(parse(&[]).is_err());
        let Err(error) = parse(&["--redis", "amqp://u:hunter22@h"]) else { panic!("no Redis") };
        assert!(error.to_string().contains("that is an address for amqp"), "{error}");
        let all = parse(&["--redis", "redis://a,redis://b", "--amqp", "amqp://c", "--server", "d:1"]);
        assert_eq!(all.unwrap_or_else(|error| panic!("{error}")).worker.brokers().len(), 3);
        assert!(parse(&["--amqp", "amqp://c"]).is_ok_and(|program| program.worker.server.is_none()));
    }
}
