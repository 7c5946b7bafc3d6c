//! A worker that speaks the protocol by hand, so that it can break it.

use std::time::Duration;

use anyhow::{Context, bail};
use bytes::{Bytes, BytesMut};
use queue::Ticket;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{interval, sleep, timeout};
use tokio_util::sync::CancellationToken;
use wire::bare::quinn::{Connection, RecvStream, SendStream, VarInt};
use wire::framing::{self, Limits, encode_head};
use wire::identity::Identity;
use wire::node::Windows;
use wire::protocol::{AnswerHead, AnswerResult, Control, Hello, HelloKey, JobHead, Welcome};
use wire::{Message, Timings};

use super::{Fault, name};
use crate::clock;
use crate::work::{Answer, Job, Work, reply};

/// A server that turns it away is asked again after this.
const AGAIN: Duration = Duration::from_millis(200);
/// How long one that closes its connection works before it does.
const CLOSES_AFTER: Duration = Duration::from_millis(400);
/// Control messages that may wait to be sent; what does not fit is not said, which is one more fault.
const CONTROLS: usize = 64;

pub(super) struct Rogue<'a> {
    pub(super) server: &'a str,
    pub(super) identity: &'a Identity,
    pub(super) name: &'a str,
    pub(super) credit: u32,
    pub(super) seed: u64,
}

/// What a connection's streams share.
#[derive(Clone)]
struct Manner {
    fault: Fault,
    service: Duration,
    control: mpsc::Sender<Bytes>,
}

impl Rogue<'_> {
    /// Connects and misbehaves, again and again until `stop`.
    pub(super) async fn run(
        &self,
        fault: Fault,
        service: Duration,
        stop: CancellationToken,
    ) -> anyhow::Result<()> {
        let mut random = fastrand::Rng::with_seed(self.seed);
        for number in 0.. {
            let name = name::connection(self.name, number);
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                ended = self.once(&name, fault, service, random.fork()) => if let Err(error) = ended {
                    tracing::info!(name = self.name, "{error:#}");
                },
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                () = sleep(AGAIN) => {}
            }
        }
        Ok(())
    }

    async fn once(
        &self,
        name: &str,
        fault: Fault,
        service: Duration,
        mut random: fastrand::Rng,
    ) -> anyhow::Result<()> {
        let (_endpoint, connection) =
            wire::bare::dial(self.server, self.identity, Windows::default(), self.credit).await?;
        let (mut send, recv) = connection.open_bi().await?;
        let hello = Hello {
            name: name.to_owned(),
            keys: vec![HelloKey { key: Work::key(), warm: true }],
            credit: self.credit,
            capabilities: Vec::new(),
        };
        send.write_all(&encode_head(&hello, 0, Limits::NO_BODY)?).await?;
        let mut control = Reader::new(recv);
        let (welcome, _) = control.next::<Welcome>().await?.context("no welcome")?;
        let (say, said) = mpsc::channel(CONTROLS);
        let manner = Manner { fault, service, control: say };
        // All of it ends with the connection, or with this future.
        let mut tasks = JoinSet::new();
        tasks.spawn(speak(send, said, Duration::from_millis(welcome.heartbeat_ms.max(1).into())));
        tasks.spawn(listen(control, manner.clone()));
        let closes = async {
            match fault {
                Fault::Close => sleep(CLOSES_AFTER).await,
                _ => std::future::pending().await,
            }
        };
        tokio::pin!(closes);
        loop {
            tokio::select! {
                biased;
                () = &mut closes => {
                    let at_us = clock::micros();
                    connection.close(VarInt::from_u32(0), b"told to close");
                    println!("{}", name::closed(name, at_us));
                    return Ok(());
                }
                Some(ended) = tasks.join_next() => if let Ok(Err(error)) = ended {
                    // A stream that the server stopped is of no matter.
                    tracing::debug!(name = self.name, "{error:#}");
                },
                stream = connection.accept_bi() => {
                    let (send, recv) = stream?;
                    tasks.spawn(work(connection.clone(), send, recv, manner.clone(), random.fork()));
                }
            }
        }
    }
}

/// Beats, and says what else is to be said.
async fn speak(mut send: SendStream, mut said: mpsc::Receiver<Bytes>, every: Duration) -> anyhow::Result<()> {
    let beat = encode_head(&Control::Beat, 0, Limits::NO_BODY)?;
    let mut tick = interval(every);
    loop {
        let message = tokio::select! {
            message = said.recv() => message,
            _ = tick.tick() => Some(beat.clone()),
        };
        match message {
            Some(message) => send.write_all(&message).await?,
            // The listener holds one end for as long as the connection lives.
            None => return Ok(()),
        }
    }
}

