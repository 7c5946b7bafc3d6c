//! How QUIC is set up: part of the protocol, since windows and delays decide how much hides in queues.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use quinn::{AckFrequencyConfig, TransportConfig, VarInt};
use quinn_proto::HashedConnectionIdGenerator;
use socket2::{Domain, Protocol, Socket, Type};

/// Sizes that follow from what is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Windows {
    /// Bytes of a usual body: what one stream may have in flight. Smaller than a body, each body
    /// would cost one more round trip. Default 4 MiB.
    pub body: u32,
    /// Bytes that an end holds unacknowledged: about one body plus bandwidth times delay. A larger one
    /// is a hidden queue in which frames grow old; a smaller one leaves a fast, distant link idle.
    /// Default 4 MiB: one picture of 1.5 MB and 1 Gbit/s at 20 ms.
    pub send: u32,
}

impl Default for Windows {
    fn default() -> Self {
        Self { body: 4 << 20, send: 4 << 20 }
    }
}

/// The most that one connection may have unread, whatever its credit: bounds the memory that a peer
/// can take by sending to streams that nobody reads.
const MAX_RECEIVE: u64 = 256 << 20;

/// What a stranger may have unread, all in all: room for the longest head, and for no more, so that those
/// who only knock take no memory worth speaking of.
const STRANGER: u32 = 2 * crate::framing::Limits::HEAD as u32;

/// What a server's connection may have unread once it is a worker's of this credit.
pub(crate) fn receive(windows: Windows, credit: u32) -> VarInt {
    let receive = (u64::from(windows.body) * u64::from(credit.max(1))).min(MAX_RECEIVE);
    // MAX_RECEIVE is far below what a VarInt holds.
    VarInt::from_u64(receive).unwrap_or(VarInt::MAX)
}

/// What a worker's connection uses.
pub(crate) fn config(windows: Windows, streams: u32, credit: u32, silence: Duration) -> Arc<TransportConfig> {
    Arc::new(both(windows, streams, receive(windows, credit), silence))
}

/// What a server's connection uses until it was greeted: one stream, for control.
pub(crate) fn strangers(windows: Windows, silence: Duration) -> Arc<TransportConfig> {
    Arc::new(both(windows, 1, STRANGER.into(), silence))
}

fn both(windows: Windows, streams: u32, receive: VarInt, silence: Duration) -> TransportConfig {
    let mut config = TransportConfig::default();
    // Answers come back one packet at a time and small: their acknowledgement must not wait for more.
    let mut acks = AckFrequencyConfig::default();
    acks.max_ack_delay(Some(Duration::from_millis(5)));
    config
        .max_concurrent_bidi_streams(streams.into())
        .max_concurrent_uni_streams(0u32.into())
        .stream_receive_window(windows.body.into())
        .receive_window(receive)
        .send_window(windows.send.into())
        // Tasks in the order in which they were handed out: shared out fairly, all would be late.
        .send_fairness(false)
        .ack_frequency_config(Some(acks))
        .datagram_receive_buffer_size(None)
        // Heartbeats keep a greeted connection alive and end it sooner. This is for the time before,
        // and for a peer that is gone while nobody reads its control stream.
        .max_idle_timeout(quinn::IdleTimeout::try_from(silence).ok());
    config
}

/// Binds a UDP socket with buffers for a body's worth of packets (as far as the system allows).
pub(crate) fn socket(addr: SocketAddr) -> std::io::Result<UdpSocket> {
    const BUFFER: usize = 4 << 20;
    let socket = Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))?;
    // The system may grant less, and that is no error: bursts are then dropped sooner and sent again.
    let _ = socket.set_recv_buffer_size(BUFFER);
    let _ = socket.set_send_buffer_size(BUFFER);
    socket.bind(&addr.into())?;
    Ok(socket.into())
}

/// What a server must be given again after a restart, to be known by those that it knew.
#[derive(Clone)]
pub(crate) struct Recall {
    reset: ring::hmac::Key,
    ids: u64,
}

impl Recall {
    /// From a secret that outlives the process.
    pub(crate) fn new(secret: [u8; 32]) -> Self {
        let [a, b, c, d, e, f, g, h, ..] = secret;
        Self {
            reset: ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &secret),
            ids: u64::from_be_bytes([a, b, c, d, e, f, g, h]),
        }
    }
}

/// An endpoint on a socket.
///
/// With a [`Recall`] it recognises packets of connections that an earlier process had, and says that they are
/// over (a stateless reset); otherwise the other end would wait for its silence to end.
pub(crate) fn endpoint(
    addr: SocketAddr,
    server: Option<quinn::ServerConfig>,
    recall: Option<Recall>,
) -> std::io::Result<quinn::Endpoint> {
    let runtime =
        quinn::default_runtime().ok_or_else(|| std::io::Error::other("no tokio runtime is running"))?;
    let mut config = quinn::EndpointConfig::default();
    if let Some(Recall { reset, ids }) = recall {
        config.reset_key(Arc::new(reset));
        // Ids that were made with another key are taken for noise and get no answer.
        config.cid_generator(move || Box::new(HashedConnectionIdGenerator::from_key(ids)));
    }
    quinn::Endpoint::new(config, server, socket(addr)?, runtime)
}
