//! QUIC as protocol 1 sets it up, without the protocol: both ends of a bare connection with the same
//! certificates, windows and acknowledgement delays as a lane.
//!
//! Behind the feature `bare`, for those who must speak below the protocol: a measurement beside it, and a
//! peer that misbehaves on purpose.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// The AMQP client itself.
#[cfg(feature = "amqp")]
pub use lapin;
/// The QUIC implementation itself.
pub use quinn;
use quinn::{Connection, Endpoint, ServerConfig};
/// Makes certificates.
pub use rcgen;
/// The Redis client itself.
#[cfg(feature = "redis")]
pub use redis;

use crate::identity::{Authority, Identity};
use crate::node::DialError;
use crate::node::dial::Dial;
use crate::protocol::{ALPN_LANE, stream_limit};
use crate::server::BindError;
use crate::tls;
use crate::transport::{self, Windows};

/// How long a handshake may take, and how long a connection may be silent.
const SILENCE: Duration = Duration::from_secs(20);

/// Listens as a server does. Whoever the authority has let in gets a connection; nobody is greeted.
///
/// # Errors
/// [`BindError`].
pub fn listen(
    addr: SocketAddr,
    authority: &Authority,
    windows: Windows,
    credit: u32,
) -> Result<Endpoint, BindError> {
    let unfit = |e: rustls::Error| BindError::Tls(e.to_string());
    let leaf = authority.server_leaf()?;
    let shown = tls::Shown::new(leaf.chain, leaf.key).map_err(unfit)?;
    let tls = tls::server(shown, authority.certificate(), &[ALPN_LANE]).map_err(unfit)?;
    let mut server = ServerConfig::with_crypto(Arc::new(tls));
    server.transport_config(transport::config(windows, stream_limit(credit), credit, SILENCE));
    transport::endpoint(addr, Some(server), None).map_err(|source| BindError::Address { addr, source })
}

/// Dials as a worker does. The endpoint must live as long as the connection.
///
/// # Errors
/// [`DialError`].
pub async fn dial(
    server: &str,
    identity: &Identity,
    windows: Windows,
    credit: u32,
) -> Result<(Endpoint, Connection), DialError> {
    let handshake =
        |why: rustls::Error| DialError::Handshake { server: server.to_owned(), why: why.to_string() };
    let tls = identity.tls(ALPN_LANE).map_err(handshake)?;
    let transport = transport::config(windows, stream_limit(credit), credit, SILENCE);
    Dial { tls, alpn: ALPN_LANE, timeout: SILENCE / 2, transport }.to(server).await
}
