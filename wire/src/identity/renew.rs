//! The exchange of a certificate that will expire for a new one.
//!
//! It has an ALPN and a connection of its own, on which the worker shows its present certificate, so the
//! lane's control stream knows nothing of it: a worker renews while it is busy, between two connections,
//! or before its first. The new certificate is for a new key and the same worker. The old one stays good
//! until it expires, so a reply that is lost costs nothing.

use std::time::Duration;

use quinn::Connection;
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Serialize};

use super::enrol::{self, NotServed, Reply, TIMEOUT};
use super::{Authority, Identity, Subject, subject};
use crate::close::Code;
use crate::exchange;
use crate::node::dial::{Dial, DialError, Verdict};
use crate::protocol::ALPN_RENEW;
use crate::transport;

/// Asks for the next certificate.
#[derive(Serialize, Deserialize)]
pub(crate) struct Request {
    /// PKCS#10, DER.
    #[serde(with = "serde_bytes")]
    request: Vec<u8>,
}

/// Why a worker has no new certificate. The one that it has is good until it expires.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RenewError {
    /// Nobody answers, or another server, or one that does not renew.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// It was too late.
    #[error("this worker's certificate has expired: enrol again with a new token")]
    Expired,
    /// The server does not take this worker any more.
    #[error("the server does not admit this worker ({0}): enrol again with a new token")]
    NotAdmitted(String),
    /// The server could not do it.
    #[error("the server could not renew the certificate: {0}")]
    Server(String),
    /// The exchange broke off.
    #[error("the renewal broke off: {0}")]
    Broken(String),
    /// No key can be made here.
    #[error("no key can be made: {0}")]
    Key(String),
}

/// The worker's side.
pub(super) async fn renew(old: &Identity, server: &str) -> Result<Identity, RenewError> {
    let unmade = |e: &dyn std::fmt::Display| RenewError::Key(e.to_string());
    let key = KeyPair::generate().map_err(|e| unmade(&e))?;
    let request = CertificateParams::default().serialize_request(&key).map_err(|e| unmade(&e))?;
    let request = Request { request: request.der().to_vec() };
    let tls = old.tls(ALPN_RENEW).map_err(|e| unmade(&e))?;
    let transport = transport::config(Default::default(), 0, 1, TIMEOUT);
    let (endpoint, connection) =
        Dial { tls, alpn: ALPN_RENEW, timeout: TIMEOUT, transport }.to(server).await?;
    let reply = tokio::time::timeout(TIMEOUT, exchange::ask(&connection, &request)).await;
    connection.close(Code::Done.varint(), b"renewed");
    // So that the farewell leaves before the endpoint goes; it needs no answer.
    let _ = tokio::time::timeout(Duration::from_secs(1), endpoint.wait_idle()).await;
    match reply.map_err(|_| RenewError::Broken("no reply".into()))? {
        Ok(Reply::Granted { certificate, .. }) => {
            let certificate = CertificateDer::from(certificate);
            let subject = subject(&certificate)
                .filter(|subject| subject.worker == old.worker() && subject.role == old.role())
                .ok_or_else(|| RenewError::Broken("the new certificate is another worker's".into()))?;
            let key = key.serialized_der().to_vec().into();
            let new = Identity { subject, certificate, authority: old.authority.clone(), key };
            // It replaces one that works, so it is looked at before: this checks that the key fits.
            new.tls(ALPN_RENEW)
                .map_err(|e| RenewError::Broken(format!("the new certificate is unusable: {e}")))?;
            Ok(new)
        }
        Ok(Reply::Denied(_)) => Err(RenewError::Broken("it was taken for an enrolment".into())),
        Ok(Reply::Bad(why) | Reply::Trouble(why)) => Err(RenewError::Server(why)),
        Err(exchange::Broken::Lost(e)) => Err(match Verdict::of(&e) {
            Verdict::Expired => RenewError::Expired,
            Verdict::Revoked(why) | Verdict::Refused(why) => RenewError::NotAdmitted(why),
            Verdict::Busy(why) | Verdict::Other(why) => RenewError::Broken(why),
        }),
        Err(other) => Err(RenewError::Broken(other.to_string())),
    }
}

/// The server's side, on the connection of a worker that was found to be admitted; the caller bounds the
/// time.
pub(crate) async fn serve(
    connection: &Connection,
    authority: &Authority,
    subject: &Subject,
) -> Result<(), NotServed> {
    let worker = subject.worker;
    let served = exchange::serve(connection, async |request: Request| {
        let (reply, served) =
            enrol::issued(authority, move |authority| authority.renew(worker, &request.request)).await;
        (reply, served.map(|_| tracing::info!(%worker, name = subject.name, "a certificate was renewed")))
    })
    .await;
    enrol::finish(connection, served)
}
