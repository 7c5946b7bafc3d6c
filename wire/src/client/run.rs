//! A client's own task: one connection after another, and the identity kept fresh meanwhile.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::answers::Came;
use super::backoff::Backoff;
use super::connect::{Link, dial};
use super::raw::Shared;
use super::session::{self, Ended};
use super::{Config, ConnectError};
use crate::close::Closed;
use crate::identity::Identity;

/// The shortest wait between two tries to renew the identity, and the longest one.
const RENEW: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(3600));
/// How long the end of a client waits for a caller that does not take the last answers.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// `answers` is dropped at the end, which ends the stream of answers.
pub(super) async fn run(
    shared: Arc<Shared>,
    answers: mpsc::Sender<Came>,
    (server, identity, config): (String, Arc<Identity>, Config),
    link: Link,
) {
    let papers = Papers { server: &server, config: &config, identity: Mutex::new(identity) };
    let why = tokio::select! {
        biased;
        why = connections(&shared, &answers, &papers, link) => why,
        never = papers.keep() => match never {},
    };
    let came = shared.end(why);
    if !came.is_empty() {
        let _ = timeout(LAST_WORDS, answers.send(came)).await;
    }
    shared.over.send_replace(true);
}

/// Runs one connection after another, and gives why there is no other one.
async fn connections(
    shared: &Shared,
    answers: &mpsc::Sender<Came>,
    papers: &Papers<'_>,
    mut link: Link,
) -> Closed {
    let Papers { server, config, .. } = papers;
    let mut backoff = Backoff::new(config.retry_first, config.retry_most);
    loop {
        let since = Instant::now();
        let endpoint = link.endpoint.clone();
        let ended = session::run(shared, answers, link, !config.reconnect).await;
        let why = match ended {
            Ended::Done => {
                // So that the farewell leaves before the endpoint goes.
                let _ = timeout(LAST_WORDS, endpoint.wait_idle()).await;
                return Closed::Here("closed".into());
            }
            Ended::Drained => Closed::There("the coordinator stops".into()),
            Ended::Lost(why) => why,
        };
        let mut settled = Vec::new();
        let empty = {
            let mut state = shared.state();
            state.lost(&why, &mut settled);
            state.is_empty()
        };
        let came = shared.settle(settled);
        if !came.is_empty() {
            let _ = answers.send(came).await;
        }
        let fatal = matches!(why, Closed::Revoked(_) | Closed::Expired | Closed::SentAway(_));
        if fatal || !config.reconnect || (shared.closing.is_cancelled() && empty) {
            return why;
        }
        tracing::info!(server, %why, "the connection to the coordinator ended, connecting again");
        if since.elapsed() > config.retry_most {
            backoff.reset();
        }
        link = tokio::select! {
            biased;
            () = shared.abandoned.cancelled() => return Closed::Here("closed".into()),
            link = again(papers, &mut backoff) => match link {
                Ok(link) => link,
                Err(error) => {
                    tracing::error!(server, %error, "connecting again is of no use");
                    return Closed::Lost(error.to_string());
                }
            },
        };
    }
}

/// Dials until it succeeds, or trying again is of no use.
async fn again(papers: &Papers<'_>, backoff: &mut Backoff) -> Result<Link, ConnectError> {
    let mut said: Option<(String, Instant)> = None;
    loop {
        sleep(backoff.wait()).await;
        match dial(papers.server, &papers.identity(), papers.config).await {
            Ok(link) => return Ok(link),
            Err(error) if error.may_pass() => {
                let text = error.to_string();
                // The same trouble once a minute.
                let old =
                    said.as_ref().is_some_and(|(before, at)| *before == text && at.elapsed() < RENEW.1 / 60);
                if !old {
                    tracing::warn!("cannot connect yet, will try again: {text}");
                    said = Some((text, Instant::now()));
                }
            }
            Err(error) => return Err(error),
        }
    }
}

/// The identity in use.
struct Papers<'a> {
    server: &'a str,
    config: &'a Config,
    identity: Mutex<Arc<Identity>>,
}

impl Papers<'_> {
    fn identity(&self) -> Arc<Identity> {
        self.identity.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Renews the identity whenever a third of its time is left.
    async fn keep(&self) -> Infallible {
        let mut backoff = Backoff::new(RENEW.0, RENEW.1);
        loop {
            let identity = self.identity();
            let due = identity.renew_at().duration_since(SystemTime::now()).unwrap_or_default();
            if !due.is_zero() {
                backoff.reset();
                // In pieces, since the clock may be set meanwhile, or the machine sleep.
                sleep(due.min(RENEW.1)).await;
                continue;
            }
            match identity.renew(self.server).await {
                Ok(new) => {
                    if let Some(Err(error)) = self.config.keep.as_ref().map(|path| new.save(path)) {
                        tracing::warn!(%error, "this client's new certificate cannot be kept");
                    }
                    *self.identity.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(new);
                }
                Err(error) => tracing::warn!(%error, "this client's certificate cannot be renewed yet"),
            }
            // After a success too: where the clock is wrong, each certificate looks old at once.
            sleep(backoff.wait()).await;
        }
    }
}
