//! Dialling in and greeting.

use bytes::Bytes;
use quinn::{Connection, ConnectionError};
use serde::Serialize;
use tokio::time::{Instant, timeout_at};

use super::dial::{Dial, DialError, Verdict};
use super::link::{self, Jobs, Node};
use super::{Config, Hello};
use crate::close::Code;
use crate::control::PRIORITY;
use crate::framing::Limits;
use crate::identity::Identity;
use crate::memory::{self, NotShared, Window};
use crate::protocol::{
    ALPN_LANE, MAX_CREDIT, MAX_KEYS, SHARED_MEMORY, Taken, Welcome, name_is_good, stream_limit,
};
use crate::stream::{FrameReader, ReadFailed, WriteFailed, write};
use crate::transport;

/// Why a worker cannot connect.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The server cannot be reached, or is another one.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// This worker's certificate has expired.
    #[error("this worker's certificate has expired: enrol again with a new token")]
    Expired,
    /// The server does not take this worker's certificate.
    #[error("the server refuses this worker's certificate ({0}): enrol again with a new token")]
    Refused(String),
    /// The server does not admit this worker any more, or never did.
    #[error(
        "the server does not admit this worker ({0}): enrol again with a new token (make one with `framelane workers token` on the server)"
    )]
    Revoked(String),
    /// The server has no room now.
    #[error("the server has no room for this worker now ({0}): try again later, or raise its limits")]
    Busy(String),
    /// The greeting of this end is not one.
    #[error("the greeting cannot be sent: {0}")]
    Hello(String),
    /// The server did not keep to the protocol, or went away.
    #[error("the greeting with {server} broke off: {why}")]
    Greeting {
        /// As given.
        server: String,
        /// What happened.
        why: String,
    },
}

/// Connects to a server (`HOST:PORT`) and greets it.
///
/// It runs one task for the connection and one for each job that arrives, on the current tokio
/// runtime; they end with the connection. There is no second try here: the caller owns that.
///
/// # Errors
/// [`ConnectError`]; each text says what to do.
pub async fn connect(
    server: &str,
    identity: &Identity,
    hello: Hello,
    config: Config,
) -> Result<(Node, Jobs), ConnectError> {
    speak(ALPN_LANE, server, identity, hello, config).await
}

/// As [`connect`], in a protocol that need not be this version's: so that a test can be another version.
pub(crate) async fn speak(
    alpn: &'static [u8],
    server: &str,
    identity: &Identity,
    mut hello: Hello,
    config: Config,
) -> Result<(Node, Jobs), ConnectError> {
    if !name_is_good(&hello.name) {
        return Err(ConnectError::Hello(format!("{:?} is no name of 1 to 64 bytes", hello.name)));
    }
    if hello.keys.len() > MAX_KEYS {
        return Err(ConnectError::Hello(format!("{} keys are more than {MAX_KEYS}", hello.keys.len())));
    }
    // Windows and the like need not ask for what cannot be.
    if config.shared_memory && cfg!(target_os = "linux") {
        hello.capabilities.push(SHARED_MEMORY.to_owned());
    }
    let tls = identity.tls(alpn).map_err(|e| ConnectError::Refused(e.to_string()))?;
    let room = hello.credit.min(MAX_CREDIT);
    let transport = transport::config(config.windows, stream_limit(room), room, config.greeting * 2);
    let deadline = Instant::now() + config.greeting;
    let dial = Dial { tls, alpn, timeout: config.greeting, transport };
    let (endpoint, connection) = dial.to(server).await?;
    let greeting = |why: String| ConnectError::Greeting { server: server.to_owned(), why };
    // The handshake may have used up the time; the greeting gets some of its own.
    let deadline = deadline.max(Instant::now() + config.greeting / 4);
    let greeted = timeout_at(deadline, greet(&connection, &hello)).await;
    let Greeted { welcome, send, reader, memory } = match greeted {
        Ok(Ok(greeted)) => greeted,
        Ok(Err(Failed::Ours(why))) => return Err(ConnectError::Hello(why)),
        Ok(Err(Failed::Lost(e))) => return Err(name(e, server)),
        Ok(Err(Failed::Theirs(why))) => {
            connection.close(Code::Violation.varint(), why.as_bytes());
            return Err(greeting(why));
        }
        Err(_) => {
            connection.close(Code::NoHello.varint(), b"no welcome in time");
            return Err(greeting("no welcome in time".into()));
        }
    };
    let greeted = Greeted { welcome, send, reader, memory };
    Ok(link::start(endpoint, connection, room, config.limits, greeted))
}

/// What the greeting gave.
pub(super) struct Greeted {
    pub(super) welcome: Welcome,
    pub(super) send: quinn::SendStream,
    pub(super) reader: FrameReader,
    /// What the server shares.
    pub(super) memory: Option<Window>,
}

enum Failed {
    Ours(String),
    Theirs(String),
    Lost(ConnectionError),
}

async fn greet(connection: &Connection, hello: &Hello) -> Result<Greeted, Failed> {
    let (mut send, recv) = connection.open_bi().await.map_err(Failed::Lost)?;
    let _ = send.set_priority(PRIORITY);
    say(&mut send, hello).await?;
    let mut reader = FrameReader::new(recv);
    let welcome = match reader.read::<Welcome>(Limits::NO_BODY).await {
        Ok(Some((welcome, _))) => welcome,
        Ok(None) => return Err(Failed::Theirs("no welcome".into())),
        Err(ReadFailed::Stream(quinn::ReadError::ConnectionLost(e))) => return Err(Failed::Lost(e)),
        Err(e) => return Err(Failed::Theirs(e.to_string())),
    };
    let memory = take_memory(&welcome, hello).await?;
    if welcome.memory.is_some() {
        say(&mut send, &Taken { memory: memory.is_some() }).await?;
    }
    Ok(Greeted { welcome, send, reader, memory })
}

async fn say<T: Serialize>(send: &mut quinn::SendStream, message: &T) -> Result<(), Failed> {
    match write(send, message, Bytes::new(), Limits::NO_BODY).await {
        Ok(()) => Ok(()),
        Err(WriteFailed::Frame(e)) => Err(Failed::Ours(e.to_string())),
        Err(WriteFailed::Stream(quinn::WriteError::ConnectionLost(e))) => Err(Failed::Lost(e)),
        Err(e) => Err(Failed::Theirs(e.to_string())),
    }
}

/// Takes the memory that the server offers, unless something on this host stands in the way.
async fn take_memory(welcome: &Welcome, hello: &Hello) -> Result<Option<Window>, Failed> {
    let Some(offer) = &welcome.memory else { return Ok(None) };
    if !hello.capabilities.iter().any(|ability| ability == SHARED_MEMORY) {
        return Err(Failed::Theirs("it offers memory to a worker that cannot share any".into()));
    }
    match memory::accept(offer).await {
        Ok(window) => Ok(Some(window)),
        Err(NotShared::Unreachable(why)) => {
            tracing::info!(%why, "the server is on this host, but bodies come over QUIC: no shared memory");
            Ok(None)
        }
        Err(wrong @ NotShared::Wrong(_)) => Err(Failed::Theirs(wrong.to_string())),
    }
}

fn name(e: ConnectionError, server: &str) -> ConnectError {
    match Verdict::of(&e) {
        Verdict::Expired => ConnectError::Expired,
        Verdict::Revoked(why) => ConnectError::Revoked(why),
        Verdict::Refused(why) => ConnectError::Refused(why),
        Verdict::Busy(why) => ConnectError::Busy(why),
        Verdict::Other(why) => ConnectError::Greeting { server: server.to_owned(), why },
    }
}
