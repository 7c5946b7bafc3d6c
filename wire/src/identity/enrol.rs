//! The exchange of a token for a certificate, on an ALPN of its own: one stream, one request, one reply.

use std::time::Duration;

use quinn::Connection;
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Serialize};

use super::issue::{Issued, NotIssued};
use super::ledger::Denied;
use super::{Authority, Identity, Role, Token, subject};
use crate::close::Code;
use crate::exchange::{self, Broken};
use crate::node::dial::{Dial, DialError};
use crate::protocol::{ALPN_ENROL, cut, name_is_good};
use crate::server::Refusal;
use crate::tls;

/// How long the client waits for the whole exchange.
pub(super) const TIMEOUT: Duration = Duration::from_secs(10);

/// Asks for a first certificate.
#[derive(Serialize, Deserialize)]
pub(crate) struct Request {
    token: u64,
    #[serde(with = "serde_bytes")]
    secret: Vec<u8>,
    name: String,
    /// Absent: a worker.
    #[serde(default)]
    role: Role,
    /// PKCS#10, DER.
    #[serde(with = "serde_bytes")]
    request: Vec<u8>,
}

/// The answer to [`Request`], and to the request for a renewal.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Reply {
    Granted {
        /// X.509, DER.
        #[serde(with = "serde_bytes")]
        certificate: Vec<u8>,
        /// The authority's own, DER.
        #[serde(with = "serde_bytes")]
        authority: Vec<u8>,
    },
    Denied(Denied),
    Bad(String),
    Trouble(String),
}

/// Why a worker, or who wants another role, cannot enrol.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnrolError {
    /// The server knows no such token.
    #[error(
        "the server does not know this token; make a new one on the server, with `framelane workers token` or `framelane-tasks token`"
    )]
    WrongToken,
    /// The token's time is over.
    #[error(
        "the token has expired; make a new one on the server, with `framelane workers token` or `framelane-tasks token`"
    )]
    ExpiredToken,
    /// All uses of the token are spent.
    #[error(
        "the token is used up; make a new one on the server, with `framelane workers token` or `framelane-tasks token` (--uses N lets several workers share one)"
    )]
    UsedUpToken,
    /// The token lets others in.
    #[error(
        "the token lets in another role and no {role}: each role needs a token of its own, and `framelane-tasks token \
         --role {role}`{tool} makes one",
        role = .0, tool = if *.0 == Role::Worker { " or `framelane workers token`" } else { "" }
    )]
    OtherRole(Role),
    /// The server that answers is not the one that made the token.
    #[error(
        "{server} is not the server that made this token (it has another authority): check the address, or make a token there"
    )]
    WrongAuthority {
        /// The address that was dialled.
        server: String,
    },
    /// Nobody answers, or no Framelane server of this protocol.
    #[error(transparent)]
    Dial(DialError),
    /// The name cannot be used.
    #[error("{0:?} cannot be a name: 1 to 64 bytes without control characters")]
    BadName(String),
    /// The server could not do it.
    #[error("the server could not enrol it: {0}")]
    Server(String),
    /// The exchange broke off.
    #[error("the server broke off the enrolment ({0}); try again")]
    Broken(String),
    /// No key can be made here.
    #[error("no key can be made: {0}")]
    Key(String),
}

impl EnrolError {
    /// Whether only a person with another token can help.
    pub fn needs_token(&self) -> bool {
        matches!(
            self,
            Self::WrongToken
                | Self::ExpiredToken
                | Self::UsedUpToken
                | Self::OtherRole(_)
                | Self::WrongAuthority { .. }
        )
    }
}

impl From<DialError> for EnrolError {
    fn from(e: DialError) -> Self {
        match e {
            DialError::WrongAuthority { server } => Self::WrongAuthority { server },
            other => Self::Dial(other),
        }
    }
}

