//! The server's end on Redis: XADD to the streams of jobs, XREAD from one stream of answers.
//!
//! The stream of answers expires unless this end says every now and then that it is there; workers write to
//! it only while it exists. What was read is trimmed with the next read, and its length is bounded besides.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use queue::Key;
use redis::aio::MultiplexedConnection;
use redis::{Pipeline, Value, cmd, pipe};

use super::{Broker, Id, add, alive_of, jobs_of, millis, number, streams};
use crate::broker::message::{Posted, append_job};
use crate::broker::server::{Config, Event, Job, NotPlaced, Place, Placed, read};
use crate::broker::{BEAT, Error, TOGETHER, Url};
use crate::framing::Limits;

/// How long the address for answers lives without a word from this end.
const ADDRESS_LIVES: Duration = Duration::from_secs(15);

#[derive(Clone)]
pub(crate) struct Sender {
    redis: MultiplexedConnection,
    broker: Broker,
    address: Arc<str>,
    limits: Limits,
}

pub(crate) struct Events {
    /// Waits for answers.
    reads: MultiplexedConnection,
    /// Does the rest.
    redis: MultiplexedConnection,
    broker: Broker,
    address: Arc<str>,
    limits: Limits,
    keys: Vec<Key>,
    /// The last entry that was read.
    last: Id,
    beat: Option<Instant>,
    /// What was told last.
    served: Option<Vec<Key>>,
}

pub(crate) async fn connect(url: &Url, config: Config) -> Result<(Sender, Events), Error> {
    let broker = Broker { url: url.clone() };
    let mut redis = broker.connect().await?;
    let reads = broker.connect().await?;
    let address: Arc<str> = format!("framelane:reply:{}:{:016x}", config.server, fastrand::u64(..)).into();
    broker.make_groups(&mut redis, &config.keys).await?;
    let mut begin = pipe();
    if let Some(before) = &config.before {
        begin.cmd("DEL").arg(before).ignore();
    }
    // An entry that says nothing, since a stream cannot be made without one.
    begin.cmd("XADD").arg(&*address).arg("1-1").arg("hello").arg("").ignore();
    begin.cmd("PEXPIRE").arg(&*address).arg(millis(ADDRESS_LIVES)).ignore();
    begin.exec_async(&mut redis).await.map_err(|error| broker.lost(error))?;
    let sender = Sender {
        redis: redis.clone(),
        broker: broker.clone(),
        address: Arc::clone(&address),
        limits: config.limits,
    };
    let events = Events {
        reads,
        redis,
        broker,
        address,
        limits: config.limits,
        keys: config.keys,
        last: Id { ms: 1, seq: 1 },
        beat: None,
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
        let mut adds = Pipeline::with_capacity(jobs.len());
        let (mut bytes, mut stream) = (BytesMut::new(), None);
        for Job { ticket, key, budget_left, message } in jobs {
            let reply = (*self.address).to_owned();
            let posted = Posted { reply, ticket, key: key.clone(), budget_left, message };
            bytes.clear();
            match append_job(&mut bytes, posted, self.limits) {
                Ok(()) => {
                    // Jobs that are sent together are mostly alike.
                    if stream.as_ref().is_none_or(|(known, _)| *known != key) {
                        stream = Some((key.clone(), jobs_of(&key)));
                    }
                    let stream = stream.as_ref().map_or("", |(_, name)| name);
                    adds.add_command(add(stream, &[], &bytes));
                    sent.push((ticket, key));
                }
                Err(error) => {
                    placed.push(Placed { ticket, place: Err(NotPlaced::Bad(error.to_string())) });
                }
            }
        }
        if sent.is_empty() {
            return Ok(placed);
        }
        let mut redis = self.redis.clone();
        let added: Vec<Value> =
            adds.query_async(&mut redis).await.map_err(|error| self.broker.lost(error))?;
        for ((ticket, key), id) in sent.into_iter().zip(added) {
            let id = super::bytes(id).and_then(|id| Id::read(&id));
            let id = id.ok_or_else(|| self.broker.strange("the reply to XADD"))?;
            placed.push(Placed { ticket, place: Ok(Place { entry: Some((key, id)) }) });
        }
        Ok(placed)
    }

    /// Deletes the entries: a worker that has one acknowledges it all the same, and its answer is stale.
    pub(crate) async fn withdraw(&self, places: Vec<Place>) -> Result<(), Error> {
        let mut deletes = pipe();
        for (key, id) in places.into_iter().filter_map(|place| place.entry) {
            deletes.cmd("XDEL").arg(jobs_of(&key)).arg(id.to_string()).ignore();
        }
        if deletes.is_empty() {
            return Ok(());
        }
        let mut redis = self.redis.clone();
        deletes.exec_async(&mut redis).await.map_err(|error| self.broker.lost(error))
    }

    pub(crate) async fn leave(&self) {
        let mut redis = self.redis.clone();
        if let Err(error) = cmd("DEL").arg(&*self.address).exec_async(&mut redis).await {
            tracing::debug!(error = self.broker.url.clean(error), "the address for answers will expire");
        }
    }
}

impl Events {
    pub(crate) async fn next(&mut self) -> Result<Event, Error> {
        loop {
            if self.beat.is_none_or(|beat| beat.elapsed() >= BEAT)
                && let Some(served) = self.beat().await?
            {
                return Ok(Event::Served(served));
            }
            let mut answers = Vec::new();
            for (_, entries) in self.read().await? {
                for entry in entries {
                    self.last = entry.id;
                    if let Some(message) = entry.message {
                        read(message, self.limits, &mut answers);
                    }
                }
            }
            if !answers.is_empty() {
                return Ok(Event::Answers(answers));
            }
        }
    }

    /// Trims what was read and waits for more, for as long as until the next beat.
    async fn read(&mut self) -> Result<Vec<(bytes::Bytes, Vec<super::Entry>)>, Error> {
        let mut reading = pipe();
        reading.cmd("XTRIM").arg(&*self.address).arg("MINID").arg(self.last.next().to_string()).ignore();
        reading.cmd("XREAD").arg("COUNT").arg(TOGETHER).arg("BLOCK").arg(millis(BEAT));
        reading.arg("STREAMS").arg(&*self.address).arg(self.last.to_string());
        let replies: Vec<Value> =
            reading.query_async(&mut self.reads).await.map_err(|error| self.broker.lost(error))?;
        let reply = replies.into_iter().next().unwrap_or(Value::Nil);
        streams(reply).ok_or_else(|| self.broker.strange("the reply to XREAD"))
    }

    /// Says that this end is there, and looks for workers. Gives the keys that they serve if those changed.
    async fn beat(&mut self) -> Result<Option<Vec<Key>>, Error> {
        self.beat = Some(Instant::now());
        let mut beat = pipe();
        beat.cmd("PEXPIRE").arg(&*self.address).arg(millis(ADDRESS_LIVES));
        for key in &self.keys {
            beat.cmd("EXISTS").arg(alive_of(key));
        }
        let told: Vec<Value> =
            beat.query_async(&mut self.redis).await.map_err(|error| self.broker.lost(error))?;
        let mut told = told.iter().map(|value| number(value) == Some(1));
        if told.next() != Some(true) {
            return Err(Error::Forgotten { url: self.broker.url.clone() });
        }
        let served: Vec<Key> =
            self.keys.iter().zip(told).filter(|(_, there)| *there).map(|(key, _)| key.clone()).collect();
        if self.served.as_ref() == Some(&served) {
            return Ok(None);
        }
        self.served = Some(served.clone());
        Ok(Some(served))
    }
}
