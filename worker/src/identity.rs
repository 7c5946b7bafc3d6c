//! How a worker gets in: a token once, then the certificate that it was exchanged for, and its successors.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use wire::identity::{EnrolError, IdentityError, RenewError};
use wire::node::DialError;

use crate::backoff::{Backoff, Trouble};

pub use wire::identity::{Identity, Token, TokenParseError};

/// The file in the state folder that holds certificate and key.
const FILE: &str = "identity.pem";

/// A worker's place at a server: which server, under which name, and where its identity is kept.
#[derive(Debug, Clone)]
pub struct Seat {
    server: String,
    name: String,
    state: PathBuf,
    retry: (Duration, Duration),
    retries: bool,
}

/// Why there is no identity.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SeatError {
    /// There is none on disk, or it cannot be read or written.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The server does not give one.
    #[error(transparent)]
    Enrol(#[from] EnrolError),
    /// The stop came first.
    #[error("stopped before this worker was enrolled")]
    Stopped,
}

impl Seat {
    /// A place at `server` (`HOST:PORT`); `name` is for people, `state` the folder for the identity.
    pub fn new(server: impl Into<String>, name: impl Into<String>, state: impl AsRef<Path>) -> Self {
        Seat {
            server: server.into(),
            name: name.into(),
            state: state.as_ref().to_owned(),
            retry: (Duration::from_millis(250), Duration::from_secs(5)),
            retries: true,
        }
    }

    /// Whether a server that does not answer is asked again. Default true.
    #[must_use]
    pub fn retries(mut self, retries: bool) -> Self {
        self.retries = retries;
        self
    }

    /// The file that holds the identity.
    pub fn path(&self) -> PathBuf {
        self.state.join(FILE)
    }

    /// The identity on disk; if there is none and there is a token, enrols. A token beside an identity is
    /// not used: so a worker may always be started with the same command.
    ///
    /// # Errors
    /// [`SeatError`]; each text says what to do.
    pub async fn take(&self, token: Option<Token>, stop: &CancellationToken) -> Result<Papers, SeatError> {
        match (Identity::load(self.path()), token) {
            (Err(IdentityError::Missing { .. }), Some(token)) => self.enrol(&token, stop).await,
            (loaded, _) => Ok(Papers::new(self.clone(), loaded?)),
        }
    }

    /// Exchanges a token for an identity and keeps it, in place of one that is there. A server that does
    /// not answer is asked again until `stop`.
    ///
    /// # Errors
    /// [`SeatError`].
    pub async fn enrol(&self, token: &Token, stop: &CancellationToken) -> Result<Papers, SeatError> {
        let mut backoff = Backoff::new(self.retry.0, self.retry.1);
        let mut trouble = Trouble::default();
        loop {
            let enrolled = tokio::select! {
                biased;
                () = stop.cancelled() => return Err(SeatError::Stopped),
                enrolled = Identity::enrol(&self.server, token, &self.name) => enrolled,
            };
            match enrolled {
                Ok(identity) => {
                    identity.save(self.path())?;
                    tracing::info!(worker = %identity.worker(), server = self.server, "enrolled");
                    return Ok(Papers::new(self.clone(), identity));
                }
                Err(error) if self.retries && may_pass(&error) => {
                    let text = error.to_string();
                    if let Some(tries) = trouble.worth_saying(&text, Instant::now()) {
                        tracing::warn!(tries, "cannot enrol yet, will try again: {text}");
                    }
                }
                Err(error) => return Err(error.into()),
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => return Err(SeatError::Stopped),
                () = tokio::time::sleep(backoff.wait()) => {}
            }
        }
    }
}

/// The shortest wait between two tries to renew, and the longest one.
const RENEW: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(3600));

/// A worker's identity in use, and on disk: [`keep`](Self::keep) replaces it before it expires.
#[derive(Debug)]
pub struct Papers {
    seat: Seat,
    identity: watch::Sender<Arc<Identity>>,
}

impl Papers {
    fn new(seat: Seat, identity: Identity) -> Self {
        Papers { seat, identity: watch::Sender::new(Arc::new(identity)) }
    }

    /// The identity to be shown now.
    pub fn identity(&self) -> Arc<Identity> {
        self.identity.borrow().clone()
    }

    /// Tells of each new one.
    pub fn watch(&self) -> watch::Receiver<Arc<Identity>> {
        self.identity.subscribe()
    }

    /// Renews the identity whenever a third of its time is left, for as long as it is polled;
    /// [`node::run`](crate::node::run) does. What fails is tried again.
    pub async fn keep(&self) -> Infallible {
        let mut backoff = Backoff::new(RENEW.0, RENEW.1);
        let mut trouble = Trouble::default();
        loop {
            let due = self.identity().renew_at().duration_since(SystemTime::now()).unwrap_or_default();
            if !due.is_zero() {
                backoff.reset();
                // In pieces, since the clock may be set meanwhile, or the machine sleep.
                tokio::time::sleep(due.min(RENEW.1)).await;
                continue;
            }
            match self.renew().await {
                Ok(()) => trouble.over(),
                Err(error) => {
                    if let Some(tries) = trouble.worth_saying(&error.to_string(), Instant::now()) {
                        tracing::warn!(tries, "this worker's certificate cannot be renewed yet: {error}");
                    }
                }
            }
            // After a success too: where the clock is wrong, each certificate looks old at once.
            tokio::time::sleep(backoff.wait()).await;
        }
    }

    /// Renews the identity now.
    ///
    /// # Errors
    /// [`KeepError`]; the present one stays.
    pub async fn renew(&self) -> Result<(), KeepError> {
        let new = self.identity().renew(&self.seat.server).await?;
        new.save(self.seat.path())?;
        tracing::info!(worker = %new.worker(), "this worker has a new certificate");
        self.identity.send_replace(Arc::new(new));
        Ok(())
    }
}

/// Why an identity was not renewed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeepError {
    /// The server did not do it.
    #[error(transparent)]
    Renew(#[from] RenewError),
    /// It cannot be kept.
    #[error(transparent)]
    Save(#[from] IdentityError),
}

impl SeatError {
    /// Whether only a person with another token can help.
    pub fn needs_token(&self) -> bool {
        match self {
            SeatError::Identity(error) => matches!(error, IdentityError::Missing { .. }),
            SeatError::Enrol(error) => error.needs_token(),
            SeatError::Stopped => false,
        }
    }
}

/// Trouble of the network or of the server, which may be over soon; everything else needs a person.
fn may_pass(error: &EnrolError) -> bool {
    match error {
        EnrolError::Dial(dial) => !matches!(
            dial,
            DialError::Protocol { .. } | DialError::Version { .. } | DialError::WrongAuthority { .. }
        ),
        EnrolError::Broken(_) => true,
        _ => false,
    }
}
