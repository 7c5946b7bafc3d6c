//! The worker's end on RabbitMQ: jobs are consumed with a prefetch of the credit, an answer is published and
//! confirmed, and only then its job is acknowledged.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::try_join_all;
use futures_util::stream::{SelectAll, select_all};
use futures_util::{FutureExt, StreamExt};
use lapin::options::{BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Confirmation, Connection, Consumer};
use queue::Ticket;
use tokio_util::sync::CancellationToken;

use super::{Broker, jobs_of, look, publish};
use crate::broker::batch::{Outbox, Over, Word, letters};
use crate::broker::message::{Posted, read_job};
use crate::broker::node::{Config, Counts, Job, Reply};
use crate::broker::{Error, TOGETHER, Url};

/// How long it is believed that a server is there which was.
const BELIEVED: Duration = Duration::from_millis(500);
/// Addresses that are remembered; beyond it all are forgotten and looked up again.
const ADDRESSES: usize = 1024;

/// As the broker numbers deliveries on the channel.
type Mark = u64;

struct Session<'a> {
    connection: Connection,
    channel: Channel,
    broker: Broker,
    config: &'a Config,
    outbox: Arc<Outbox<Mark>>,
    /// Deliveries that are not acknowledged, and the highest there was.
    open: Mutex<(BTreeSet<Mark>, Mark)>,
    counts: Mutex<Counts>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No holder panics half-way.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) async fn serve(
    url: &Url,
    config: &Config,
    ready: impl FnOnce() + Send,
    take: impl FnMut(Vec<Job>) + Send,
    stop: &CancellationToken,
) -> Result<Counts, Error> {
    let broker = Broker { url: url.clone() };
    let connection = broker.connect(&config.name).await?;
    let channel = broker.channel(&connection).await?;
    broker.make_queues(&channel, &config.keys).await?;
    // The prefetch is for each consumer by itself, and there is one for each key.
    let share = config.credit.get().div_ceil(u32::try_from(config.keys.len()).unwrap_or(u32::MAX).max(1));
    let share = u16::try_from(share).unwrap_or(u16::MAX);
    broker.patiently(channel.basic_qos(share, BasicQosOptions::default())).await?;
    let mut consumers = Vec::new();
    for key in &config.keys {
        let consume = channel.basic_consume(
            jobs_of(key).into(),
            "".into(),
            BasicConsumeOptions::default(),
            FieldTable::default(),
        );
        consumers.push(broker.patiently(consume).await?);
    }
    ready();
    let session = Session {
        connection,
        channel,
        broker,
        config,
        outbox: Arc::new(Outbox::new()),
        open: Mutex::default(),
        counts: Mutex::default(),
    };
    tokio::select! {
        served = session.read(consumers, take, stop) => served?,
        failed = session.write() => failed?,
    }
    let bye = session.connection.close(200, "drained".into());
    // What is left unacknowledged is given to others, closed or not.
    let _ = session.broker.patiently(bye).await;
    Ok(*lock(&session.counts))
}

