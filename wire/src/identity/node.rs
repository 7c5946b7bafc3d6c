//! What a worker or a client shows: its certificate, its key, and the authority that it trusts.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use queue::WorkerId;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};

use super::enrol::{EnrolError, enrol};
use super::renew::{RenewError, renew};
use super::{Role, Subject, Token, files, subject};

/// A worker's identity, or a client's. `Debug` hides the key.
pub struct Identity {
    pub(super) subject: Subject,
    pub(super) certificate: CertificateDer<'static>,
    pub(super) authority: CertificateDer<'static>,
    pub(super) key: PrivatePkcs8KeyDer<'static>,
}

/// Why an identity cannot be loaded or saved.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// There is none yet.
    #[error("{}: this worker is not enrolled yet: start it once with --token (make one with `framelane workers token` on the server)", path.display())]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The file cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The key can be read by others.
    #[error("{}: others can read this private key: `chmod 600` it, or remove it and enrol again", path.display())]
    Exposed {
        /// Which file.
        path: PathBuf,
    },
    /// The file does not hold what it should.
    #[error("{}: no usable identity ({why}): remove it and enrol again with a new token", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

impl Identity {
    /// Exchanges a token for an identity. `server` is `HOST:PORT`; `name` is for people.
    ///
    /// # Errors
    /// A wrong, expired or used-up token, a server with another authority, and an unreachable one are
    /// told apart; each text says what to do.
    pub async fn enrol(server: &str, token: &Token, name: &str) -> Result<Self, EnrolError> {
        Self::enrol_as(Role::Worker, server, token, name).await
    }

    /// As [`enrol`](Self::enrol), with a token for this role.
    ///
    /// # Errors
    /// Also [`EnrolError::OtherRole`].
    pub async fn enrol_as(role: Role, server: &str, token: &Token, name: &str) -> Result<Self, EnrolError> {
        enrol(server, token, role, name).await
    }

    /// Exchanges this identity for one of the same worker with a new key and a new certificate. This one
    /// stays good until it expires.
    ///
    /// # Errors
    /// [`RenewError`].
    pub async fn renew(&self, server: &str) -> Result<Self, RenewError> {
        renew(self, server).await
    }

    /// Reads an identity that [`save`](Self::save) wrote. It may have expired: the server says so.
    ///
    /// # Errors
    /// [`IdentityError`]; `Missing` means that this worker must enrol.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, IdentityError> {
        let path = path.as_ref().to_owned();
        let pem = match std::fs::read(&path) {
            Ok(pem) => pem,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(IdentityError::Missing { path }),
            Err(source) => return Err(IdentityError::File { path, source }),
        };
        match files::is_open_to_others(&path) {
            Ok(false) => {}
            Ok(true) => return Err(IdentityError::Exposed { path }),
            Err(source) => return Err(IdentityError::File { path, source }),
        }
        Self::from_pem(&pem).map_err(|why| IdentityError::Damaged { path, why })
    }

    pub(crate) fn from_pem(pem: &[u8]) -> Result<Self, String> {
        let key = PrivatePkcs8KeyDer::from_pem_slice(pem).map_err(|e| e.to_string())?;
        let certificates =
            CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>().map_err(|e| e.to_string())?;
        let [certificate, authority] = <[_; 2]>::try_from(certificates)
            .map_err(|c| format!("2 certificates expected, {} found", c.len()))?;
        let subject = subject(&certificate).ok_or("the certificate does not say whose it is")?;
        Ok(Self { subject, certificate, authority, key })
    }

    /// Writes the identity to a file that only its owner can read, replacing an older one whole. The
    /// folder is made if it is missing.
    ///
    /// # Errors
    /// [`IdentityError::File`].
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), IdentityError> {
        let path = path.as_ref();
        let pem = files::pem("PRIVATE KEY", self.key.secret_pkcs8_der())
            + &files::pem("CERTIFICATE", &self.certificate)
            + &files::pem("CERTIFICATE", &self.authority);
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        folder
            .map_or(Ok(()), files::private_dir)
            .and_then(|()| files::replace(path, pem.as_bytes()))
            .map_err(|source| IdentityError::File { path: path.to_owned(), source })
    }

    /// The id that the authority gave: the same over all connections.
    pub fn worker(&self) -> WorkerId {
        self.subject.worker
    }

    /// What it is good for.
    pub fn role(&self) -> Role {
        self.subject.role
    }

    /// The name given at enrolment.
    pub fn name(&self) -> &str {
        &self.subject.name
    }

    /// When the certificate expires.
    pub fn expires(&self) -> SystemTime {
        time(self.subject.expires)
    }

    /// When to renew the certificate: with a third of its time left, so that a server may be away for
    /// weeks.
    pub fn renew_at(&self) -> SystemTime {
        let Subject { begins, expires, .. } = self.subject;
        time(expires.saturating_sub(expires.saturating_sub(begins) / 3))
    }

    /// What TLS shows of it.
    #[cfg(test)]
    pub(crate) fn shown(&self) -> (Vec<CertificateDer<'static>>, rustls::pki_types::PrivateKeyDer<'static>) {
        (vec![self.certificate.clone()], self.key.clone_key().into())
    }

    /// What TLS uses to speak this protocol.
    pub(crate) fn tls(
        &self,
        alpn: &'static [u8],
    ) -> Result<quinn::crypto::rustls::QuicClientConfig, rustls::Error> {
        let chain = vec![self.certificate.clone()];
        crate::tls::worker(chain, self.key.clone_key().into(), &self.authority, alpn)
    }
}

/// From seconds of the Unix epoch.
fn time(seconds: i64) -> SystemTime {
    let seconds = u64::try_from(seconds).unwrap_or(0);
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds)).unwrap_or(UNIX_EPOCH)
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("worker", &self.worker())
            .field("name", &self.name())
            .finish_non_exhaustive()
    }
}
