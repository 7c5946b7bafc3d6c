//! The server's end on RabbitMQ: jobs are published and confirmed, answers are consumed from one queue, which
//! goes with its consumer.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::{join_all, try_join_all};
use futures_util::{FutureExt, StreamExt};
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicQosOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Confirmation, Connection, Consumer};
use queue::Key;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::{ADDRESS_LIVES, Broker, jobs_of, look, publish};
use crate::broker::message::{Posted, write_job};
use crate::broker::server::{Answer, Config, Event, Job, NotPlaced, Place, Placed, read};
use crate::broker::{BEAT, Error, TOGETHER, Url};
use crate::framing::Limits;

#[derive(Clone)]
pub(crate) struct Sender {
    channel: Channel,
    broker: Broker,
    address: Arc<str>,
    limits: Limits,
}

pub(crate) struct Events {
    /// Its end is the end of everything here.
    _connection: Connection,
    channel: Channel,
    answers: Consumer,
    broker: Broker,
    limits: Limits,
    keys: Vec<Key>,
    beat: Interval,
    served: Option<Vec<Key>>,
}

pub(crate) async fn connect(url: &Url, config: Config) -> Result<(Sender, Events), Error> {
    let broker = Broker { url: url.clone() };
    let connection = broker.connect(&config.server).await?;
    let jobs = broker.channel(&connection).await?;
    let answers = broker.channel(&connection).await?;
    let address: Arc<str> = format!("framelane.reply.{}.{:016x}", config.server, fastrand::u64(..)).into();
    if let Some(before) = config.before {
        broker.patiently(answers.queue_delete(before.into(), QueueDeleteOptions::default())).await?;
    }
    broker.make_queues(&jobs, &config.keys).await?;

    // Durable, since RabbitMQ does away with queues that are neither that nor exclusive; and an exclusive one
    // could not be asked after by workers.
    let mut expires = FieldTable::default();
    let lives = i64::try_from(ADDRESS_LIVES.as_millis()).unwrap_or(i64::MAX);
    expires.insert("x-expires".into(), AMQPValue::LongLongInt(lives));
    let options = QueueDeclareOptions::durable().auto_delete();
    broker.patiently(answers.queue_declare((*address).into(), options, expires)).await?;
    // What is not read yet waits at the broker and not here.
    let ahead = u16::try_from(2 * TOGETHER).unwrap_or(u16::MAX);
    broker.patiently(answers.basic_qos(ahead, BasicQosOptions::default())).await?;
    let consume = answers.basic_consume(
        (*address).into(),
        "".into(),
        BasicConsumeOptions::default(),
        FieldTable::default(),
    );
    let consumer = broker.patiently(consume).await?;

    let mut beat = interval(BEAT);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let sender = Sender { channel: jobs, broker: broker.clone(), address, limits: config.limits };
    let events = Events {
        _connection: connection,
        channel: answers,
        answers: consumer,
        broker,
        limits: config.limits,
        keys: config.keys,
        beat,
        served: None,
    };
    Ok((sender, events))
}

impl Sender {
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    pub(crate) async fn send(&self, jobs: Vec<Job>) -> Result<Vec<Placed>, Error> {
        let mut placed = Vec::with_capacity(jobs.len());
        let mut sent = Vec::with_capacity(jobs.len());
        let mut messages = Vec::with_capacity(jobs.len());
        for Job { ticket, key, budget_left, message } in jobs {
            let queue = jobs_of(&key);
            let reply = (*self.address).to_owned();
            match write_job(Posted { reply, ticket, key, budget_left, message }, self.limits) {
                Ok(bytes) => {
                    sent.push(ticket);
                    messages.push((queue, bytes, budget_left));
                }
                Err(error) => placed.push(Placed { ticket, place: Err(NotPlaced::Bad(error.to_string())) }),
            }
        }
        let published = messages.iter();
        let published = published.map(|(queue, bytes, left)| publish(&self.channel, queue, bytes, *left));
        let confirms = self.broker.patiently(try_join_all(published)).await?;
        let confirmed = self.broker.patiently(try_join_all(confirms)).await?;
        for (ticket, confirmation) in sent.into_iter().zip(confirmed) {
            let place = match confirmation {
                Confirmation::Ack(None) => Ok(Place::unknown()),
                // There is no such queue: somebody has removed it.
                Confirmation::Ack(Some(_)) => return Err(self.broker.forgotten()),
                Confirmation::Nack(_) | Confirmation::NotRequested => Err(NotPlaced::Full),
            };
            placed.push(Placed { ticket, place });
        }
        Ok(placed)
    }

    pub(crate) async fn leave(&self) {
        let delete = self.channel.queue_delete((*self.address).into(), QueueDeleteOptions::default());
        if let Err(error) = self.broker.patiently(delete).await {
            tracing::debug!(%error, "the address for answers goes with the connection");
        }
    }
}

impl Events {
    pub(crate) async fn next(&mut self) -> Result<Event, Error> {
        loop {
            tokio::select! {
                biased;
                _ = self.beat.tick() => {
                    if let Some(served) = self.look().await? {
                        return Ok(Event::Served(served));
                    }
                }
                delivery = self.answers.next() => {
                    let mut answers: Vec<Answer> = Vec::new();
                    let mut delivery = Some(delivery);
                    let mut last = 0;
                    let mut count = 0;
                    while let Some(one) = delivery.take() {
                        // Cancelled by the broker: the queue was removed.
                        let one = one.ok_or_else(|| self.broker.forgotten())?;
                        let one = one.map_err(|error| self.broker.lost(error))?;
                        last = one.delivery_tag;
                        count += 1;
                        read(Bytes::from(one.data), self.limits, &mut answers);
                        if count < TOGETHER {
                            delivery = self.answers.next().now_or_never();
                        }
                    }
                    let all = BasicAckOptions { multiple: true };
                    self.broker.patiently(self.channel.basic_ack(last, all)).await?;
                    if !answers.is_empty() {
                        return Ok(Event::Answers(answers));
                    }
                }
            }
        }
    }

    /// Which keys have consumers; nothing if that is as it was.
    async fn look(&mut self) -> Result<Option<Vec<Key>>, Error> {
        let names: Vec<String> = self.keys.iter().map(jobs_of).collect();
        let queues = join_all(names.iter().map(|name| look(&self.channel, name)));
        let queues = self.broker.patiently(queues.map(Ok)).await?;
        let mut served = Vec::new();
        for (key, queue) in self.keys.iter().zip(queues) {
            if queue.map_err(|error| self.broker.lost(error))?.consumer_count() > 0 {
                served.push(key.clone());
            }
        }
        if self.served.as_ref() == Some(&served) {
            return Ok(None);
        }
        self.served = Some(served.clone());
        Ok(Some(served))
    }
}
