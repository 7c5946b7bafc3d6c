//! The authority as an operator sees it: its folder, its tokens, its workers.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use queue::WorkerId;
use rcgen::{Issuer, KeyPair};
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use time::OffsetDateTime;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::files;
use super::issue::generate;
use super::ledger::{Ledger, MAX_USES};
use super::node::IdentityError;
use super::register::{Known, Record, Register};
use super::role::Role;
use super::token::{Token, TokenOptions};
use crate::tls;
use crate::transport::Recall;

/// Key and certificate in one file, so that they can never be of two authorities.
const FILE: &str = "authority.pem";
const NINETY_DAYS: Duration = Duration::from_secs(90 * 24 * 3600);

/// Signs the certificates of one server and its workers. Cloning is a reference count.
#[derive(Clone)]
pub struct Authority {
    pub(super) inner: Arc<Inner>,
    pub(super) lifetime: Duration,
    pub(super) server_lifetime: Duration,
}

pub(super) struct Inner {
    dir: PathBuf,
    pub(super) issuer: Issuer<'static, KeyPair>,
    pub(super) certificate: CertificateDer<'static>,
    pub(super) expires: OffsetDateTime,
    pub(super) ledger: Ledger,
    pub(super) register: Register,
    random: SystemRandom,
}

/// Why an authority cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuthorityError {
    /// A file cannot be read or written.
    #[error("{}: {source}; is the folder there, and does it belong to this user?", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The key can be read by others.
    #[error("{}: others can read this private key; `chmod 600` it, and think about who did", path.display())]
    Exposed {
        /// Which file.
        path: PathBuf,
    },
    /// There is no authority, and none was to be made.
    #[error("{}: there is no authority here; is this the state folder of the server?", path.display())]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The file holds no key with its certificate.
    #[error("{}: no usable key and certificate ({why}); restore it, or remove it to begin anew, after which all workers enrol again", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// More uses than a token can have.
    #[error("a token has at most {MAX_USES} uses, not {0}")]
    TooManyUses(u32),
    /// The identity that is kept for commands on this host cannot be read or written.
    #[error(transparent)]
    Own(IdentityError),
    /// A certificate cannot be made.
    #[error("no certificate can be made: {0}")]
    Certificate(String),
}

impl From<rcgen::Error> for AuthorityError {
    fn from(e: rcgen::Error) -> Self {
        Self::Certificate(e.to_string())
    }
}

impl Authority {
    /// Opens the authority in a folder, and makes folder, key and certificate when there are none.
    /// Of several processes that do so at once, all get the same authority.
    ///
    /// # Errors
    /// When files cannot be read or written, are damaged, or can be read by others.
    pub fn load_or_create(state_dir: impl AsRef<Path>) -> Result<Self, AuthorityError> {
        let dir = state_dir.as_ref();
        let path = dir.join(FILE);
        let file = |source| AuthorityError::File { path: path.clone(), source };
        files::private_dir(dir).map_err(|source| AuthorityError::File { path: dir.to_owned(), source })?;
        if !path.try_exists().map_err(file)? {
            files::create(&path, generate()?.as_bytes()).map_err(file)?;
        }
        Self::load(dir)
    }

    /// Opens the authority in a folder.
    ///
    /// # Errors
    /// [`AuthorityError::Missing`] when there is none, else as [`load_or_create`](Self::load_or_create).
    pub fn load(state_dir: impl AsRef<Path>) -> Result<Self, AuthorityError> {
        let dir = state_dir.as_ref().to_owned();
        let path = dir.join(FILE);
        let file = |source| AuthorityError::File { path: path.clone(), source };
        if !path.try_exists().map_err(file)? {
            return Err(AuthorityError::Missing { path });
        }
        if files::is_open_to_others(&path).map_err(file)? {
            return Err(AuthorityError::Exposed { path });
        }
        let pem = std::fs::read(&path).map_err(file)?;
        let damaged = |why: String| AuthorityError::Damaged { path: path.clone(), why };
        let key = PrivatePkcs8KeyDer::from_pem_slice(&pem).map_err(|e| damaged(e.to_string()))?;
        let certificate = CertificateDer::from_pem_slice(&pem).map_err(|e| damaged(e.to_string()))?;
        let expires = X509Certificate::from_der(&certificate).map_err(|e| damaged(e.to_string()))?;
        let expires = expires.1.validity().not_after.to_datetime();
        let key = KeyPair::try_from(&key).map_err(|e| damaged(e.to_string()))?;
        let issuer = Issuer::from_ca_cert_der(&certificate, key).map_err(|e| damaged(e.to_string()))?;
        let folder = |name| {
            let path = dir.join(name);
            (path.clone(), move |source| AuthorityError::File { path, source })
        };
        let (tokens, trouble) = folder("tokens");
        let ledger = Ledger::open(tokens).map_err(trouble)?;
        let (workers, trouble) = folder("workers");
        let register = Register::open(workers).map_err(trouble)?;
        let random = SystemRandom::new();
        let inner = Inner { dir, issuer, certificate, expires, ledger, register, random };
        Ok(Self { inner: Arc::new(inner), lifetime: NINETY_DAYS, server_lifetime: NINETY_DAYS })
    }

