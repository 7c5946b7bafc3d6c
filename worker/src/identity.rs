//! How a worker gets in: a token once, then the certificate that it was exchanged for.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use wire::identity::{EnrolError, IdentityError};
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
        }
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
    pub async fn take(&self, token: Option<Token>, stop: &CancellationToken) -> Result<Identity, SeatError> {
        match (Identity::load(self.path()), token) {
            (Err(IdentityError::Missing { .. }), Some(token)) => self.enrol(&token, stop).await,
            (loaded, _) => Ok(loaded?),
        }
    }

    /// Exchanges a token for an identity and keeps it, in place of one that is there. A server that does
    /// not answer is asked again until `stop`.
    ///
    /// # Errors
    /// [`SeatError`].
    pub async fn enrol(&self, token: &Token, stop: &CancellationToken) -> Result<Identity, SeatError> {
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
                    return Ok(identity);
                }
                Err(error) if may_pass(&error) => {
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

/// Trouble of the network or of the server, which may be over soon; everything else needs a person.
fn may_pass(error: &EnrolError) -> bool {
    match error {
        EnrolError::Dial(dial) => {
            !matches!(dial, DialError::Protocol { .. } | DialError::WrongAuthority { .. })
        }
        EnrolError::Broken(_) => true,
        _ => false,
    }
}
