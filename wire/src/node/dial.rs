//! Reaching a server: names, addresses, the handshake, and what its failures mean.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, ConnectionError, Endpoint, TransportConfig};

use crate::close::{Code, reason};
use crate::exchange;
use crate::protocol::ALPN_VERSIONS;
use crate::tls::SERVER_NAME;
use crate::transport;
use crate::version::{Speaks, alpn};

/// Why a server cannot be reached.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DialError {
    /// The name has no address.
    #[error("{server} has no address ({why}): give the server as HOST:PORT, and check the name")]
    Resolve {
        /// As given.
        server: String,
        /// What the resolver says.
        why: String,
    },
    /// Nobody answers.
    #[error(
        "{server} does not answer ({why}): is the server running, is this its QUIC port, and do firewalls pass UDP?"
    )]
    Unreachable {
        /// As given.
        server: String,
        /// What the network says.
        why: String,
    },
    /// Another server than the one that enrolled this worker.
    #[error(
        "{server} shows a certificate of another authority: check the address, or enrol there with a new token"
    )]
    WrongAuthority {
        /// As given.
        server: String,
    },
    /// It answers, but not in this protocol, and does not say in which.
    #[error(
        "{server} does not speak this version of the protocol: install the same version of Framelane at both ends"
    )]
    Protocol {
        /// As given.
        server: String,
    },
    /// It speaks other versions of the protocol.
    #[error(
        "{server} speaks {theirs}, this end {ours}: upgrade the older of the two, so that both have the same version of Framelane"
    )]
    Version {
        /// As given.
        server: String,
        /// What the server speaks.
        theirs: String,
        /// What this end wanted.
        ours: String,
    },
    /// The handshake failed otherwise.
    #[error("no secure connection to {server}: {why}")]
    Handshake {
        /// As given.
        server: String,
        /// What TLS or QUIC says.
        why: String,
    },
    /// No socket can be had here.
    #[error("no UDP socket can be opened: {0}")]
    Socket(std::io::Error),
}

/// TLS alerts, as they travel in QUIC's codes of 0x100 and above.
pub(crate) mod alert {
    pub(crate) const BAD_CERTIFICATE: u8 = 42;
    pub(crate) const CERTIFICATE_EXPIRED: u8 = 45;
    pub(crate) const UNSUPPORTED_CERTIFICATE: u8 = 43;
    pub(crate) const CERTIFICATE_UNKNOWN: u8 = 46;
    pub(crate) const UNKNOWN_CA: u8 = 48;
    pub(crate) const NO_APPLICATION_PROTOCOL: u8 = 120;
}

/// The alert in a transport code, if there is one.
pub(crate) fn alert_of(code: quinn::TransportErrorCode) -> Option<u8> {
    u8::try_from(u64::from(code).checked_sub(0x100)?).ok()
}

pub(crate) struct Dial {
    pub(crate) tls: QuicClientConfig,
    /// The protocol wanted.
    pub(crate) alpn: &'static [u8],
    pub(crate) timeout: Duration,
    pub(crate) transport: Arc<TransportConfig>,
}

impl Dial {
    /// Tries the server's addresses one after the other and gives the first connection, or the last
    /// failure.
    pub(crate) async fn to(self, server: &str) -> Result<(Endpoint, Connection), DialError> {
        let Self { tls, alpn: wanted, timeout, transport } = self;
        let resolve = |why: String| DialError::Resolve { server: server.to_owned(), why };
        let addresses = tokio::time::timeout(timeout, tokio::net::lookup_host(server))
            .await
            .map_err(|_| resolve("the resolver does not answer".into()))?
            .map_err(|e| resolve(e.to_string()))?;
        let mut config = ClientConfig::new(Arc::new(tls));
        config.transport_config(transport);
        let mut failure = resolve("it resolves to nothing".into());
        // A name with dozens of addresses is a mistake, not a reason to try for minutes.
        for address in addresses.take(8) {
            match one(address, config.clone(), timeout).await {
                Ok((_, connection)) if alpn(&connection) == ALPN_VERSIONS => {
                    return Err(compare(&connection, wanted, timeout, server).await);
                }
                Ok(pair) => return Ok(pair),
                Err(cause) => failure = cause.name(server),
            }
        }
        Err(failure)
    }
}

