//! Bare quinn with the transport settings and certificates of a lane: what ours is compared with.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::{Bytes, BytesMut};
use tokio::task::JoinSet;
use wire::bare::quinn::{Connection, Endpoint, RecvStream, SendStream};
use wire::identity::Identity;
use wire::server::Windows;

use crate::child::Child;
use crate::pool::Pool;
use crate::work::{REPLY, reply};

/// The far end of a bare pair.
#[derive(clap::Args, Clone)]
pub struct Args {
    /// Where to dial, HOST:PORT.
    #[arg(long, value_name = "HOST:PORT")]
    server: String,
    /// The identity to show.
    #[arg(long, value_name = "FILE")]
    identity: PathBuf,
}

/// As many as the lanes that it is compared with.
const CREDIT: u32 = 8;
/// No body is longer.
const LONGEST: usize = 16 << 20;

/// Replies to each stream as a worker does to a job, until the connection ends.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let identity = Identity::load(&args.identity)?;
    let (_endpoint, connection) =
        wire::bare::dial(&args.server, &identity, Windows::default(), CREDIT).await?;
    // On the runtime's threads, where the connection itself is driven: from the main thread each stream
    // would cost a switch of threads.
    tokio::spawn(async move {
        while let Ok((send, recv)) = connection.accept_bi().await {
            tokio::spawn(answer(send, recv));
        }
    })
    .await?;
    Ok(())
}

async fn answer(mut send: SendStream, mut recv: RecvStream) -> anyhow::Result<()> {
    // Its length comes first, as in any protocol, so that the memory for it can be had at once.
    let mut length = [0; 8];
    recv.read_exact(&mut length).await?;
    let body = read(&mut recv, u64::from_be_bytes(length).try_into()?).await?;
    send.write_chunk(reply(&body)).await?;
    send.finish()?;
    Ok(())
}

/// Reads a stream of at most `len` bytes to its end: one copy, into memory of its own, while each packet is
/// warm. quinn's own `read_to_end` keeps all packets until the last one is here, and copies them cold.
async fn read(recv: &mut RecvStream, len: usize) -> anyhow::Result<Bytes> {
    anyhow::ensure!(len <= LONGEST, "{len} bytes");
    let mut body = BytesMut::with_capacity(len);
    while let Some(chunk) = recv.read_chunk(usize::MAX, true).await? {
        anyhow::ensure!(body.len() + chunk.bytes.len() <= len, "more than {len} bytes");
        body.extend_from_slice(&chunk.bytes);
    }
    Ok(body.freeze())
}

/// The near end, with the process at the far end.
pub struct Pair {
    connection: Connection,
    _endpoint: Endpoint,
    child: Child,
}

impl Pair {
    /// Starts the far end with an identity of the pool's authority.
    pub async fn start(pool: &Pool, folder: &Path) -> anyhow::Result<Pair> {
        let token = pool.token()?.parse().context("our own token")?;
        let file = folder.join("bare").join("identity.pem");
        Identity::enrol(&pool.addr().to_string(), &token, "bare").await?.save(&file)?;
        let any = ([127, 0, 0, 1], 0).into();
        let endpoint = wire::bare::listen(any, pool.authority(), Windows::default(), CREDIT)?;
        let server = endpoint.local_addr()?.to_string();
        let args = ["bare", "--server", &server, "--identity"].into_iter().map(AsRef::as_ref);
        let child = Child::start("framelane-bench", args.chain([file.as_os_str()]), "warn")?;
        let connection = endpoint.accept().await.context("the endpoint closed")?.await?;
        Ok(Pair { connection, _endpoint: endpoint, child })
    }

    /// The far end.
    pub fn pid(&self) -> Option<u32> {
        self.child.pid()
    }

    /// Keeps `CREDIT` bodies under way for so long; gives how many came back, and the time it took.
    pub async fn bodies(&self, body: &Bytes, time: Duration) -> anyhow::Result<(u64, f64)> {
        let begin = Instant::now();
        let mut streams = JoinSet::new();
        for _ in 0..CREDIT {
            let (connection, body) = (self.connection.clone(), body.clone());
            streams.spawn(async move {
                let mut done = 0;
                while begin.elapsed() < time {
                    exchange(&connection, &body).await?;
                    done += 1;
                }
                anyhow::Ok(done)
            });
        }
        let mut done = 0;
        while let Some(ended) = streams.join_next().await {
            done += ended??;
        }
        Ok((done, begin.elapsed().as_secs_f64()))
    }

    /// One body there and its reply back at a time for so long; gives how many milliseconds each took.
    pub async fn trips_ms(&self, body: &Bytes, time: Duration) -> anyhow::Result<Vec<f64>> {
        let (connection, body) = (self.connection.clone(), body.clone());
        tokio::spawn(async move {
            let (begin, mut times) = (Instant::now(), Vec::new());
            while begin.elapsed() < time {
                let sent = Instant::now();
                exchange(&connection, &body).await?;
                times.push(sent.elapsed().as_secs_f64() * 1e3);
            }
            Ok(times)
        })
        .await?
    }
}

/// One body there, its reply back.
async fn exchange(connection: &Connection, body: &Bytes) -> anyhow::Result<()> {
    let (mut send, mut recv) = connection.open_bi().await?;
    let length = Bytes::copy_from_slice(&(body.len() as u64).to_be_bytes());
    send.write_all_chunks(&mut [length, body.clone()]).await?;
    send.finish()?;
    let expected = body.len().min(REPLY);
    let replied = read(&mut recv, expected).await?;
    anyhow::ensure!(replied.len() == expected, "a reply of {} bytes", replied.len());
    Ok(())
}
