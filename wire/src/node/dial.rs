//! Reaching a server: names, addresses, the handshake, and what its failures mean.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, ConnectionError, Endpoint, TransportConfig};

use crate::tls::SERVER_NAME;
use crate::transport;

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
    /// It answers, but not in this protocol.
    #[error(
        "{server} does not speak this version of the protocol: install the same version of Framelane at both ends"
    )]
    Protocol {
        /// As given.
        server: String,
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
    pub(crate) timeout: Duration,
    pub(crate) transport: Arc<TransportConfig>,
}

impl Dial {
    /// Tries the server's addresses one after the other and gives the first connection, or the last
    /// failure.
    pub(crate) async fn to(self, server: &str) -> Result<(Endpoint, Connection), DialError> {
        let resolve = |why: String| DialError::Resolve { server: server.to_owned(), why };
        let addresses = tokio::time::timeout(self.timeout, tokio::net::lookup_host(server))
            .await
            .map_err(|_| resolve("the resolver does not answer".into()))?
            .map_err(|e| resolve(e.to_string()))?;
        let mut config = ClientConfig::new(Arc::new(self.tls));
        config.transport_config(self.transport);
        let mut failure = resolve("it resolves to nothing".into());
        // A name with dozens of addresses is a mistake, not a reason to try for minutes.
        for address in addresses.take(8) {
            match one(address, config.clone(), self.timeout).await {
                Ok(pair) => return Ok(pair),
                Err(cause) => failure = cause.name(server),
            }
        }
        Err(failure)
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
    let endpoint = transport::endpoint(any, None).map_err(Cause::Socket)?;
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
