//! A lane to all the workers behind a message broker, a Redis or a RabbitMQ.
//!
//! The broker carries and nothing more. A hand-out that is lost on the way, or that its worker left behind,
//! comes back to the queue, which decides. While the broker cannot be reached there is no lane: what it had
//! went back to the front of its flows, and other lanes may serve. So it is with a broker that has no workers
//! for a key: the lane serves the keys alone for which some are there.
//!
//! What it holds is bounded by its credit, which is for all its workers together.

mod retry;
mod session;

use std::num::NonZeroU32;

use queue::{Key, WorkerId};
use tokio_util::sync::CancellationToken;
use wire::broker::{Url, server};
use wire::framing::Limits;

use crate::{Coordinator, Stopped};
use retry::Retry;
use session::{Over, Session};

/// A broker and what may go through it.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where it is.
    pub url: Url,
    /// This server's name, for people who look into the broker. It need not be the only one of that name.
    pub server: String,
    /// The identity of all its workers together, for flows that are pinned.
    pub worker: WorkerId,
    /// What its workers may be asked to do.
    pub keys: Vec<Key>,
    /// How many hand-outs may be there at a time: some more than all its workers do at once, and no more,
    /// since what waits in the broker is not shared out by the queue any longer.
    pub credit: NonZeroU32,
    /// What its workers can do beside the keys: see [`Link::Remote`](crate::Link::Remote). Nobody says so
    /// but who sets this up.
    pub abilities: Vec<String>,
    /// The longest messages.
    pub limits: Limits,
}

impl Config {
    /// The defaults: a credit of 64, no abilities.
    pub fn new(url: Url, server: impl Into<String>, worker: WorkerId, keys: Vec<Key>) -> Self {
        const CREDIT: NonZeroU32 = NonZeroU32::new(64).expect("64 is not 0");
        Config {
            url,
            server: server.into(),
            worker,
            keys,
            credit: CREDIT,
            abilities: Vec::new(),
            limits: Limits::default(),
        }
    }
}

/// Serves through the broker until `stop`, however often it goes and comes back; then finishes what is there
/// and leaves.
pub async fn run(coordinator: Coordinator, config: Config, stop: CancellationToken) -> Result<(), Stopped> {
    let mut retry = Retry::default();
    let mut before = None;
    while !stop.is_cancelled() {
        let options = server::Config {
            server: config.server.clone(),
            keys: config.keys.clone(),
            credit: config.credit.get(),
            limits: config.limits,
            before: before.clone(),
        };
        let connected = tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            connected = server::connect(&config.url, options) => connected,
        };
        match connected {
            Ok((sender, events)) => {
                before = Some(sender.address().to_owned());
                tracing::info!(broker = %config.url, "the broker is there");
                let over = Session::join(&coordinator, &config, sender).await?.serve(events, &stop).await?;
                match over {
                    Over::Drained => return Ok(()),
                    Over::Lost(error) => {
                        tracing::warn!(%error, "a broker's lane ends; what it had goes to the front again");
                    }
                    Over::GivenUp => {
                        tracing::warn!(broker = %config.url, "the queue gave a broker's lane up")
                    }
                }
                // One that was there for a while was well.
                retry.worked();
            }
            Err(error) => retry.failed(&error),
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = tokio::time::sleep(retry.wait()) => {}
        }
    }
    Ok(())
}