    /// By what this server's connections know it again after a restart: it follows from the key, which never
    /// leaves the folder, and tells nothing of it.
    pub(crate) fn recall(&self) -> Recall {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.inner.issuer.key().serialized_der());
        let secret = hmac::sign(&key, b"framelane: connections of an earlier process");
        let mut bytes = [0; 32];
        bytes.copy_from_slice(secret.as_ref());
        Recall::new(bytes)
    }

    /// How long the certificates of workers are valid. Default 90 days.
    #[must_use]
    pub fn certificate_lifetime(mut self, lifetime: Duration) -> Self {
        self.lifetime = lifetime;
        self
    }

    /// How long the certificate of a server is valid before it is replaced. Default 90 days.
    #[must_use]
    pub fn server_lifetime(mut self, lifetime: Duration) -> Self {
        self.server_lifetime = lifetime;
        self
    }

    /// When the authority's own certificate expires: ten years after it was made. Then all begins anew.
    pub fn expires(&self) -> SystemTime {
        self.inner.expires.into()
    }

    /// The workers that were admitted, revoked ones too, by id. They are forgotten 30 days after their
    /// certificates have expired.
    ///
    /// # Errors
    /// [`AuthorityError::File`].
    pub fn workers(&self) -> Result<Vec<Known>, AuthorityError> {
        Ok(self.known()?.into_iter().filter(|known| known.role == Role::Worker).collect())
    }

    /// All that were admitted, whatever their role; else as [`workers`](Self::workers).
    ///
    /// # Errors
    /// [`AuthorityError::File`].
    pub fn known(&self) -> Result<Vec<Known>, AuthorityError> {
        let all = self.inner.register.all().map_err(|source| self.workers_file(source))?;
        Ok(all.into_iter().map(|(id, record)| Known::new(id, record)).collect())
    }

    /// Admits a worker, or who has another role, no more. A server of this authority, in whichever process, refuses it from now on
    /// and ends its connection within a second. Nothing undoes this; the worker can enrol anew, as
    /// another one. `None`: there is no such worker. A second time changes nothing.
    ///
    /// # Errors
    /// [`AuthorityError::File`].
    pub fn revoke(&self, worker: WorkerId) -> Result<Option<Known>, AuthorityError> {
        let now = unix_now();
        self.change(worker, |record| {
            record.revoked.get_or_insert(now);
        })
    }

    /// Asks whichever server a worker is connected to to drain it now: it finishes what it holds, leaves,
    /// and does not come back by itself. Nothing happens to one that is not connected. `None`: there is
    /// no such worker.
    ///
    /// # Errors
    /// [`AuthorityError::File`].
    pub fn drain(&self, worker: WorkerId) -> Result<Option<Known>, AuthorityError> {
        self.change(worker, |record| record.drains = record.drains.saturating_add(1))
    }

    fn change(
        &self,
        worker: WorkerId,
        change: impl FnOnce(&mut Record),
    ) -> Result<Option<Known>, AuthorityError> {
        let changed =
            self.inner.register.change(worker, change).map_err(|source| self.workers_file(source))?;
        Ok(changed.map(|record| Known::new(worker, record)))
    }

    /// A file of this name in the authority's folder.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.inner.dir.join(name)
    }

    pub(super) fn workers_file(&self, source: io::Error) -> AuthorityError {
        AuthorityError::File { path: self.inner.dir.join("workers"), source }
    }

    pub(crate) fn register(&self) -> &Register {
        &self.inner.register
    }

    /// Mints a token for workers. It is valid for every process that opens the same folder.
    ///
    /// # Errors
    /// [`AuthorityError::TooManyUses`]; [`AuthorityError::File`] when it cannot be written down.
    pub fn token(&self, options: TokenOptions) -> Result<Token, AuthorityError> {
        self.token_for(Role::Worker, options)
    }

    /// Mints a token for a role, otherwise as [`token`](Self::token).
    ///
    /// # Errors
    /// As [`token`](Self::token).
    pub fn token_for(&self, role: Role, options: TokenOptions) -> Result<Token, AuthorityError> {
        if options.uses.get() > MAX_USES {
            return Err(AuthorityError::TooManyUses(options.uses.get()));
        }
        let now = unix_now();
        let token = Token {
            fingerprint: tls::fingerprint(&self.inner.certificate),
            id: u64::from_be_bytes(self.random()?),
            secret: self.random()?,
            expires: now.saturating_add(options.expires_in.as_secs()),
        };
        let path = self.inner.dir.join("tokens");
        let file = |source| AuthorityError::File { path, source };
        self.inner.ledger.add(&token, role, options.uses.get(), now).map_err(file)?;
        Ok(token)
    }

    /// SHA-256 of the authority's certificate, as in its tokens.
    pub fn fingerprint(&self) -> [u8; 32] {
        tls::fingerprint(&self.inner.certificate)
    }

    pub(crate) fn certificate(&self) -> &CertificateDer<'static> {
        &self.inner.certificate
    }

    pub(super) fn random<const N: usize>(&self) -> Result<[u8; N], AuthorityError> {
        let mut bytes = [0; N];
        self.inner
            .random
            .fill(&mut bytes)
            .map_err(|_| AuthorityError::Certificate("the system gives no random bytes".into()))?;
        Ok(bytes)
    }
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").field("dir", &self.inner.dir).finish_non_exhaustive()
    }
}

pub(crate) fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())
}