/// Releases what is cancelled, unless it holds on to everything.
async fn listen(mut control: Reader, manner: Manner) -> anyhow::Result<()> {
    while let Some((message, _)) = control.next::<Control>().await? {
        if let (Control::Cancel { ticket }, false) = (message, manner.fault == Fault::Hold) {
            manner.say(&Control::Released { ticket });
        }
    }
    Ok(())
}

impl Manner {
    fn say(&self, message: &Control) {
        if let Ok(frame) = encode_head(message, 0, Limits::NO_BODY) {
            // A full channel is a server that does not read.
            let _ = self.control.try_send(frame);
        }
    }
}

/// One hand-out.
async fn work(
    connection: Connection,
    mut send: SendStream,
    recv: RecvStream,
    manner: Manner,
    mut random: fastrand::Rng,
) -> anyhow::Result<()> {
    let mut reader = Reader::new(recv);
    let Some((head, body)) = reader.next::<JobHead>().await? else { bail!("a stream without a job") };
    let job: Job = wire::decode(Message { head: head.job, body })?;
    if matches!(manner.fault, Fault::Hold | Fault::Close) {
        // Held until the connection ends: the streams with it.
        connection.closed().await;
        return Ok(());
    }
    sleep(manner.service).await;
    let service_us = u64::try_from(manner.service.as_micros()).unwrap_or(u64::MAX);
    let answer = Answer { number: job.number, service_us, body: reply(&job.body) };
    let frame = frame(head.ticket, answer.clone())?;
    if manner.fault == Fault::Twice {
        send.write_all(&frame).await?;
        // The server may stop the stream after the first one.
        let _ = timeout(AGAIN, send.write_all(&frame)).await;
        let _ = send.finish();
        manner.say(&Control::Released { ticket: head.ticket });
        return Ok(());
    }
    match random.u8(0..8) {
        0 => {
            let mut noise = vec![0; 200];
            random.fill(&mut noise);
            send.write_all(&noise).await?;
        }
        // A head of 4 GiB.
        1 => send.write_all(&[0xff; 12]).await?,
        // Lengths that are right, around a head that is none.
        2 => {
            let mut broken = BytesMut::from(&frame[..]);
            let end = broken.len().min(24);
            random.fill(&mut broken[framing::PREFIX..end]);
            send.write_all(&broken).await?;
        }
        // The answer to another hand-out.
        3 => {
            let seq = queue::Seq(head.ticket.seq.get() + 1);
            send.write_all(&self::frame(Ticket { seq, ..head.ticket }, answer)?).await?;
        }
        // A payload that is none, in a head that is one.
        4 => {
            let head = AnswerHead {
                ticket: head.ticket,
                result: AnswerResult::Ok(Bytes::from_static(b"\xa1\x01")),
                timings: Timings::default(),
            };
            send.write_all(&encode_head(&head, 0, Limits::default())?).await?;
        }
        // Half an answer.
        5 => send.write_all(&frame[..frame.len() / 2]).await?,
        // No answer, but a stream that ends.
        6 => {}
        // Releases that nobody asked for, and a credit beyond all bounds.
        _ => {
            manner.say(&Control::Released { ticket: head.ticket });
            manner.say(&Control::Credit { n: u32::MAX });
            manner.say(&Control::Credit { n: 2 });
            send.write_all(&frame).await?;
        }
    }
    let _ = send.finish();
    Ok(())
}

/// A whole answer as it is on the wire.
fn frame(ticket: Ticket, answer: Answer) -> anyhow::Result<Bytes> {
    let Message { head, body } = wire::encode(answer)?;
    let head = AnswerHead { ticket, result: AnswerResult::Ok(head), timings: Timings::default() };
    let mut frame = BytesMut::from(&encode_head(&head, body.len(), Limits::default())?[..]);
    frame.extend_from_slice(&body);
    Ok(frame.freeze())
}

/// Reads whole messages off a stream.
struct Reader {
    recv: RecvStream,
    left: BytesMut,
}

impl Reader {
    fn new(recv: RecvStream) -> Self {
        Reader { recv, left: BytesMut::new() }
    }

    /// The next message; none at the end.
    async fn next<T: serde::de::DeserializeOwned>(&mut self) -> anyhow::Result<Option<(T, Bytes)>> {
        loop {
            let mut there = self.left.split().freeze();
            let message = framing::decode(&mut there, Limits::default())?;
            self.left = there.into();
            if message.is_some() {
                return Ok(message);
            }
            match self.recv.read_chunk(usize::MAX, true).await? {
                Some(chunk) => self.left.extend_from_slice(&chunk.bytes),
                None => return Ok(None),
            }
        }
    }
}
