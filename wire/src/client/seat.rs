//! A client's place at a coordinator: the file that holds its identity, and how it gets there.

use std::path::PathBuf;
use std::time::Duration;

use super::{Ask, Config, ConnectError, OperateError, Raw, RawAnswers, connect, operate};
use crate::identity::{EnrolError, Identity, IdentityError, Role, Token};

/// Where a client connects, and what it is let in with: an identity in a file, and a token for the first time.
///
/// **A token beside an identity is used where the identity is refused**, and not otherwise. So a program may
/// always be started with the same command, and whoever is told to enrol again does so with a new token, whether
/// the coordinator has revoked the identity, has let it expire, or is another one than it was.
#[derive(Debug, Clone)]
pub struct Seat {
    server: String,
    role: Role,
    name: String,
    path: PathBuf,
    token: Option<Token>,
}

/// Why a client does not get in.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EntryError {
    /// There is no identity, and no token to get one with.
    #[error(
        "{}: nobody has enrolled with this file yet: give a token too, the first time; on the coordinator's host \
         `framelane-tasks token --role {role}` makes one",
        path.display()
    )]
    NotEnrolled {
        /// Where the identity was looked for.
        path: PathBuf,
        /// What it should be good for.
        role: Role,
    },
    /// The identity is good for something else. Another one in its place would be a loss.
    #[error("{}: this identity has the role `{has}`; the role `{role}` needs a file of its own", path.display())]
    OtherRole {
        /// Which file.
        path: PathBuf,
        /// What it is good for.
        has: Role,
        /// What it should be good for.
        role: Role,
    },
    /// The identity cannot be read or written.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The coordinator gives none for the token.
    #[error(transparent)]
    Enrol(EnrolError),
    /// The identity is refused, and the coordinator gives no other one for the token.
    #[error("{refused}. The token that is there does not help: {source}")]
    NotAgain {
        /// Why the identity is refused.
        refused: String,
        /// Why there is no other one.
        source: EnrolError,
    },
    /// The coordinator cannot be reached, or refuses.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The coordinator does not answer to an operator.
    #[error(transparent)]
    Operate(#[from] OperateError),
}

impl EntryError {
    /// Whether only a person with another token can help.
    pub fn needs_token(&self) -> bool {
        match self {
            Self::NotEnrolled { .. } => true,
            Self::Enrol(error) | Self::NotAgain { source: error, .. } => error.needs_token(),
            Self::OtherRole { .. } | Self::Identity(_) => false,
            Self::Connect(_) | Self::Operate(_) => self.refuses_identity(),
        }
    }

    /// Whether the coordinator was reached and the identity is of no use there.
    fn refuses_identity(&self) -> bool {
        match self {
            Self::Connect(error) => error.needs_enrolment(),
            Self::Operate(error) => error.needs_enrolment(),
            _ => false,
        }
    }
}

impl Seat {
    /// A client's place at `server` (`HOST:PORT`), with the identity in the file at `path`. `name` is for people.
    pub fn new(server: impl Into<String>, name: impl Into<String>, path: impl Into<PathBuf>) -> Self {
        Self { server: server.into(), role: Role::Client, name: name.into(), path: path.into(), token: None }
    }

    /// What it is for, and what the token must be for.
    #[must_use]
    pub fn role(self, role: Role) -> Self {
        Self { role, ..self }
    }

    /// What to enrol with, where that is needed.
    #[must_use]
    pub fn token(self, token: Option<Token>) -> Self {
        Self { token, ..self }
    }

    /// Connects, as [`connect`](super::connect()) does. A renewed identity is kept in the file, unless the configuration
    /// says where else.
    ///
    /// # Errors
    /// [`EntryError`]; each text says what to do.
    pub async fn connect(&self, mut config: Config) -> Result<(Raw, RawAnswers), EntryError> {
        config.keep.get_or_insert_with(|| self.path.clone());
        let (identity, new) = self.identity().await?;
        match connect(&self.server, identity, config.clone()).await.map_err(EntryError::from) {
            Err(error) if !new && error.refuses_identity() => {
                Ok(connect(&self.server, self.another(error).await?, config).await?)
            }
            done => done,
        }
    }

    /// Asks as an operator, as [`operate`](super::operate()) does.
    ///
    /// # Errors
    /// [`EntryError`]; each text says what to do.
    pub async fn operate(&self, ask: Ask, within: Duration) -> Result<String, EntryError> {
        let (identity, new) = self.identity().await?;
        match operate(&self.server, &identity, ask, within).await.map_err(EntryError::from) {
            Err(error) if !new && error.refuses_identity() => {
                Ok(operate(&self.server, &self.another(error).await?, ask, within).await?)
            }
            done => done,
        }
    }

    /// The identity on disk, or a new one where there is none, and whether it is new: the coordinator has just made
    /// that, and if it refuses it, so it does the next one.
    async fn identity(&self) -> Result<(Identity, bool), EntryError> {
        let identity = match (Identity::load(&self.path), &self.token) {
            (Err(IdentityError::Missing { .. }), Some(token)) => {
                let identity = self.enrol(token).await.map_err(EntryError::Enrol)?;
                identity.save(&self.path)?;
                return Ok((identity, true));
            }
            (Err(IdentityError::Missing { path }), None) => {
                return Err(EntryError::NotEnrolled { path, role: self.role });
            }
            (loaded, _) => loaded?,
        };
        if identity.role() != self.role {
            let (path, has) = (self.path.clone(), identity.role());
            return Err(EntryError::OtherRole { path, has, role: self.role });
        }
        Ok((identity, false))
    }

    /// An identity in place of the one that was refused, if there is a token for it.
    async fn another(&self, refused: EntryError) -> Result<Identity, EntryError> {
        let Some(token) = &self.token else { return Err(refused) };
        tracing::warn!(%refused, "enrolling again with the token");
        let another = self.enrol(token).await;
        let another =
            another.map_err(|source| EntryError::NotAgain { refused: refused.to_string(), source })?;
        another.save(&self.path)?;
        Ok(another)
    }

    async fn enrol(&self, token: &Token) -> Result<Identity, EnrolError> {
        Identity::enrol_as(self.role, &self.server, token, &self.name).await
    }
}
