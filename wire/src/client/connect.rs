//! Dialling in and greeting.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quinn::{Connection, ConnectionError, Endpoint, SendStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use super::answers::RawAnswers;
use super::raw::{Handle, Raw, Shared};
use super::state::Window;
use super::{Config, ConnectError, run};
use crate::close::Code;
use crate::control::{Beat, PRIORITY};
use crate::framing::Limits;
use crate::identity::Identity;
use crate::node::DialError;
use crate::node::dial::{Dial, Verdict};
use crate::protocol::name_is_good;
use crate::pushed::{ALPN_CLIENT, ClientHello, ClientWelcome, FREE, Pushed};
use crate::stream::{FrameReader, ReadFailed, WriteFailed, write};
use crate::transport;

/// Answers that came together and wait for a caller that does not look, this many times.
const CAME: usize = 16;
/// A coordinator that asks for fewer milliseconds would be a bug of its own.
const SHORTEST_BEAT: u32 = 10;
/// The most tasks that this end keeps under way, whatever a coordinator allows.
const MOST_TASKS: u32 = 1 << 20;

/// Connects to a coordinator (`HOST:PORT`) with an identity that is there; [`Seat`](super::Seat) gets one too.
///
/// It runs one task on the current tokio runtime, which ends with the client. This first connection is tried
/// once; what is lost later is made again if the configuration says so.
///
/// # Errors
/// [`ConnectError`]; each text says what to do.
pub async fn connect(
    server: &str,
    identity: Identity,
    config: Config,
) -> Result<(Raw, RawAnswers), ConnectError> {
    let identity = Arc::new(identity);
    let link = dial(server, &identity, &config).await?;
    let (answers, came) = mpsc::channel(CAME);
    let shared = Arc::new(Shared::new(identity.worker(), link.window));
    let handle = Arc::new(Handle(Arc::clone(&shared)));
    tokio::spawn(run::run(shared, answers, (server.to_owned(), identity, config), link));
    Ok((Raw::new(Arc::clone(&handle)), RawAnswers::new(handle, came)))
}

/// A greeted connection.
pub(super) struct Link {
    /// It must live as long as the connection.
    pub(super) endpoint: Endpoint,
    pub(super) connection: Connection,
    pub(super) window: Window,
    pub(super) beat: Beat,
    pub(super) control: (SendStream, FrameReader),
    pub(super) tasks: (SendStream, FrameReader),
}

pub(super) async fn dial(server: &str, identity: &Identity, config: &Config) -> Result<Link, ConnectError> {
    if !name_is_good(&config.name) {
        return Err(ConnectError::Hello(format!("{:?} is no name of 1 to 64 bytes", config.name)));
    }
    let hello =
        ClientHello { name: config.name.clone(), wishes: config.wishes.clone(), capabilities: Vec::new() };
    let tls = identity.tls(ALPN_CLIENT).map_err(|e| ConnectError::Refused(e.to_string()))?;
    // The coordinator opens no stream; answers have room for several bodies.
    let transport = transport::config(config.windows, 0, 4, config.greeting * 2);
    let deadline = Instant::now() + config.greeting;
    let dial = Dial { tls, alpn: ALPN_CLIENT, timeout: config.greeting, transport };
    let (endpoint, connection) = dial.to(server).await.map_err(|error| match error {
        DialError::Version { server, theirs, .. } if !theirs.contains("framelane-client/") => {
            ConnectError::NoClients { server, theirs }
        }
        other => other.into(),
    })?;
    let deadline = deadline.max(Instant::now() + config.greeting / 4);
    let greeting = |why: String| ConnectError::Greeting { server: server.to_owned(), why };
    match timeout_at(deadline, greet(&connection, &hello)).await {
        Ok(Ok(greeted)) => Ok(greeted.link(endpoint, connection)),
        Ok(Err(Failed::Ours(why))) => Err(ConnectError::Hello(why)),
        Ok(Err(Failed::Lost(e))) => Err(match Verdict::of(&e) {
            Verdict::Expired => ConnectError::Expired,
            Verdict::Revoked(why) => ConnectError::Revoked(why),
            Verdict::Refused(why) => ConnectError::Refused(why),
            Verdict::Busy(why) => ConnectError::Busy(why),
            Verdict::Other(why) => greeting(why),
        }),
        Ok(Err(Failed::Theirs(why))) => {
            connection.close(Code::Violation.varint(), why.as_bytes());
            Err(greeting(why))
        }
        Err(_) => {
            connection.close(Code::NoHello.varint(), b"no welcome in time");
            Err(greeting("no welcome in time".into()))
        }
    }
}

enum Failed {
    Ours(String),
    Theirs(String),
    Lost(ConnectionError),
}

impl From<WriteFailed> for Failed {
    fn from(error: WriteFailed) -> Self {
        match error {
            WriteFailed::Frame(e) => Self::Ours(e.to_string()),
            WriteFailed::Stream(quinn::WriteError::ConnectionLost(e)) => Self::Lost(e),
            e => Self::Theirs(e.to_string()),
        }
    }
}

struct Greeted {
    welcome: ClientWelcome,
    control: (SendStream, FrameReader),
    tasks: (SendStream, FrameReader),
}

async fn greet(connection: &Connection, hello: &ClientHello) -> Result<Greeted, Failed> {
    let (mut send, recv) = connection.open_bi().await.map_err(Failed::Lost)?;
    let _ = send.set_priority(PRIORITY);
    write(&mut send, hello, Bytes::new(), Limits::NO_BODY).await?;
    let mut reader = FrameReader::new(recv);
    let welcome = match reader.read::<ClientWelcome>(Limits::NO_BODY).await {
        Ok(Some((welcome, _))) => welcome,
        Ok(None) => return Err(Failed::Theirs("no welcome".into())),
        Err(ReadFailed::Stream(quinn::ReadError::ConnectionLost(e))) => return Err(Failed::Lost(e)),
        Err(e) => return Err(Failed::Theirs(e.to_string())),
    };
    if welcome.tasks == 0 || welcome.bytes == 0 {
        return Err(Failed::Theirs("it has a window without room".into()));
    }
    let (mut tasks, answers) = connection.open_bi().await.map_err(Failed::Lost)?;
    let empty = Pushed::Submit { key: None, lengths: Vec::new() };
    write(&mut tasks, &empty, Bytes::new(), Limits::NO_BODY).await?;
    Ok(Greeted { welcome, control: (send, reader), tasks: (tasks, FrameReader::new(answers)) })
}

impl Greeted {
    fn link(self, endpoint: Endpoint, connection: Connection) -> Link {
        let Self { welcome, control, tasks } = self;
        let heaviest = u64::from(welcome.head) + u64::from(welcome.body);
        let window = Window {
            tasks: welcome.tasks.min(MOST_TASKS) as usize,
            // Else the heaviest task would wait for ever. Semaphores hold less than a u64.
            bytes: welcome.bytes.max(heaviest.saturating_sub(FREE as u64)).min(u64::from(u32::MAX)),
            limits: Limits {
                head: (welcome.head as usize).min(Limits::HEAD),
                body: (welcome.body as usize).min(u32::MAX as usize / 2),
            },
        };
        let every = welcome.heartbeat_ms.max(SHORTEST_BEAT);
        let beat = Beat {
            every: Duration::from_millis(every.into()),
            dead_after: Duration::from_millis(welcome.dead_after_ms.max(every).into()),
        };
        Link { endpoint, connection, window, beat, control, tasks }
    }
}
