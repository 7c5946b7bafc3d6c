//! The worker's end on Redis: XREADGROUP for as many jobs as there is room for, XADD of the answer, XACK and
//! XDEL of the job.
//!
//! Three things go on beside each other: reading, on a connection of its own; writing what is over; and the
//! beat, which says that this worker is there, keeps what it holds from being claimed, and claims what
//! workers held that are not heard any more.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use redis::{Pipeline, RedisError, Value, cmd, pipe};
use tokio_util::sync::CancellationToken;

use super::{Broker, Entry, GROUP, Id, add, alive_of, entries, jobs_of, millis, number, streams};
use crate::broker::batch::{Letter, Outbox, Over, Word, letters};
use crate::broker::message::{Posted, read_job};
use crate::broker::node::{Config, Counts, Job, Reply};
use crate::broker::{BEAT, Error, TOGETHER, Url};

/// How long a read waits for jobs.
const BLOCK: Duration = Duration::from_millis(500);
/// How long it is believed that a server is there which was.
const BELIEVED: Duration = Duration::from_millis(500);
/// Addresses that are remembered; beyond it all are forgotten and looked up again.
const ADDRESSES: usize = 1024;
/// The most entries in a stream of answers: beyond it the oldest go. A server that lives reads them, and
/// bounds by its credit what can be there.
const ANSWERS: &str = "100000";
/// Consumers that have been silent for so long and hold nothing are removed.
const FORGET: Duration = Duration::from_secs(600);

/// Where an entry is: the place of its key, and its id.
type Mark = (usize, Id);

struct Session<'a> {
    broker: Broker,
    config: &'a Config,
    /// As Redis knows this connection of this worker.
    consumer: String,
    streams: Vec<String>,
    outbox: Arc<Outbox<Mark>>,
    /// The entries that are held here, and since when: the beat keeps them from being claimed.
    held: Mutex<BTreeMap<Mark, Instant>>,
    counts: Mutex<Counts>,
    /// Redis' clock in milliseconds, as it was at a moment of ours.
    clock: Mutex<Option<(u64, Instant)>>,
    servers: Mutex<HashMap<String, (bool, Instant)>>,
}

