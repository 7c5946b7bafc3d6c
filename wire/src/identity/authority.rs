//! The authority: the key that signs certificates, and the tokens that it honours.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use queue::WorkerId;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use ring::rand::{SecureRandom, SystemRandom};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateSigningRequestDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use time::OffsetDateTime;

use super::ledger::{Denied, Ledger, MAX_USES};
use super::token::{Token, TokenOptions};
use super::{WORKER_ID, files};
use crate::tls::{self, SERVER_NAME};

/// Key and certificate in one file, so that they can never be of two authorities.
const FILE: &str = "authority.pem";
/// Clocks differ: certificates are valid a day before they are made.
const BACKDATED: Duration = Duration::from_secs(24 * 3600);
const TEN_YEARS: Duration = Duration::from_secs(3652 * 24 * 3600);
const NINETY_DAYS: Duration = Duration::from_secs(90 * 24 * 3600);

/// Signs the certificates of one server and its workers. Cloning is a reference count.
#[derive(Clone)]
pub struct Authority {
    inner: Arc<Inner>,
    lifetime: Duration,
}

struct Inner {
    dir: PathBuf,
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    ledger: Ledger,
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
    /// A certificate cannot be made.
    #[error("no certificate can be made: {0}")]
    Certificate(String),
}

impl From<rcgen::Error> for AuthorityError {
    fn from(e: rcgen::Error) -> Self {
        Self::Certificate(e.to_string())
    }
}

/// What enrolment gives.
pub(crate) struct Issued {
    pub(crate) worker: WorkerId,
    pub(crate) certificate: CertificateDer<'static>,
}

/// Why enrolment fails.
#[derive(Debug)]
pub(crate) enum NotIssued {
    Denied(Denied),
    /// The request is no certificate request that its own key signed.
    BadRequest(String),
    /// It is this end's fault.
    Trouble(String),
}

impl Authority {
    /// Opens the authority in a folder, and makes folder, key and certificate when there are none.
    /// Of several processes that do so at once, all get the same authority.
    ///
    /// # Errors
    /// When files cannot be read or written, are damaged, or can be read by others.
    pub fn load_or_create(state_dir: impl AsRef<Path>) -> Result<Self, AuthorityError> {
        let dir = state_dir.as_ref().to_owned();
        let path = dir.join(FILE);
        let file = |source| AuthorityError::File { path: path.clone(), source };
        files::private_dir(&dir).map_err(|source| AuthorityError::File { path: dir.clone(), source })?;
        if !path.try_exists().map_err(file)? {
            files::create(&path, generate()?.as_bytes()).map_err(file)?;
        }
        if files::is_open_to_others(&path).map_err(file)? {
            return Err(AuthorityError::Exposed { path });
        }
        let pem = std::fs::read(&path).map_err(file)?;
        let damaged = |why: String| AuthorityError::Damaged { path: path.clone(), why };
        let key = PrivatePkcs8KeyDer::from_pem_slice(&pem).map_err(|e| damaged(e.to_string()))?;
        let certificate = CertificateDer::from_pem_slice(&pem).map_err(|e| damaged(e.to_string()))?;
        let key = KeyPair::try_from(&key).map_err(|e| damaged(e.to_string()))?;
        let issuer = Issuer::from_ca_cert_der(&certificate, key).map_err(|e| damaged(e.to_string()))?;
        let tokens = dir.join("tokens");
        let ledger =
            Ledger::open(tokens.clone()).map_err(|source| AuthorityError::File { path: tokens, source })?;
        let inner = Inner { dir, issuer, certificate, ledger, random: SystemRandom::new() };
        Ok(Self { inner: Arc::new(inner), lifetime: NINETY_DAYS })
    }

    /// How long the certificates of workers are valid. Default 90 days.
    #[must_use]
    pub fn certificate_lifetime(mut self, lifetime: Duration) -> Self {
        self.lifetime = lifetime;
        self
    }

    /// Mints a token. It is valid for every process that opens the same folder.
    ///
    /// # Errors
    /// [`AuthorityError::TooManyUses`]; [`AuthorityError::File`] when it cannot be written down.
    pub fn token(&self, options: TokenOptions) -> Result<Token, AuthorityError> {
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
        self.inner.ledger.add(&token, options.uses.get(), now).map_err(file)?;
        Ok(token)
    }

    /// SHA-256 of the authority's certificate, as in its tokens.
    pub fn fingerprint(&self) -> [u8; 32] {
        tls::fingerprint(&self.inner.certificate)
    }

    pub(crate) fn certificate(&self) -> &CertificateDer<'static> {
        &self.inner.certificate
    }

    /// A chain and key for a server. The key lives in memory only and the certificate as long as the
    /// authority's, since a running server gets no other one.
    pub(crate) fn server_certificate(
        &self,
    ) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), AuthorityError> {
        let key = KeyPair::generate()?;
        let mut params = params("framelane server", TEN_YEARS);
        params.subject_alt_names = vec![rcgen::SanType::DnsName(
            SERVER_NAME.try_into().map_err(|e: rcgen::Error| AuthorityError::Certificate(e.to_string()))?,
        )];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let leaf = params.signed_by(&key, &self.inner.issuer)?;
        // The authority goes along for those who only have its fingerprint.
        Ok((vec![leaf.into(), self.inner.certificate.clone()], key.into()))
    }

    /// Turns a token into a certificate. Blocks on files.
    pub(crate) fn enrol(
        &self,
        token: u64,
        secret: &[u8],
        name: &str,
        request: &[u8],
    ) -> Result<Issued, NotIssued> {
        let trouble = |e: &dyn std::fmt::Display| NotIssued::Trouble(e.to_string());
        // The request first: a broken one must not cost a use.
        let request = CertificateSigningRequestParams::from_der(&CertificateSigningRequestDer::from(request))
            .map_err(|e| NotIssued::BadRequest(e.to_string()))?;
        self.inner
            .ledger
            .spend(token, secret, unix_now())
            .map_err(|e| trouble(&e))?
            .map_err(NotIssued::Denied)?;
        let worker = WorkerId(u64::from_be_bytes(self.random().map_err(|e| trouble(&e))?));
        // Nothing of the request but its key: what the certificate is good for is not the asker's choice.
        let mut params = params(name, self.lifetime);
        params
            .distinguished_name
            .push(DnType::CustomDnType(WORKER_ID.to_vec()), format!("{:016x}", worker.get()));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let certificate =
            params.signed_by(&request.public_key, &self.inner.issuer).map_err(|e| trouble(&e))?;
        Ok(Issued { worker, certificate: certificate.into() })
    }

    fn random<const N: usize>(&self) -> Result<[u8; N], AuthorityError> {
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

/// A new key and its own certificate, as PEM.
fn generate() -> Result<String, AuthorityError> {
    let key = KeyPair::generate()?;
    // A name of its own: with equal names a wrong authority would look like a forged signature.
    let mut params = params(&format!("framelane authority {:016x}", fastrand::u64(..)), TEN_YEARS);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let certificate = params.self_signed(&key)?;
    Ok(files::pem("PRIVATE KEY", key.serialized_der()) + &files::pem("CERTIFICATE", certificate.der()))
}

fn params(name: &str, lifetime: Duration) -> CertificateParams {
    let now = OffsetDateTime::now_utc();
    let mut params = CertificateParams::default();
    params.not_before = now - BACKDATED;
    // No certificate outlives its authority by much, and no lifetime overflows a date.
    params.not_after = now + lifetime.min(TEN_YEARS);
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.use_authority_key_identifier_extension = true;
    params
}

fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())
}
