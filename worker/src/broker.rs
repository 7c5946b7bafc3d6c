//! A host behind a message broker: it serves every server that sends its jobs there.
//!
//! Beside [`node`](crate::node), which serves one server over QUIC. There is nothing to enrol with: who may
//! use the broker is the broker's to know.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use wire::broker::node as wire_node;
pub use wire::broker::{Error, Kind, Url, UrlError};
use wire::{Timings, Unprocessed};

use crate::backoff::{Backoff, Trouble};
use crate::host::{Host, Job, JobId, Refused};
use crate::node::RunError;

/// How a worker serves a broker.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where it is.
    pub url: Url,
    /// For people who look into the broker.
    pub name: String,
    /// How many jobs it takes at once. Default: twice as many as there are threads, and at least 8, so that
    /// the next ones are here when some are done. Jobs of milliseconds want no more; very short ones want some
    /// hundreds.
    pub credit: Option<NonZeroU32>,
    /// Whether to connect again when the connection is lost. Default true.
    pub reconnect: bool,
    /// The first wait before another try; it doubles from there. Default 250 ms.
    pub retry_first: Duration,
    /// The longest wait before another try. Default 5 s.
    pub retry_most: Duration,
    /// After how long without a sign of life a worker counts as gone, on Redis. Default 3 s; the same for all
    /// workers of a broker.
    pub dead_after: Duration,
    /// How long a drain may take before what is left is given up. Default 30 s.
    pub drain_within: Duration,
}

impl Config {
    /// The defaults, for this broker under this name.
    pub fn new(url: Url, name: impl Into<String>) -> Self {
        Config {
            url,
            name: name.into(),
            credit: None,
            reconnect: true,
            retry_first: Duration::from_millis(250),
            retry_most: Duration::from_secs(5),
            dead_after: Duration::from_secs(3),
            drain_within: Duration::from_secs(30),
        }
    }

    fn wire(&self, keys: Vec<queue::Key>, threads: usize) -> wire_node::Config {
        let threads = u32::try_from(threads).unwrap_or(u32::MAX);
        let usual = NonZeroU32::new(threads.saturating_mul(2).max(8)).unwrap_or(NonZeroU32::MIN);
        let mut config = wire_node::Config::new(self.name.clone(), keys, self.credit.unwrap_or(usual));
        config.dead_after = self.dead_after;
        config.drain_within = self.drain_within;
        config
    }
}

/// Works for a broker until `stop`, then finishes what is in hand and leaves. A lost connection is made again,
/// however long that takes. Begins when everything is loaded: jobs of a broker go to whoever asks for them, so
/// one that is not ready does not ask.
///
/// # Errors
/// [`RunError`]: there is nothing left to serve, or the connection is lost and [`Config::reconnect`] is off.
pub async fn run(config: &Config, host: Arc<Host>, stop: CancellationToken) -> Result<(), RunError> {
    let mut keys = host.keys();
    let mut backoff = Backoff::new(config.retry_first, config.retry_most);
    let mut trouble = Trouble::default();
    loop {
        let loaded = tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            loaded = keys.wait_for(|keys| keys.iter().all(|key| key.warm)) => match loaded {
                Ok(keys) => keys.iter().map(|key| key.key.clone()).collect::<Vec<_>>(),
                Err(_) => Vec::new(),
            },
        };
        if loaded.is_empty() {
            let why = host.nothing_left().unwrap_or_else(|| "the host has ended".to_owned());
            return Err(RunError::Nothing(why));
        }
        let session = host.next_session();
        let wire = config.wire(loaded, host.threads());
        let since = Instant::now();
        let ready = || {
            tracing::info!(broker = %config.url, credit = wire.credit, session, "connected");
            trouble.over();
        };
        let taking = Arc::clone(&host);
        let take = move |jobs| take(&taking, session, jobs);
        let served = wire_node::serve(&config.url, &wire, ready, take, &stop).await;
        host.abandon(session);
        let answered = host.counts().answered;
        match served {
            Ok(counts) => {
                tracing::info!(broker = %config.url, answered, ?counts, "drained");
                return Ok(());
            }
            Err(error) if stop.is_cancelled() => {
                tracing::warn!(%error, "connection lost while draining");
                return Ok(());
            }
            Err(error) if !config.reconnect => {
                let server = config.url.to_string();
                return Err(RunError::Lost { server, why: wire::Closed::Here(error.to_string()) });
            }
            Err(error) => {
                let text = error.to_string();
                if let Some(tries) = trouble.worth_saying(&text, Instant::now()) {
                    tracing::warn!(tries, answered, "no broker, will try again: {text}");
                }
            }
        }
        if since.elapsed() > config.retry_most {
            backoff.reset();
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(backoff.wait()) => {}
        }
    }
}

/// Gives jobs to the host.
fn take(host: &Host, session: u64, jobs: Vec<wire_node::Job>) {
    let now = Instant::now();
    let job = |wire_node::Job { ticket, key, budget_left, message, reply }| Job {
        id: JobId { session, ticket },
        key,
        message,
        deadline: budget_left.and_then(|left| now.checked_add(left)),
        done: Box::new(move |result, timings| reply.send(result, timings)),
    };
    for Refused { job, why } in host.submit_all(jobs.into_iter().map(job).collect()) {
        tracing::debug!(job = %job.id, key = %job.key, %why, "a job was refused");
        let why = format!("{}: {why}", job.key);
        (job.done)(Err(Unprocessed::Failed(why)), Timings::default());
    }
}