/// Asks a server that does not speak the wanted protocol what it speaks.
async fn compare(connection: &Connection, wanted: &[u8], timeout: Duration, server: &str) -> DialError {
    let ours = Speaks::these(&[wanted]);
    let asked = tokio::time::timeout(timeout, exchange::ask::<_, Speaks>(connection, &ours)).await;
    connection.close(Code::Done.varint(), b"no protocol in common");
    let server = server.to_owned();
    match asked {
        Ok(Ok(theirs)) => DialError::Version { server, theirs: theirs.text(), ours: ours.text() },
        _ => DialError::Protocol { server },
    }
}

/// What the end of a connection says about who dialled.
///
/// TLS 1.3 lets a client speak before the server has looked at its certificate, so what the server thinks
/// of it arrives after the handshake.
pub(crate) enum Verdict {
    /// The certificate has expired.
    Expired,
    /// The server knows this worker and does not take it, or does not know it.
    Revoked(String),
    /// The server does not take the certificate.
    Refused(String),
    /// No room now.
    Busy(String),
    /// Nothing.
    Other(String),
}

impl Verdict {
    pub(crate) fn of(e: &ConnectionError) -> Self {
        match e {
            ConnectionError::ConnectionClosed(close) => match alert_of(close.error_code) {
                Some(alert::CERTIFICATE_EXPIRED) => Self::Expired,
                Some(_) => Self::Refused(e.to_string()),
                None => Self::Other(e.to_string()),
            },
            ConnectionError::ApplicationClosed(close) => {
                let text = reason(close);
                match close.error_code {
                    code if code == Code::Busy.varint() => Self::Busy(text),
                    code if code == Code::NoCertificate.varint() => Self::Refused(text),
                    code if code == Code::Revoked.varint() => Self::Revoked(text),
                    code if code == Code::Expired.varint() => Self::Expired,
                    _ => Self::Other(text),
                }
            }
            _ => Self::Other(e.to_string()),
        }
    }
}

enum Cause {
    Socket(std::io::Error),
    Refused(quinn::ConnectError),
    Failed(ConnectionError),
    Timeout,
}

async fn one(
    address: SocketAddr,
    config: ClientConfig,
    timeout: Duration,
) -> Result<(Endpoint, Connection), Cause> {
    let any: SocketAddr = match address {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let endpoint = transport::endpoint(any, None, None).map_err(Cause::Socket)?;
    let connecting = endpoint.connect_with(config, address, SERVER_NAME).map_err(Cause::Refused)?;
    match tokio::time::timeout(timeout, connecting).await {
        Ok(Ok(connection)) => Ok((endpoint, connection)),
        Ok(Err(e)) => Err(Cause::Failed(e)),
        Err(_) => Err(Cause::Timeout),
    }
}

impl Cause {
    fn name(self, server: &str) -> DialError {
        let server = server.to_owned();
        match self {
            Self::Socket(e) => DialError::Socket(e),
            Self::Refused(e) => DialError::Unreachable { server, why: e.to_string() },
            Self::Timeout | Self::Failed(ConnectionError::TimedOut) => {
                DialError::Unreachable { server, why: "no reply".into() }
            }
            Self::Failed(ConnectionError::VersionMismatch) => DialError::Protocol { server },
            Self::Failed(e) => {
                let alert = match &e {
                    ConnectionError::TransportError(e) => alert_of(e.code).map(|alert| (alert, true)),
                    ConnectionError::ConnectionClosed(e) => {
                        alert_of(e.error_code).map(|alert| (alert, false))
                    }
                    _ => None,
                };
                match alert {
                    Some((alert::NO_APPLICATION_PROTOCOL, _)) => DialError::Protocol { server },
                    // An alert of our own: we do not know who signed the server's certificate, or the
                    // signature is not the authority's although the name is.
                    Some((alert::UNKNOWN_CA | alert::BAD_CERTIFICATE | alert::CERTIFICATE_UNKNOWN, true)) => {
                        DialError::WrongAuthority { server }
                    }
                    _ => DialError::Handshake { server, why: e.to_string() },
                }
            }
        }
    }
}