pub(crate) async fn serve(
    url: &Url,
    config: &Config,
    ready: impl FnOnce() + Send,
    take: impl FnMut(Vec<Job>) + Send,
    stop: &CancellationToken,
) -> Result<Counts, Error> {
    let broker = Broker { url: url.clone() };
    let mut redis = broker.connect().await?;
    let reads = broker.connect().await?;
    broker.make_groups(&mut redis, &config.keys).await?;
    let session = Session {
        consumer: format!("{}:{:016x}", config.name, fastrand::u64(..)),
        streams: config.keys.iter().map(jobs_of).collect(),
        broker,
        config,
        outbox: Arc::new(Outbox::new()),
        held: Mutex::default(),
        counts: Mutex::default(),
        clock: Mutex::default(),
        servers: Mutex::default(),
    };
    session.beat(&mut redis).await?;
    ready();
    let served = tokio::select! {
        served = session.read(reads, redis.clone(), take, stop) => served,
        failed = session.write(redis.clone()) => failed,
        failed = session.beats(redis.clone()) => failed,
    };
    served?;
    session.leave(&mut redis).await;
    Ok(*lock(&session.counts))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // No holder panics half-way.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Session<'_> {
    /// Reads jobs until the stop, then waits for what is in hand.
    async fn read(
        &self,
        mut reads: MultiplexedConnection,
        mut redis: MultiplexedConnection,
        mut take: impl FnMut(Vec<Job>),
        stop: &CancellationToken,
    ) -> Result<(), Error> {
        let id: i64 = cmd("CLIENT").arg("ID").query_async(&mut reads).await.unwrap_or(0);
        let credit = self.config.credit.get() as usize;
        let mut turn = 0;
        while !stop.is_cancelled() {
            let room = credit.saturating_sub(self.outbox.held());
            if room == 0 {
                tokio::select! {
                    biased;
                    () = stop.cancelled() => break,
                    () = self.outbox.freed() => {}
                }
                continue;
            }
            let reading = self.read_once(&mut reads, room, &mut turn);
            tokio::pin!(reading);
            let read = tokio::select! {
                read = &mut reading => read,
                // What the read has been given would be lost with it, so it is ended and not dropped.
                () = stop.cancelled() => {
                    let _ = cmd("CLIENT").arg("UNBLOCK").arg(id).exec_async(&mut redis).await;
                    reading.await
                }
            };
            match read {
                Ok(read) => self.sort(read, &mut redis, &mut take).await?,
                Err(error) if error.code() == Some("NOGROUP") => {
                    tracing::info!(broker = %self.broker.url, "the broker was emptied: making its groups again");
                    self.broker.make_groups(&mut redis, &self.config.keys).await?;
                }
                Err(error) => return Err(self.broker.lost(error)),
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

    /// One read of at most `room` entries. COUNT counts for each stream by itself, so where there is less
    /// room than streams only some are read, in turn.
    async fn read_once(
        &self,
        reads: &mut MultiplexedConnection,
        room: usize,
        turn: &mut usize,
    ) -> Result<Vec<(usize, Vec<Entry>)>, RedisError> {
        let all = self.streams.len();
        let some = all.min(room).max(1);
        let block = if some == all { BLOCK } else { BLOCK / 10 };
        let count = (room / some).clamp(1, TOGETHER);
        let first = *turn;
        *turn = (first + some) % all;
        let places = || (first..first + some).map(|at| at % all);
        let mut read = cmd("XREADGROUP");
        read.arg("GROUP").arg(GROUP).arg(&self.consumer).arg("COUNT").arg(count);
        read.arg("BLOCK").arg(millis(block)).arg("STREAMS");
        for at in places() {
            read.arg(&self.streams[at]);
        }
        for _ in places() {
            read.arg(">");
        }
        let reply: Value = read.query_async(reads).await?;
        let Some(read) = streams(reply) else {
            tracing::warn!(broker = %self.broker.url, "a reply to XREADGROUP is not what Redis says there");
            return Ok(Vec::new());
        };
        let place = |name: &[u8]| self.streams.iter().position(|stream| stream.as_bytes() == name);
        Ok(read.into_iter().filter_map(|(name, entries)| Some((place(&name)?, entries))).collect())
    }

    /// Gives jobs to the worker, and drops those that nobody wants any more.
    async fn sort(
        &self,
        read: Vec<(usize, Vec<Entry>)>,
        redis: &mut MultiplexedConnection,
        take: &mut impl FnMut(Vec<Job>),
    ) -> Result<(), Error> {
        let mut posted = Vec::with_capacity(read.iter().map(|(_, entries)| entries.len()).sum());
        for (stream, entries) in read {
            self.hold(entries.iter().map(|entry| (stream, entry.id)));
            for entry in entries {
                match self.posted(&entry, &self.config.keys[stream]) {
                    Some(job) => posted.push(((stream, entry.id), job)),
                    None => self.let_go((stream, entry.id)),
                }
            }
        }
        self.look_for_servers(&posted, redis).await?;
        let mut jobs = Vec::with_capacity(posted.len());
        for (mark, job) in posted {
            let Posted { reply, ticket, key, budget_left, message } = job;
            let left = budget_left.map(|left| left.saturating_sub(self.age(mark.1)));
            if !self.is_there(&reply) {
                lock(&self.counts).dead += 1;
                self.let_go(mark);
            } else if left == Some(Duration::ZERO) {
                lock(&self.counts).late += 1;
                self.let_go(mark);
            } else {
                let outbox = Arc::clone(&self.outbox);
                let reply = Reply::new(move |result, timings| {
                    outbox.put(Over { reply, ticket, word: Word::Done(result, timings), mark });
                });
                jobs.push(Job { ticket, key, budget_left: left, message, reply });
            }
        }
        if !jobs.is_empty() {
            lock(&self.counts).taken += jobs.len() as u64;
            take(jobs);
        }
        Ok(())
    }

    fn hold(&self, marks: impl ExactSizeIterator<Item = Mark>) {
        let now = Instant::now();
        self.outbox.came(marks.len());
        lock(&self.held).extend(marks.map(|mark| (mark, now)));
    }

    /// Acknowledges an entry without a word.
    fn let_go(&self, mark: Mark) {
        let ticket = queue::Ticket { flow: 0.into(), seq: 0.into(), part: 0, attempt: 0 };
        self.outbox.put(Over { reply: String::new(), ticket, word: Word::Silence, mark });
    }

    /// The job in an entry, if it is one for this key.
    fn posted(&self, entry: &Entry, key: &queue::Key) -> Option<Posted> {
        let message = entry.message.clone()?;
        match read_job(message, self.config.limits) {
            Ok(posted) if posted.key == *key => return Some(posted),
            Ok(posted) => {
                tracing::warn!(%key, found = %posted.key, "a job lies in the stream of another key")
            }
            Err(error) => tracing::warn!(%key, %error, "a job cannot be read"),
        }
        lock(&self.counts).unreadable += 1;
        None
    }

    /// Asks after the servers of these jobs that were not asked after lately.
    async fn look_for_servers(
        &self,
        posted: &[(Mark, Posted)],
        redis: &mut MultiplexedConnection,
    ) -> Result<(), Error> {
        let mut unknown: Vec<String> = Vec::new();
        {
            let servers = lock(&self.servers);
            for (_, Posted { reply, .. }) in posted {
                // One that is gone never comes back: its address is never used again.
                let known = servers.get(reply).is_some_and(|(there, at)| !there || at.elapsed() < BELIEVED);
                if !known && !unknown.contains(reply) {
                    unknown.push(reply.clone());
                }
            }
        }
        if unknown.is_empty() {
            return Ok(());
        }
        let mut ask = pipe();
        for reply in &unknown {
            ask.cmd("EXISTS").arg(reply);
        }
        let told: Vec<Value> = ask.query_async(redis).await.map_err(|error| self.broker.lost(error))?;
        let mut servers = lock(&self.servers);
        if servers.len() > ADDRESSES {
            servers.clear();
        }
        for (reply, told) in unknown.into_iter().zip(told) {
            servers.insert(reply, (number(&told) == Some(1), Instant::now()));
        }
        Ok(())
    }

    fn is_there(&self, reply: &str) -> bool {
        lock(&self.servers).get(reply).is_none_or(|(there, _)| *there)
    }

    /// For how long an entry has been there, by Redis' clock.
    fn age(&self, id: Id) -> Duration {
        let Some((told, at)) = *lock(&self.clock) else { return Duration::ZERO };
        (Duration::from_millis(told) + at.elapsed()).saturating_sub(Duration::from_millis(id.ms))
    }

    /// Sends what is over, for ever.
    async fn write(&self, mut redis: MultiplexedConnection) -> Result<(), Error> {
        loop {
            let over = self.outbox.take().await;
            let jobs = over.len();
            let (letters, unsaid) = letters(over, self.config.limits);
            let mut sends = pipe();
            let mut marks = unsaid;
            for Letter { reply, bytes, marks: about } in letters {
                // No server, no stream: then nobody waits for this, and nothing is made.
                let options = ["NOMKSTREAM", "MAXLEN", "~", ANSWERS];
                sends.add_command(add(&reply, &options, &bytes)).ignore();
                marks.extend(about);
            }
            acknowledge(&mut sends, &self.streams, &marks);
            sends.exec_async(&mut redis).await.map_err(|error| self.broker.lost(error))?;
            {
                let mut held = lock(&self.held);
                for mark in &marks {
                    held.remove(mark);
                }
            }
            self.outbox.went(jobs);
        }
    }

    async fn beats(&self, mut redis: MultiplexedConnection) -> Result<(), Error> {
        let mut tidy = Instant::now();
        loop {
            tokio::time::sleep(BEAT.min(self.config.dead_after / 4)).await;
            self.beat(&mut redis).await?;
            self.claim(&mut redis).await?;
            if tidy.elapsed() > FORGET / 4 {
                tidy = Instant::now();
                self.tidy(&mut redis).await?;
            }
        }
    }

    /// Says that this worker is there and works on what it holds; learns Redis' clock.
    async fn beat(&self, redis: &mut MultiplexedConnection) -> Result<(), Error> {
        let mut beat = pipe();
        beat.cmd("TIME");
        for key in &self.config.keys {
            let lives = millis(self.config.dead_after);
            beat.cmd("SET").arg(alive_of(key)).arg(&self.config.name).arg("PX").arg(lives).ignore();
        }
        let mut own: BTreeMap<usize, Vec<String>> = BTreeMap::new();
        for ((stream, id), since) in lock(&self.held).iter() {
            if since.elapsed() >= BEAT.min(self.config.dead_after / 4) {
                own.entry(*stream).or_default().push(id.to_string());
            }
        }
        for (stream, ids) in own {
            // A claim of what one has already does nothing but start its idle time again.
            beat.cmd("XCLAIM").arg(&self.streams[stream]).arg(GROUP).arg(&self.consumer).arg(0).arg(ids);
            beat.arg("JUSTID").ignore();
        }
        let told: Vec<Value> = match beat.query_async(redis).await {
            Ok(told) => told,
            // The reader makes the groups again, and what was held is no more.
            Err(error) if error.code() == Some("NOGROUP") => return Ok(()),
            Err(error) => return Err(self.broker.lost(error)),
        };
        if let Some(Value::Array(time)) = told.first()
            && let [seconds, micros] = &time[..]
        {
            let read = |value: &Value| -> Option<u64> {
                std::str::from_utf8(&super::bytes(value.clone())?).ok()?.parse().ok()
            };
            if let (Some(seconds), Some(micros)) = (read(seconds), read(micros)) {
                *lock(&self.clock) = Some((seconds.saturating_mul(1000) + micros / 1000, Instant::now()));
            }
        }
        Ok(())
    }

    /// Takes over what workers had that are not heard any more, and says so to those who sent it.
    async fn claim(&self, redis: &mut MultiplexedConnection) -> Result<(), Error> {
        for (at, stream) in self.streams.iter().enumerate() {
            let mut claim = cmd("XAUTOCLAIM");
            claim.arg(stream).arg(GROUP).arg(&self.consumer).arg(millis(self.config.dead_after));
            claim.arg("0-0").arg("COUNT").arg(TOGETHER);
            let claimed: Value = match claim.query_async(redis).await {
                Ok(claimed) => claimed,
                Err(error) if error.code() == Some("NOGROUP") => return Ok(()),
                Err(error) => return Err(self.broker.lost(error)),
            };
            let Value::Array(reply) = claimed else {
                return Err(self.broker.strange("the reply to XAUTOCLAIM"));
            };
            let claimed = reply.into_iter().nth(1).and_then(entries);
            for entry in claimed.ok_or_else(|| self.broker.strange("the reply to XAUTOCLAIM"))? {
                let mark = (at, entry.id);
                // One's own, if this process itself was stopped for that long: it goes on with it.
                if lock(&self.held).contains_key(&mark) {
                    continue;
                }
                self.hold(std::iter::once(mark));
                match self.posted(&entry, &self.config.keys[at]) {
                    Some(Posted { reply, ticket, .. }) => {
                        lock(&self.counts).redelivered += 1;
                        self.outbox.put(Over { reply, ticket, word: Word::Gone, mark });
                    }
                    None => self.let_go(mark),
                }
            }
        }
        Ok(())
    }

    /// Removes the consumers of connections that are long gone.
    async fn tidy(&self, redis: &mut MultiplexedConnection) -> Result<(), Error> {
        // In one step: between a look and a removal it could be given something.
        const SCRIPT: &str = "for _, c in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do \
            local f = {} for i = 1, #c, 2 do f[c[i]] = c[i + 1] end \
            if f['pending'] == 0 and f['idle'] > tonumber(ARGV[2]) then \
            redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], f['name']) end end return 1";
        for stream in &self.streams {
            let mut tidy = cmd("EVAL");
            tidy.arg(SCRIPT).arg(1).arg(stream).arg(GROUP).arg(millis(FORGET));
            if let Err(error) = tidy.exec_async(redis).await {
                if error.is_io_error() {
                    return Err(self.broker.lost(error));
                }
                // It may not be allowed here. It is only tidiness.
                tracing::debug!(error = self.broker.url.clean(error), "old consumers stay");
            }
        }
        Ok(())
    }

    /// Removes this consumer where it holds nothing. What fails in that is tidied up later.
    async fn leave(&self, redis: &mut MultiplexedConnection) {
        if self.outbox.held() == 0 {
            let mut leave = pipe();
            for stream in &self.streams {
                leave.cmd("XGROUP").arg("DELCONSUMER").arg(stream).arg(GROUP).arg(&self.consumer).ignore();
            }
            let _ = leave.exec_async(redis).await;
        }
    }
}

/// XACK and XDEL of these entries.
fn acknowledge(sends: &mut Pipeline, streams: &[String], marks: &[Mark]) {
    let mut ids: Vec<Vec<String>> = vec![Vec::new(); streams.len()];
    for (stream, id) in marks {
        ids[*stream].push(id.to_string());
    }
    for (stream, ids) in streams.iter().zip(ids) {
        if !ids.is_empty() {
            sends.cmd("XACK").arg(stream).arg(GROUP).arg(&ids).ignore();
            sends.cmd("XDEL").arg(stream).arg(&ids).ignore();
        }
    }
}
