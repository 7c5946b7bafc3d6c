//! Redis Streams: names, connections, and how replies are read.

pub(super) mod node;
pub(super) mod server;

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use queue::Key;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Cmd, RedisError, Value, cmd};

use super::{Error, PATIENCE, Url};

/// The one consumer group of each stream of jobs.
const GROUP: &str = "framelane";
/// The one field of each entry.
const FIELD: &str = "m";

/// The stream of a key's jobs.
fn jobs_of(key: &Key) -> String {
    format!("framelane:jobs:{key}")
}

/// Which is there for as long as a worker serves the key.
fn alive_of(key: &Key) -> String {
    format!("framelane:alive:{key}")
}

/// Whether the client can read the address.
pub(super) fn check(url: &Url) -> Result<(), String> {
    Client::open(url.secret()).map(drop).map_err(|error| error.to_string())
}

/// An entry of a stream, as Redis numbers it: by its own clock, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(crate) struct Id {
    ms: u64,
    seq: u64,
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.seq)
    }
}

impl Id {
    fn read(bytes: &[u8]) -> Option<Id> {
        let (ms, seq) = std::str::from_utf8(bytes).ok()?.split_once('-')?;
        Some(Id { ms: ms.parse().ok()?, seq: seq.parse().ok()? })
    }

    /// The least id after this one.
    fn next(self) -> Id {
        match self.seq.checked_add(1) {
            Some(seq) => Id { seq, ..self },
            None => Id { ms: self.ms.saturating_add(1), seq: 0 },
        }
    }
}

/// A Redis and its words for what goes wrong.
#[derive(Debug, Clone)]
struct Broker {
    url: Url,
}

impl Broker {
    fn lost(&self, error: RedisError) -> Error {
        Error::Lost { url: self.url.clone(), why: self.url.clean(error) }
    }

    fn strange(&self, what: &str) -> Error {
        Error::Lost { url: self.url.clone(), why: format!("{what} is not what Redis says there") }
    }

    /// A connection of its own: one that waits for entries lets nothing else through.
    async fn connect(&self) -> Result<MultiplexedConnection, Error> {
        let unreachable =
            |error: RedisError| Error::Unreachable { url: self.url.clone(), why: self.url.clean(error) };
        let client = Client::open(self.url.secret()).map_err(unreachable)?;
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(PATIENCE))
            .set_response_timeout(Some(PATIENCE));
        client.get_multiplexed_async_connection_with_config(&config).await.map_err(unreachable)
    }

    /// Makes the streams and groups that are not there.
    async fn make_groups(&self, redis: &mut MultiplexedConnection, keys: &[Key]) -> Result<(), Error> {
        for key in keys {
            let mut create = cmd("XGROUP");
            // From the beginning of the stream: jobs may have been sent before a lost group is made again.
            create.arg("CREATE").arg(jobs_of(key)).arg(GROUP).arg("0").arg("MKSTREAM");
            match create.query_async::<()>(redis).await {
                Ok(()) => {}
                Err(error) if error.code() == Some("BUSYGROUP") => {}
                Err(error) => return Err(self.lost(error)),
            }
        }
        Ok(())
    }
}

/// An entry of a stream.
struct Entry {
    id: Id,
    /// None where it was deleted meanwhile, or is not ours.
    message: Option<Bytes>,
}

/// The entries in a reply to XREAD or XREADGROUP, with the names of their streams.
fn streams(value: Value) -> Option<Vec<(Bytes, Vec<Entry>)>> {
    let streams: Vec<(Value, Value)> = match value {
        Value::Nil => return Some(Vec::new()),
        Value::Array(streams) => streams.into_iter().map(pair).collect::<Option<_>>()?,
        // RESP 3.
        Value::Map(streams) => streams,
        _ => return None,
    };
    streams.into_iter().map(|(name, value)| Some((bytes(name)?, entries(value)?))).collect()
}

/// The entries of one stream.
fn entries(value: Value) -> Option<Vec<Entry>> {
    let Value::Array(entries) = value else { return None };
    // A claim gives nil for one that was deleted.
    entries.into_iter().filter(|entry| *entry != Value::Nil).map(entry).collect()
}

fn entry(value: Value) -> Option<Entry> {
    let (id, fields) = pair(value)?;
    let id = Id::read(&bytes(id)?)?;
    let message = match fields {
        Value::Array(fields) => {
            let mut fields = fields.into_iter();
            std::iter::from_fn(|| Some((bytes(fields.next()?)?, fields.next()?)))
                .find(|(name, _)| name == FIELD)
                .and_then(|(_, value)| bytes(value))
        }
        _ => None,
    };
    Some(Entry { id, message })
}

fn pair(value: Value) -> Option<(Value, Value)> {
    let Value::Array(items) = value else { return None };
    let [first, second] = <[Value; 2]>::try_from(items).ok()?;
    Some((first, second))
}

fn bytes(value: Value) -> Option<Bytes> {
    match value {
        Value::BulkString(bytes) => Some(bytes.into()),
        Value::SimpleString(text) => Some(text.into_bytes().into()),
        _ => None,
    }
}

fn number(value: &Value) -> Option<i64> {
    match value {
        Value::Int(number) => Some(*number),
        _ => None,
    }
}

/// An XADD of one message.
fn add(stream: &str, options: &[&str], message: &[u8]) -> Cmd {
    const WORDS: usize = 5;
    let spare = stream.len() + message.len() + 16 * (WORDS + options.len());
    let mut add = Cmd::with_capacity(WORDS + options.len(), spare);
    add.arg("XADD").arg(stream);
    for option in options {
        add.arg(option);
    }
    add.arg("*").arg(FIELD).arg(message);
    add
}

/// As Redis wants durations.
fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_written_and_followed() {
        let id = Id::read(b"1700000000000-3").unwrap();
        assert_eq!(id.to_string(), "1700000000000-3");
        assert_eq!(id.next().to_string(), "1700000000000-4");
        assert_eq!(Id { ms: 1, seq: u64::MAX }.next(), Id { ms: 2, seq: 0 });
        for wrong in ["", "1", "1-", "-1", "a-b", "1-2-3"] {
            assert_eq!(Id::read(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn strange_replies_are_none() {
        let text = |text: &str| Value::BulkString(text.into());
        assert!(streams(Value::Nil).unwrap().is_empty());
        assert!(streams(Value::Int(3)).is_none());
        assert!(streams(Value::Array(vec![text("x")])).is_none());
        let entry = Value::Array(vec![text("1-1"), Value::Array(vec![text("m"), text("hello")])]);
        let foreign = Value::Array(vec![text("1-2"), Value::Array(vec![text("other"), text("x")])]);
        let deleted = Value::Array(vec![text("1-3"), Value::Nil]);
        let stream = Value::Array(vec![text("s"), Value::Array(vec![entry, Value::Nil, foreign, deleted])]);
        let read = streams(Value::Array(vec![stream])).unwrap();
        assert_eq!(read[0].0, "s");
        assert_eq!(read[0].1.len(), 3);
        assert_eq!(read[0].1[0].message.as_deref(), Some(&b"hello"[..]));
        assert!(read[0].1[1].message.is_none() && read[0].1[2].message.is_none());
    }
}
