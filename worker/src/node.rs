//! A host's connection to a server: kept, and made again when it is lost.

mod credit;
mod session;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use wire::node::{ConnectError, DialError, Hello};
use wire::{Closed, practice};

use crate::backoff::{Backoff, Trouble};
use crate::host::Host;
use crate::identity::Papers;
use credit::Credit;
use session::{Ended, Session};

/// How long a stop waits for a connection that is being made.
const LAST_TRY: Duration = Duration::from_secs(1);

/// How a worker keeps its connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `HOST:PORT` of the server.
    pub server: String,
    /// For people: 1 to 64 bytes without control characters.
    pub name: String,
    /// How many jobs the server may hand out at a time. Default: one more than there are threads, so that
    /// the next job is here when one is done, and more where jobs are short beside the way to the server.
    pub credit: Option<NonZeroU32>,
    /// Abilities beside the keys, for the greeting: what a task's author has agreed upon with the server, such as
    /// the encodings of a picture that it reads. A server that does not know one ignores it. Default: none.
    pub abilities: Vec<String>,
    /// Whether to connect again when the connection is lost. Default true.
    pub reconnect: bool,
    /// Whether a try to connect that fails is made again. Default true.
    pub retry: bool,
    /// The first wait before another try; it doubles from there. Default 250 ms.
    pub retry_first: Duration,
    /// The longest wait before another try. Default 5 s.
    pub retry_most: Duration,
    /// How long a drain may take before what is left is given up. Default 30 s.
    pub drain_within: Duration,
    /// The connection itself.
    pub wire: wire::node::Config,
}

impl Config {
    /// The defaults, for this server under this name.
    pub fn new(server: impl Into<String>, name: impl Into<String>) -> Self {
        Config {
            server: server.into(),
            name: name.into(),
            credit: None,
            abilities: Vec::new(),
            reconnect: true,
            retry: true,
            retry_first: Duration::from_millis(250),
            retry_most: Duration::from_secs(5),
            drain_within: Duration::from_secs(30),
            wire: wire::node::Config::default(),
        }
    }
}

/// Why a worker stopped by itself.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// Trying again would not help.
    #[error(transparent)]
    Connect(ConnectError),
    /// Nothing that this worker was to do can be done.
    #[error("there is nothing left to serve: {0}")]
    Nothing(String),
    /// The connection was lost, and [`Config::reconnect`] is off.
    #[error("the connection to {server} ended: {why}")]
    Lost {
        /// As given.
        server: String,
        /// How.
        why: Closed,
    },
}

impl RunError {
    /// Whether a new enrolment could help: the server does not know this worker, or is another one.
    pub fn needs_enrolment(&self) -> bool {
        matches!(
            self,
            RunError::Connect(
                ConnectError::Expired
                    | ConnectError::Refused(_)
                    | ConnectError::Revoked(_)
                    | ConnectError::Dial(DialError::WrongAuthority { .. })
            )
        )
    }
}

/// Works for a server until `stop`, or until an operator drains this worker; then finishes what is in hand
/// and leaves. A lost connection is made again, however long that takes, and so is one that a server ends
/// because it stops. Joins at once with what is ready and what is not, and tells the server as that changes.
/// Renews the papers meanwhile.
///
/// # Errors
/// [`RunError`], when only a person can help.
pub async fn run(
    config: &Config,
    papers: &Papers,
    host: Arc<Host>,
    stop: CancellationToken,
) -> Result<(), RunError> {
    tokio::select! {
        worked = work(config, papers, &host, &stop) => worked,
        never = papers.keep() => match never {},
    }
}