impl Session<'_> {
    /// Takes jobs until the stop, then waits for what is in hand.
    async fn read(
        &self,
        consumers: Vec<Consumer>,
        mut take: impl FnMut(Vec<Job>),
        stop: &CancellationToken,
    ) -> Result<(), Error> {
        let tags: Vec<_> = consumers.iter().map(Consumer::tag).collect();
        let mut deliveries = select_all(consumers);
        let mut servers = Servers::default();
        let mut stopping = false;
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled(), if !stopping => {
                    stopping = true;
                    for tag in &tags {
                        let cancel = self.channel.basic_cancel(tag.clone(), BasicCancelOptions::default());
                        self.broker.patiently(cancel).await?;
                    }
                }
                delivery = deliveries.next() => match delivery {
                    Some(first) => {
                        let mut jobs = Vec::new();
                        self.sort(first, &mut deliveries, &mut servers, &mut jobs).await?;
                        if !jobs.is_empty() {
                            lock(&self.counts).taken += jobs.len() as u64;
                            take(jobs);
                        }
                    }
                    None if stopping => break,
                    None => return Err(self.broker.forgotten()),
                },
            }
        }
        let drained = async {
            while self.outbox.held() > 0 {
                self.outbox.freed().await;
            }
        };
        if tokio::time::timeout(self.config.drain_within, drained).await.is_err() {
            tracing::warn!(held = self.outbox.held(), "the drain takes too long, what is held is given up");
        }
        Ok(())
    }

    /// Makes jobs of what is there, and drops what nobody wants any more.
    async fn sort(
        &self,
        first: lapin::Result<lapin::message::Delivery>,
        deliveries: &mut SelectAll<Consumer>,
        servers: &mut Servers,
        jobs: &mut Vec<Job>,
    ) -> Result<(), Error> {
        let mut next = Some(first);
        let mut count = 0;
        while let Some(delivery) = next.take() {
            let delivery = delivery.map_err(|error| self.broker.lost(error))?;
            let mark = delivery.delivery_tag;
            self.hold(mark);
            let posted = read_job(Bytes::from(delivery.data), self.config.limits);
            match posted {
                Err(error) => {
                    tracing::warn!(queue = %delivery.routing_key, %error, "a job cannot be read");
                    lock(&self.counts).unreadable += 1;
                    self.let_go(mark);
                }
                Ok(Posted { reply, ticket, .. }) if delivery.redelivered => {
                    lock(&self.counts).redelivered += 1;
                    self.outbox.put(Over { reply, ticket, word: Word::Gone, mark });
                }
                Ok(posted) => {
                    if servers.is_there(&posted.reply, self).await? {
                        jobs.push(self.job(posted, mark));
                    } else {
                        lock(&self.counts).dead += 1;
                        self.let_go(mark);
                    }
                }
            }
            count += 1;
            if count < TOGETHER {
                next = deliveries.next().now_or_never().flatten();
            }
        }
        Ok(())
    }

    fn job(&self, posted: Posted, mark: Mark) -> Job {
        let Posted { reply, ticket, key, budget_left, message } = posted;
        let outbox = Arc::clone(&self.outbox);
        let reply = Reply::new(move |result, timings| {
            outbox.put(Over { reply, ticket, word: Word::Done(result, timings), mark });
        });
        Job { ticket, key, budget_left, message, reply }
    }

    fn hold(&self, mark: Mark) {
        let mut open = lock(&self.open);
        open.0.insert(mark);
        open.1 = open.1.max(mark);
        drop(open);
        self.outbox.came(1);
    }

    /// Acknowledges a delivery without a word.
    fn let_go(&self, mark: Mark) {
        let ticket = Ticket { flow: 0.into(), seq: 0.into(), part: 0, attempt: 0 };
        self.outbox.put(Over { reply: String::new(), ticket, word: Word::Silence, mark });
    }

    /// Sends what is over, for ever.
    async fn write(&self) -> Result<(), Error> {
        loop {
            let over = self.outbox.take().await;
            let jobs = over.len();
            let (letters, mut marks) = letters(over, self.config.limits);
            let published =
                letters.iter().map(|letter| publish(&self.channel, &letter.reply, &letter.bytes, None));
            let confirms = self.broker.patiently(try_join_all(published)).await?;
            for confirmation in self.broker.patiently(try_join_all(confirms)).await? {
                // What comes back has no server any more. What is refused must not be acknowledged.
                if matches!(confirmation, Confirmation::Nack(_)) {
                    let why = "it refuses answers".to_owned();
                    return Err(Error::Lost { url: self.broker.url.clone(), why });
                }
            }
            marks.extend(letters.into_iter().flat_map(|letter| letter.marks));
            self.acknowledge(marks).await?;
            self.outbox.went(jobs);
        }
    }

    /// Acknowledges up to the first that is still open in one go, and what is behind that one by one.
    async fn acknowledge(&self, marks: Vec<Mark>) -> Result<(), Error> {
        let (all_up_to, single) = {
            let (open, highest) = &mut *lock(&self.open);
            for mark in &marks {
                open.remove(mark);
            }
            let up_to = open.first().map_or(*highest, |first| first - 1);
            let single: Vec<Mark> = marks.iter().copied().filter(|mark| *mark > up_to).collect();
            (marks.iter().any(|mark| *mark <= up_to).then_some(up_to), single)
        };
        let acks = all_up_to
            .map(|mark| (mark, true))
            .into_iter()
            .chain(single.into_iter().map(|mark| (mark, false)));
        let acks = acks.map(|(mark, multiple)| self.channel.basic_ack(mark, BasicAckOptions { multiple }));
        self.broker.patiently(try_join_all(acks)).await?;
        Ok(())
    }
}

/// Which servers are there, by their addresses for answers.
#[derive(Default)]
struct Servers {
    known: HashMap<String, (bool, Instant)>,
    /// It ends with each question after a queue that is not there, so it is none that does other things.
    channel: Option<Channel>,
}

impl Servers {
    async fn is_there(&mut self, reply: &str, session: &Session<'_>) -> Result<bool, Error> {
        match self.known.get(reply) {
            Some((true, at)) if at.elapsed() < BELIEVED => return Ok(true),
            // It never comes back: an address is never used again.
            Some((false, _)) => return Ok(false),
            _ => {}
        }
        let broker = &session.broker;
        let channel = match self.channel.take() {
            Some(channel) => channel,
            None => broker.patiently(session.connection.create_channel()).await?,
        };
        let looked = tokio::time::timeout(crate::broker::PATIENCE, look(&channel, reply)).await;
        let there = match looked {
            Ok(Ok(_)) => true,
            Ok(Err(error)) if error.is_amqp_soft_error() => false,
            Ok(Err(error)) => return Err(broker.lost(error)),
            Err(_) => return Err(Error::Lost { url: broker.url.clone(), why: "it does not answer".into() }),
        };
        if there {
            self.channel = Some(channel);
        }
        if self.known.len() > ADDRESSES {
            self.known.clear();
        }
        self.known.insert(reply.to_owned(), (there, Instant::now()));
        Ok(there)
    }
}
