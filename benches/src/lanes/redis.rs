//! The bare loop on Redis.

use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::Bytes;
use wire::bare::redis::aio::MultiplexedConnection;
use wire::bare::redis::{AsyncConnectionConfig, Client, Value, cmd, from_redis_value, pipe};

use super::{SMALL, WINDOW};

const JOBS: &str = "bare:jobs";
const ANSWERS: &str = "bare:answers";
const GROUP: &str = "bare";

/// The streams of a reply: names, entries, fields.
type Streams = Vec<(String, Vec<(String, Vec<(String, Vec<u8>)>)>)>;

async fn connect(address: &str) -> anyhow::Result<MultiplexedConnection> {
    let config = AsyncConnectionConfig::new().set_response_timeout(Some(Duration::from_secs(10)));
    Ok(Client::open(address)?.get_multiplexed_async_connection_with_config(&config).await?)
}

pub(super) async fn prepare(address: &str) -> anyhow::Result<()> {
    let mut redis = connect(address).await?;
    let mut prepare = pipe();
    prepare.cmd("DEL").arg(JOBS).arg(ANSWERS).ignore();
    prepare.cmd("XGROUP").arg("CREATE").arg(JOBS).arg(GROUP).arg("0").arg("MKSTREAM").ignore();
    Ok(prepare.exec_async(&mut redis).await?)
}

pub(super) async fn work(address: &str) -> anyhow::Result<()> {
    let (mut reads, mut writes) = (connect(address).await?, connect(address).await?);
    loop {
        let mut read = cmd("XREADGROUP");
        read.arg("GROUP").arg(GROUP).arg("w").arg("COUNT").arg(WINDOW).arg("BLOCK").arg(1000);
        read.arg("STREAMS").arg(JOBS).arg(">");
        let reply: Value = read.query_async(&mut reads).await?;
        if reply == Value::Nil {
            continue;
        }
        let (mut ids, mut answers) = (Vec::new(), Vec::new());
        for (_, entries) in streams(reply)? {
            for (id, fields) in entries {
                ids.push(id);
                answers.extend(fields.into_iter().flat_map(|(_, body)| body));
            }
        }
        let mut writing = pipe();
        writing
            .cmd("XADD")
            .arg(ANSWERS)
            .arg("MAXLEN")
            .arg("~")
            .arg(100_000)
            .arg("*")
            .arg("m")
            .arg(answers)
            .ignore();
        writing.cmd("XACK").arg(JOBS).arg(GROUP).arg(&ids).ignore();
        writing.cmd("XDEL").arg(JOBS).arg(&ids).ignore();
        writing.exec_async(&mut writes).await?;
    }
}

/// A redis-rs tuple of a stream's entry is an array of an id and an array of fields and values.
fn streams(value: Value) -> anyhow::Result<Streams> {
    Ok(from_redis_value(value)?)
}

pub(super) async fn ask(address: &str, body: &Bytes, time: Duration) -> anyhow::Result<f64> {
    let (mut reads, mut writes) = (connect(address).await?, connect(address).await?);
    let (begin, mut last, mut under_way, mut done) = (Instant::now(), "0".to_owned(), 0, 0);
    let mut room = WINDOW;
    loop {
        // New jobs go out while the next answers are waited for.
        let sending = async {
            if room > 0 && begin.elapsed() < time {
                let mut adds = pipe();
                for _ in 0..room {
                    adds.cmd("XADD").arg(JOBS).arg("*").arg("m").arg(&body[..]);
                }
                let ids: Vec<String> = adds.query_async(&mut writes).await?;
                return anyhow::Ok(ids.len());
            }
            Ok(0)
        };
        let reading = async {
            let mut read = pipe();
            if last != "0" {
                read.cmd("XTRIM").arg(ANSWERS).arg("MINID").arg(&last).ignore();
            }
            read.cmd("XREAD").arg("COUNT").arg(WINDOW).arg("BLOCK").arg(1000);
            read.arg("STREAMS").arg(ANSWERS).arg(&last);
            let reply: Vec<Value> = read.query_async(&mut reads).await?;
            reply.into_iter().next().context("a reply")
        };
        let (sent, reply) = tokio::try_join!(sending, reading)?;
        under_way += sent;
        let mut answered = 0;
        if reply != Value::Nil {
            for (_, entries) in streams(reply)? {
                for (id, fields) in entries {
                    last = id;
                    answered += fields.iter().map(|(_, answers)| answers.len() / SMALL).sum::<usize>();
                }
            }
        }
        done += answered;
        under_way -= answered.min(under_way);
        room = WINDOW - under_way;
        if under_way == 0 && begin.elapsed() >= time {
            return Ok(done as f64 / begin.elapsed().as_secs_f64());
        }
    }
}