async fn work(
    config: &Config,
    papers: &Papers,
    host: &Host,
    stop: &CancellationToken,
) -> Result<(), RunError> {
    let server = &config.server;
    let threads = u32::try_from(host.threads()).unwrap_or(u32::MAX);
    let fixed = config.credit.map(NonZeroU32::get);
    let credit = Credit::new(threads, fixed).given();
    // One that sleeps between jobs would only be woken by it.
    let practises = host.polls().then(|| practice::ABILITY.to_owned());
    let abilities: Vec<String> = config.abilities.iter().cloned().chain(practises).collect();
    let mut keys = host.keys();
    let mut backoff = Backoff::new(config.retry_first, config.retry_most);
    let mut trouble = Trouble::default();
    loop {
        if let Some(why) = host.nothing_left() {
            return Err(RunError::Nothing(why));
        }
        let keys_now = keys.borrow_and_update().clone();
        let hello =
            Hello { name: config.name.clone(), keys: keys_now, credit, capabilities: abilities.clone() };
        let identity = papers.identity();
        let connecting = wire::node::connect(server, &identity, hello, config.wire.clone());
        tokio::pin!(connecting);
        let connected = tokio::select! {
            biased;
            // The server may count this worker in by now and hand work out, so it is not left without a
            // word: the session below says it. Who does not answer in time has not counted it in.
            () = stop.cancelled() => match tokio::time::timeout(LAST_TRY, &mut connecting).await {
                Ok(Ok(connected)) => Ok(connected),
                _ => return Ok(()),
            },
            connected = &mut connecting => connected,
        };
        match connected {
            Ok((node, jobs)) => {
                let number = host.next_session();
                tracing::info!(server, worker = %node.worker(), credit, session = number, "connected");
                trouble.over();
                let since = Instant::now();
                let credit = Credit::new(threads, fixed);
                let session = Session::new(node, host, number, config.drain_within, credit);
                let ended = session.serve(jobs, &mut keys, stop).await;
                let counts = host.counts();
                match ended {
                    Ended::Drained => {
                        tracing::info!(server, answered = counts.answered, failed = counts.failed, "drained");
                        return Ok(());
                    }
                    Ended::Lost(Closed::SentAway(_)) => {
                        tracing::info!(server, answered = counts.answered, "drained, as an operator asked");
                        return Ok(());
                    }
                    // A server that goes while this worker leaves: what it held is given up with it.
                    Ended::Lost(why) | Ended::Dismissed(why) if stop.is_cancelled() => {
                        tracing::warn!(server, %why, "connection lost while draining");
                        return Ok(());
                    }
                    Ended::Lost(Closed::Revoked(why)) => {
                        return Err(RunError::Connect(ConnectError::Revoked(why)));
                    }
                    Ended::Dismissed(why) if !config.reconnect => {
                        tracing::info!(server, %why, answered = counts.answered, "the server let this worker go");
                        return Ok(());
                    }
                    Ended::Lost(why) if !config.reconnect => {
                        return Err(RunError::Lost { server: server.clone(), why });
                    }
                    Ended::Dismissed(why) => {
                        tracing::info!(server, %why, "the server let this worker go, connecting again");
                    }
                    Ended::Lost(why) => {
                        tracing::warn!(server, %why, answered = counts.answered, "connection lost, connecting again");
                    }
                    // Said at the top of the loop.
                    Ended::Empty => continue,
                }
                // A server that takes workers only to drop them is not to be hurried.
                if since.elapsed() > config.retry_most {
                    backoff.reset();
                }
            }
            Err(error) if config.retry && may_pass(&error) => {
                let text = error.to_string();
                if let Some(tries) = trouble.worth_saying(&text, Instant::now()) {
                    tracing::warn!(tries, "cannot connect yet, will try again: {text}");
                }
            }
            Err(error) => return Err(RunError::Connect(error)),
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(backoff.wait()) => {}
        }
    }
}

/// Trouble of the network or of the server, which may be over soon; everything else needs a person.
fn may_pass(error: &ConnectError) -> bool {
    match error {
        ConnectError::Dial(dial) => !matches!(
            dial,
            DialError::Protocol { .. } | DialError::Version { .. } | DialError::WrongAuthority { .. }
        ),
        ConnectError::Busy(_) | ConnectError::Greeting { .. } => true,
        _ => false,
    }
}
