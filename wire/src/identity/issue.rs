//! The certificates that an authority signs: its own, a server's, a worker's or client's first and its next.

use std::time::{Duration, SystemTime};

use queue::WorkerId;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
};
use rustls::pki_types::{CertificateDer, CertificateSigningRequestDer, PrivateKeyDer};
use time::OffsetDateTime;

use super::authority::unix_now;
use super::ledger::Denied;
use super::{Authority, AuthorityError, HOLDER_ID, Record, Role, files};
use crate::server::Refusal;
use crate::tls::SERVER_NAME;

/// Clocks differ: certificates are valid a day before they are made, or as long as after it if that is
/// less, so that the share of a certificate's time that is left can be read from it.
const BACKDATED: Duration = Duration::from_secs(24 * 3600);
const TEN_YEARS: Duration = Duration::from_secs(3652 * 24 * 3600);

/// What enrolment and renewal give.
pub(crate) struct Issued {
    pub(crate) worker: WorkerId,
    pub(crate) certificate: CertificateDer<'static>,
}

/// What a server shows, and from when on it should show another one.
pub(crate) struct Leaf {
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) key: PrivateKeyDer<'static>,
    pub(crate) renew_at: SystemTime,
}

/// Why enrolment or renewal fails.
#[derive(Debug)]
pub(crate) enum NotIssued {
    Denied(Denied),
    NotAdmitted(Outside),
    /// The request is no certificate request that its own key signed.
    BadRequest(String),
    /// It is this end's fault.
    Trouble(String),
}

impl Authority {
    /// A certificate and key for a server. The key lives in memory only.
    pub(crate) fn server_leaf(&self) -> Result<Leaf, AuthorityError> {
        let key = KeyPair::generate()?;
        let mut params = self.params("framelane server", self.server_lifetime);
        params.subject_alt_names = vec![rcgen::SanType::DnsName(
            SERVER_NAME.try_into().map_err(|e: rcgen::Error| AuthorityError::Certificate(e.to_string()))?,
        )];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let renew_at: OffsetDateTime = params.not_after - (params.not_after - params.not_before) / 3;
        let leaf = params.signed_by(&key, &self.inner.issuer)?;
        // The authority goes along for those who only have its fingerprint.
        Ok(Leaf {
            chain: vec![leaf.into(), self.inner.certificate.clone()],
            key: key.into(),
            renew_at: renew_at.into(),
        })
    }

    /// Turns a token into a certificate. Blocks on files.
    pub(crate) fn enrol(
        &self,
        (token, secret): (u64, &[u8]),
        role: Role,
        name: &str,
        request: &[u8],
    ) -> Result<Issued, NotIssued> {
        // The request first: a broken one must not cost a use.
        read_request(request)?;
        let spent = self.inner.ledger.spend(token, secret, role, unix_now());
        spent.map_err(|e| trouble(&e))?.map_err(NotIssued::Denied)?;
        self.issue(role, name, request)
    }

    /// A first certificate, of somebody new.
    pub(super) fn issue(&self, role: Role, name: &str, request: &[u8]) -> Result<Issued, NotIssued> {
        let request = read_request(request)?;
        let now = unix_now();
        let worker = WorkerId(u64::from_be_bytes(self.random().map_err(|e| trouble(&e))?));
        let params = self.holder_params(worker, role, name);
        let record = Record {
            name: name.to_owned(),
            role,
            enrolled: now,
            issued: now,
            expires: seconds(params.not_after),
            revoked: None,
            drains: 0,
        };
        self.inner.register.add(worker, &record, now).map_err(|e| trouble(&e))?;
        self.sign(worker, params, &request)
    }

