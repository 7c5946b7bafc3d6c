//! RabbitMQ over AMQP 0-9-1: names, connections, queues.
//!
//! Queues of jobs are durable and the messages in them are not: what a broker forgets in a restart, the
//! servers hold, and send again.

pub(super) mod node;
pub(super) mod server;

use std::time::Duration;

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::uri::AMQPUri;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties, PublisherConfirm, Queue};
use queue::Key;

use super::{Error, PATIENCE, Url};

/// The most jobs in a queue; RabbitMQ refuses more, and says so.
const JOBS: i64 = 100_000;
/// How long the address for answers lives that nobody reads.
const ADDRESS_LIVES: Duration = Duration::from_secs(60);
/// How often each end of a connection must be heard, in seconds.
const HEARTBEAT: u16 = 5;

/// The queue of a key's jobs.
fn jobs_of(key: &Key) -> String {
    format!("framelane.jobs.{key}")
}

/// Whether the client can read the address.
pub(super) fn check(url: &Url) -> Result<(), String> {
    url.secret().parse::<AMQPUri>().map(drop)
}

/// A RabbitMQ and its words for what goes wrong.
#[derive(Debug, Clone)]
struct Broker {
    url: Url,
}

impl Broker {
    fn lost(&self, error: lapin::Error) -> Error {
        Error::Lost { url: self.url.clone(), why: self.url.clean(error) }
    }

    fn forgotten(&self) -> Error {
        Error::Forgotten { url: self.url.clone() }
    }

    /// Waits no longer than a broker that is well may take.
    async fn patiently<T>(&self, work: impl Future<Output = lapin::Result<T>>) -> Result<T, Error> {
        match tokio::time::timeout(PATIENCE, work).await {
            Ok(done) => done.map_err(|error| self.lost(error)),
            Err(_) => Err(Error::Lost { url: self.url.clone(), why: "it does not answer".into() }),
        }
    }

    async fn connect(&self, name: &str) -> Result<Connection, Error> {
        let unreachable =
            |why: String| Error::Unreachable { url: self.url.clone(), why: self.url.clean(why) };
        let mut uri: AMQPUri = self.url.secret().parse().map_err(unreachable)?;
        uri.query.heartbeat.get_or_insert(HEARTBEAT);
        let properties = ConnectionProperties::default().with_connection_name(name.into());
        match tokio::time::timeout(PATIENCE, Connection::connect_uri(uri, properties)).await {
            Ok(connected) => connected.map_err(|error| unreachable(error.to_string())),
            Err(_) => Err(unreachable("it does not answer".into())),
        }
    }

    /// A channel on which the broker confirms what is published.
    async fn channel(&self, connection: &Connection) -> Result<Channel, Error> {
        let channel = self.patiently(connection.create_channel()).await?;
        self.patiently(channel.confirm_select(ConfirmSelectOptions::default())).await?;
        Ok(channel)
    }

    /// Makes the queues of jobs that are not there.
    async fn make_queues(&self, channel: &Channel, keys: &[Key]) -> Result<(), Error> {
        for key in keys {
            let mut bounds = FieldTable::default();
            bounds.insert("x-max-length".into(), AMQPValue::LongLongInt(JOBS));
            bounds.insert("x-overflow".into(), AMQPValue::LongString("reject-publish".into()));
            let name = jobs_of(key).into();
            self.patiently(channel.queue_declare(name, QueueDeclareOptions::durable(), bounds)).await?;
        }
        Ok(())
    }
}

/// Asks after a queue; the channel is of no use any more if it is not there.
async fn look(channel: &Channel, name: &str) -> lapin::Result<Queue> {
    channel.queue_declare(name.into(), QueueDeclareOptions::default().passive(), FieldTable::default()).await
}

/// Publishes to a queue by its name: the broker says so if there is none.
async fn publish(
    channel: &Channel,
    queue: &str,
    message: &[u8],
    expires: Option<Duration>,
) -> lapin::Result<PublisherConfirm> {
    const TRANSIENT: u8 = 1;
    let mut properties = BasicProperties::default().with_delivery_mode(TRANSIENT);
    if let Some(expires) = expires {
        properties = properties.with_expiration(expires.as_millis().max(1).to_string().into());
    }
    let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
    channel.basic_publish(ShortString::default(), queue.into(), options, message, properties).await
}