/// The client's side.
pub(super) async fn enrol(
    server: &str,
    token: &Token,
    role: Role,
    name: &str,
) -> Result<Identity, EnrolError> {
    if !name_is_good(name) {
        return Err(EnrolError::BadName(name.to_owned()));
    }
    let key = KeyPair::generate().map_err(|e| EnrolError::Key(e.to_string()))?;
    let request =
        CertificateParams::default().serialize_request(&key).map_err(|e| EnrolError::Key(e.to_string()))?;
    let tls = tls::enrolling(token.fingerprint).map_err(|e| EnrolError::Key(e.to_string()))?;
    let dial = Dial {
        tls,
        alpn: ALPN_ENROL,
        timeout: TIMEOUT,
        transport: crate::transport::config(Default::default(), 0, 1, TIMEOUT),
    };
    let (endpoint, connection) = dial.to(server).await?;
    let request = Request {
        token: token.id,
        secret: token.secret.to_vec(),
        name: name.to_owned(),
        role,
        request: request.der().to_vec(),
    };
    let reply = tokio::time::timeout(TIMEOUT, exchange::ask(&connection, &request)).await;
    connection.close(Code::Done.varint(), b"enrolled");
    // So that the farewell leaves before the endpoint goes; it needs no answer.
    let _ = tokio::time::timeout(Duration::from_secs(1), endpoint.wait_idle()).await;
    let reply = reply.map_err(|_| EnrolError::Broken("no reply".into()))?;
    match reply.map_err(|e| EnrolError::Broken(e.to_string()))? {
        Reply::Granted { certificate, authority } => {
            let certificate = CertificateDer::from(certificate);
            let authority = CertificateDer::from(authority);
            let ours = tls::fingerprint(&authority) == token.fingerprint;
            match subject(&certificate) {
                Some(subject) if ours && subject.role == role => Ok(Identity {
                    subject,
                    certificate,
                    authority,
                    key: key.serialized_der().to_vec().into(),
                }),
                _ => Err(EnrolError::Broken("the certificate is unusable".into())),
            }
        }
        Reply::Denied(Denied::Unknown) => Err(EnrolError::WrongToken),
        Reply::Denied(Denied::Expired) => Err(EnrolError::ExpiredToken),
        Reply::Denied(Denied::UsedUp) => Err(EnrolError::UsedUpToken),
        Reply::Denied(Denied::OtherRole) => Err(EnrolError::OtherRole(role)),
        Reply::Bad(why) | Reply::Trouble(why) => Err(EnrolError::Server(why)),
    }
}

/// A stranger that did not get what it asked for.
pub(crate) type NotServed = (Refusal, String);

/// The server's side, on a fresh connection; the caller bounds the time.
pub(crate) async fn serve(connection: &Connection, authority: &Authority) -> Result<(), NotServed> {
    let served = exchange::serve(connection, async |request: Request| {
        if !name_is_good(&request.name) {
            let why = "a name has 1 to 64 bytes and no control characters".to_owned();
            return (Reply::Bad(why.clone()), Err((Refusal::Violation, why)));
        }
        let (role, name) = (request.role, request.name.clone());
        let issue = move |authority: &Authority| {
            authority.enrol((request.token, &request.secret), role, &request.name, &request.request)
        };
        let (reply, served) = issued(authority, issue).await;
        (reply, served.map(|worker| tracing::info!(%worker, %role, name, "enrolled")))
    })
    .await;
    finish(connection, served)
}

/// Ends a connection on which one thing was served.
pub(super) fn finish(
    connection: &Connection,
    served: Result<Result<(), NotServed>, Broken>,
) -> Result<(), NotServed> {
    match served {
        Ok(served) => {
            // The client closes when it has the reply; this only ends those that do not.
            connection.close(Code::Done.varint(), b"this exchange is over");
            served
        }
        Err(broken) => {
            let why = cut(broken.to_string(), 200);
            connection.close(Code::Violation.varint(), why.as_bytes());
            Err((Refusal::Violation, why))
        }
    }
}

/// Issues a certificate, which blocks on files, and says what to reply.
pub(super) async fn issued(
    authority: &Authority,
    issue: impl FnOnce(&Authority) -> Result<Issued, NotIssued> + Send + 'static,
) -> (Reply, Result<queue::WorkerId, NotServed>) {
    let authority = authority.clone();
    let work = tokio::task::spawn_blocking(move || (issue(&authority), authority));
    let trouble = |why: String| {
        // The details are for the operator; the stranger at the other end gets none.
        tracing::error!(why, "no certificate could be issued");
        (Reply::Trouble("see the server's log".into()), Err((Refusal::Trouble, why)))
    };
    match work.await {
        Ok((Ok(issued), authority)) => {
            let authority = authority.certificate().to_vec();
            (Reply::Granted { certificate: issued.certificate.to_vec(), authority }, Ok(issued.worker))
        }
        Ok((Err(NotIssued::Denied(why)), _)) => {
            let (refusal, text) = match why {
                Denied::Unknown => (Refusal::WrongToken, "a token that was never made here"),
                Denied::Expired => (Refusal::ExpiredToken, "an expired token"),
                Denied::UsedUp => (Refusal::UsedUpToken, "a token without uses left"),
                Denied::OtherRole => (Refusal::WrongRole, "a token for another role"),
            };
            (Reply::Denied(why), Err((refusal, text.to_owned())))
        }
        Ok((Err(NotIssued::BadRequest(why)), _)) => {
            let why = cut(why, 200);
            (Reply::Bad(why.clone()), Err((Refusal::Violation, why)))
        }
        Ok((Err(NotIssued::NotAdmitted(outside)), _)) => {
            (Reply::Bad(outside.to_string()), Err((outside.refusal(), outside.to_string())))
        }
        Ok((Err(NotIssued::Trouble(why)), _)) => trouble(why),
        Err(e) => trouble(e.to_string()),
    }
}

/// A good request, for the fuzz corpus.
#[cfg(any(test, feature = "fuzz"))]
pub(super) fn seed(token: &Token, request: &[u8]) -> Vec<u8> {
    crate::fuzz_seeds::cbor(&Request {
        token: token.id,
        secret: token.secret.to_vec(),
        name: "w".into(),
        role: Role::Client,
        request: request.to_vec(),
    })
}