    /// Turns the certificate of a worker, which was checked before, into a new one for another key.
    /// Blocks on files.
    pub(crate) fn renew(&self, worker: WorkerId, request: &[u8]) -> Result<Issued, NotIssued> {
        let request = read_request(request)?;
        let register = &self.inner.register;
        let record =
            admitted(register.find(worker).map_err(|e| trouble(&e))?).map_err(NotIssued::NotAdmitted)?;
        let params = self.holder_params(worker, record.role, &record.name);
        let (now, expires) = (unix_now(), seconds(params.not_after));
        // Before it is signed: a certificate that nobody wrote down would outlive what is known of it.
        let changed = register.change(worker, |record| {
            record.issued = now;
            record.expires = expires;
        });
        // It may have been revoked meanwhile.
        admitted(changed.map_err(|e| trouble(&e))?).map_err(NotIssued::NotAdmitted)?;
        self.sign(worker, params, &request)
    }

    fn holder_params(&self, worker: WorkerId, role: Role, name: &str) -> CertificateParams {
        // Nothing of the request but its key: what the certificate is good for is not the asker's choice.
        let mut params = self.params(name, self.lifetime);
        params
            .distinguished_name
            .push(DnType::CustomDnType(HOLDER_ID.to_vec()), format!("{:016x}", worker.get()));
        params.distinguished_name.push(DnType::OrganizationalUnitName, role.name());
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params
    }

    /// No certificate outlives its authority.
    fn params(&self, name: &str, lifetime: Duration) -> CertificateParams {
        let mut params = params(name, lifetime);
        params.not_after = params.not_after.min(self.inner.expires);
        params
    }

    fn sign(
        &self,
        worker: WorkerId,
        params: CertificateParams,
        request: &CertificateSigningRequestParams,
    ) -> Result<Issued, NotIssued> {
        let certificate =
            params.signed_by(&request.public_key, &self.inner.issuer).map_err(|e| trouble(&e))?;
        Ok(Issued { worker, certificate: certificate.into() })
    }

    /// What somebody of a role that this version does not know would show.
    #[cfg(test)]
    pub(crate) fn stranger_for_tests(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let key = KeyPair::generate().unwrap();
        let mut params = self.holder_params(WorkerId(1), Role::Worker, "stranger");
        params.distinguished_name.remove(DnType::OrganizationalUnitName);
        params.distinguished_name.push(DnType::OrganizationalUnitName, "emperor");
        let certificate = params.signed_by(&key, &self.inner.issuer).unwrap();
        (vec![certificate.into()], key.into())
    }
}

/// A new key and its own certificate, as PEM.
pub(super) fn generate() -> Result<String, AuthorityError> {
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
    params.not_before = now - lifetime.min(BACKDATED);
    // So that no lifetime overflows a date.
    params.not_after = now + lifetime.min(TEN_YEARS);
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.use_authority_key_identifier_extension = true;
    params
}

/// The request, if its own key signed it.
fn read_request(der: &[u8]) -> Result<CertificateSigningRequestParams, NotIssued> {
    CertificateSigningRequestParams::from_der(&CertificateSigningRequestDer::from(der))
        .map_err(|e| NotIssued::BadRequest(e.to_string()))
}

/// Why a worker whose certificate is good is not admitted, in the words that it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Outside {
    #[error("it was revoked")]
    Revoked,
    /// A version without a register gave out such certificates.
    #[error(
        "the server has no record of it: it enrolled before the server kept records of its workers, or its record was removed"
    )]
    Unknown,
}

impl Outside {
    pub(crate) fn refusal(self) -> Refusal {
        match self {
            Self::Revoked => Refusal::Revoked,
            Self::Unknown => Refusal::UnknownWorker,
        }
    }
}

/// What is known of a worker that is still admitted.
pub(crate) fn admitted(record: Option<Record>) -> Result<Record, Outside> {
    match record {
        Some(Record { revoked: Some(_), .. }) => Err(Outside::Revoked),
        Some(record) => Ok(record),
        None => Err(Outside::Unknown),
    }
}

fn trouble(e: &dyn std::fmt::Display) -> NotIssued {
    NotIssued::Trouble(e.to_string())
}

fn seconds(time: OffsetDateTime) -> u64 {
    u64::try_from(time.unix_timestamp()).unwrap_or(0)
}
