//! The exchange of a token for a certificate, on an ALPN of its own: one stream, one request, one reply.

use std::time::Duration;

use bytes::Bytes;
use quinn::{Connection, RecvStream, SendStream};
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Serialize};

use super::authority::NotIssued;
use super::ledger::Denied;
use super::{Authority, Identity, Token, subject};
use crate::close::Code;
use crate::framing::Limits;
use crate::node::dial::{Dial, DialError};
use crate::protocol::{cut, name_is_good};
use crate::stream::{FrameReader, write};
use crate::tls;

/// Names, a certificate request, a certificate: a few hundred bytes each.
const LIMITS: Limits = Limits { head: 8 * 1024, body: 0 };
/// How long the client waits for the whole exchange.
const TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Serialize, Deserialize)]
struct Request {
    token: u64,
    #[serde(with = "serde_bytes")]
    secret: Vec<u8>,
    name: String,
    /// PKCS#10, DER.
    #[serde(with = "serde_bytes")]
    request: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Reply {
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

/// Why a worker cannot enrol.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnrolError {
    /// The server knows no such token.
    #[error(
        "the server does not know this token; make a new one with `framelane workers token` on the server"
    )]
    WrongToken,
    /// The token's time is over.
    #[error("the token has expired; make a new one with `framelane workers token` on the server")]
    ExpiredToken,
    /// All uses of the token are spent.
    #[error(
        "the token is used up; make a new one with `framelane workers token` on the server (--uses N lets several workers share one)"
    )]
    UsedUpToken,
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
    /// The name cannot be a worker's.
    #[error("{0:?} cannot be a worker's name: 1 to 64 bytes without control characters")]
    BadName(String),
    /// The server could not do it.
    #[error("the server could not enrol this worker: {0}")]
    Server(String),
    /// The exchange broke off.
    #[error("the server broke off the enrolment ({0}); try again")]
    Broken(String),
    /// No key can be made here.
    #[error("no key can be made: {0}")]
    Key(String),
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
pub(super) async fn enrol(server: &str, token: &Token, name: &str) -> Result<Identity, EnrolError> {
    if !name_is_good(name) {
        return Err(EnrolError::BadName(name.to_owned()));
    }
    let key = KeyPair::generate().map_err(|e| EnrolError::Key(e.to_string()))?;
    let request =
        CertificateParams::default().serialize_request(&key).map_err(|e| EnrolError::Key(e.to_string()))?;
    let tls = tls::enrolling(token.fingerprint).map_err(|e| EnrolError::Key(e.to_string()))?;
    let dial = Dial {
        tls,
        timeout: TIMEOUT,
        transport: crate::transport::config(Default::default(), 0, 1, TIMEOUT),
    };
    let (endpoint, connection) = dial.to(server).await?;
    let request = Request {
        token: token.id,
        secret: token.secret.to_vec(),
        name: name.to_owned(),
        request: request.der().to_vec(),
    };
    let reply = tokio::time::timeout(TIMEOUT, exchange(&connection, request)).await;
    connection.close(Code::Done.varint(), b"enrolled");
    // So that the farewell leaves before the endpoint goes; it needs no answer.
    let _ = tokio::time::timeout(Duration::from_secs(1), endpoint.wait_idle()).await;
    match reply.map_err(|_| EnrolError::Broken("no reply".into()))?.map_err(EnrolError::Broken)? {
        Reply::Granted { certificate, authority } => {
            let certificate = CertificateDer::from(certificate);
            let authority = CertificateDer::from(authority);
            let ours = tls::fingerprint(&authority) == token.fingerprint;
            match subject(&certificate) {
                Some(subject) if ours => Ok(Identity {
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
        Reply::Bad(why) | Reply::Trouble(why) => Err(EnrolError::Server(why)),
    }
}

async fn exchange(connection: &Connection, request: Request) -> Result<Reply, String> {
    let text = |e: &dyn std::fmt::Display| e.to_string();
    let (mut send, recv) = connection.open_bi().await.map_err(|e| text(&e))?;
    write(&mut send, &request, Bytes::new(), LIMITS).await.map_err(|e| text(&e))?;
    // A finished stream cannot fail to be finished: nobody else holds it.
    let _ = send.finish();
    let reply = FrameReader::new(recv).read::<Reply>(LIMITS).await.map_err(|e| text(&e))?;
    reply.map(|(reply, _)| reply).ok_or_else(|| "no reply".into())
}

/// The server's side, on a fresh connection. Ends when the client has its reply or is gone; the caller
/// bounds the time.
pub(crate) async fn serve(connection: &Connection, authority: &Authority) {
    if let Ok((mut send, recv)) = connection.accept_bi().await {
        let reply = reply(recv, authority).await;
        if let Err(why) = answer(&mut send, &reply).await {
            tracing::debug!(remote = %connection.remote_address(), why, "enrolment broke off");
        }
    }
    // The client closes when it has the reply; this only ends those that do not.
    connection.close(Code::Done.varint(), b"enrolment is over");
}

async fn reply(recv: RecvStream, authority: &Authority) -> Reply {
    let request = match FrameReader::new(recv).read::<Request>(LIMITS).await {
        Ok(Some((request, _))) => request,
        Ok(None) => return Reply::Bad("an empty request".into()),
        Err(e) => return Reply::Bad(cut(e.to_string(), 200)),
    };
    if !name_is_good(&request.name) {
        return Reply::Bad("a worker's name has 1 to 64 bytes and no control characters".into());
    }
    let authority = authority.clone();
    let work = tokio::task::spawn_blocking(move || {
        let issued = authority.enrol(request.token, &request.secret, &request.name, &request.request);
        (issued, authority.certificate().to_vec(), request.name)
    });
    match work.await {
        Ok((Ok(issued), authority, name)) => {
            tracing::info!(worker = %issued.worker, name, "a worker enrolled");
            Reply::Granted { certificate: issued.certificate.to_vec(), authority }
        }
        Ok((Err(NotIssued::Denied(why)), ..)) => {
            tracing::warn!(?why, "an enrolment was denied");
            Reply::Denied(why)
        }
        Ok((Err(NotIssued::BadRequest(why)), ..)) => Reply::Bad(cut(why, 200)),
        Ok((Err(NotIssued::Trouble(why)), ..)) => {
            // The details are for the operator; the stranger at the other end gets none.
            tracing::error!(why, "no certificate could be issued");
            Reply::Trouble("see the server's log".into())
        }
        Err(e) => {
            tracing::error!(error = %e, "enrolment failed");
            Reply::Trouble("see the server's log".into())
        }
    }
}

async fn answer(send: &mut SendStream, reply: &Reply) -> Result<(), String> {
    write(send, reply, Bytes::new(), LIMITS).await.map_err(|e| e.to_string())?;
    let _ = send.finish();
    // Until it is acknowledged; closing the connection sooner would throw it away.
    send.stopped().await.map(|_| ()).map_err(|e| e.to_string())
}
