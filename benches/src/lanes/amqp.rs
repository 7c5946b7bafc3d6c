//! The bare loop on RabbitMQ.

use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::Bytes;
use futures_util::future::try_join_all;
use futures_util::{FutureExt, StreamExt};
use wire::bare::lapin::options::{BasicAckOptions, BasicPublishOptions, QueueDeclareOptions};
use wire::bare::lapin::{BasicProperties, Channel, Connection, Consumer};

use super::{SMALL, WINDOW};

const JOBS: &str = "bare.jobs";
const ANSWERS: &str = "bare.answers";

async fn connect(address: &str) -> anyhow::Result<(Connection, Channel)> {
    let connection = Connection::connect(address, Default::default()).await?;
    let channel = connection.create_channel().await?;
    channel.confirm_select(Default::default()).await?;
    Ok((connection, channel))
}

async fn consume(channel: &Channel, queue: &str, ahead: usize) -> anyhow::Result<Consumer> {
    channel.basic_qos(ahead.try_into()?, Default::default()).await?;
    Ok(channel.basic_consume(queue.into(), "".into(), Default::default(), Default::default()).await?)
}

pub(super) async fn prepare(address: &str) -> anyhow::Result<()> {
    let (connection, channel) = connect(address).await?;
    for queue in [JOBS, ANSWERS] {
        channel.queue_delete(queue.into(), Default::default()).await?;
        channel.queue_declare(queue.into(), QueueDeclareOptions::durable(), Default::default()).await?;
    }
    Ok(connection.close(200, "done".into()).await?)
}

async fn publish(channel: &Channel, queue: &str, messages: &[&[u8]]) -> anyhow::Result<()> {
    let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
    let transient = BasicProperties::default().with_delivery_mode(1);
    let published = messages
        .iter()
        .map(|message| channel.basic_publish("".into(), queue.into(), options, message, transient.clone()));
    try_join_all(try_join_all(published).await?).await?;
    Ok(())
}

/// Waits for what comes, takes all that is there, and gives it with the last one's tag.
async fn take(consumer: &mut Consumer) -> anyhow::Result<(Vec<u8>, u64)> {
    let (mut bytes, mut count) = (Vec::new(), 0);
    let mut next = Some(consumer.next().await);
    let mut tag = 0;
    while let Some(delivery) = next.take() {
        let delivery = delivery.context("the queue is gone")??;
        bytes.extend(delivery.data);
        tag = delivery.delivery_tag;
        count += 1;
        if count < WINDOW {
            next = consumer.next().now_or_never();
        }
    }
    Ok((bytes, tag))
}

const ALL: BasicAckOptions = BasicAckOptions { multiple: true };

pub(super) async fn work(address: &str) -> anyhow::Result<()> {
    let (_connection, channel) = connect(address).await?;
    let mut jobs = consume(&channel, JOBS, WINDOW).await?;
    loop {
        let (answers, tag) = take(&mut jobs).await?;
        publish(&channel, ANSWERS, &[&answers]).await?;
        channel.basic_ack(tag, ALL).await?;
    }
}

pub(super) async fn ask(address: &str, body: &Bytes, time: Duration) -> anyhow::Result<f64> {
    let (_connection, channel) = connect(address).await?;
    let (_other, reads) = connect(address).await?;
    let mut answers = consume(&reads, ANSWERS, 2 * WINDOW).await?;
    let (begin, mut under_way, mut done) = (Instant::now(), 0, 0);
    loop {
        // New jobs go out while the next answers are waited for.
        let room = if begin.elapsed() < time { WINDOW - under_way } else { 0 };
        under_way += room;
        if under_way == 0 {
            return Ok(done as f64 / begin.elapsed().as_secs_f64());
        }
        let jobs = vec![&body[..]; room];
        let (_, (bytes, tag)) = tokio::try_join!(publish(&channel, JOBS, &jobs), take(&mut answers))?;
        reads.basic_ack(tag, ALL).await?;
        let answered = bytes.len() / SMALL;
        done += answered;
        under_way -= answered.min(under_way);
    }
}
