//! Bare quinn with the transport settings and certificates of a lane: what ours is compared with.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use wire::bare::quinn::{Connection, Endpoint};
use wire::identity::Identity;
use wire::server::Windows;

use crate::child::Child;
use crate::pool::Pool;
use crate::work::reply;

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
    while let Ok((mut send, mut recv)) = connection.accept_bi().await {
        tokio::spawn(async move {
            let body = Bytes::from(recv.read_to_end(LONGEST).await?);
            send.write_chunk(reply(&body)).await?;
            send.finish()?;
            anyhow::Ok(())
        });
    }
    Ok(())
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
        let mut done = 0;
        let mut out: FuturesUnordered<_> = (0..CREDIT).map(|_| self.exchange(body)).collect();
        while let Some(replied) = out.next().await {
            replied?;
            done += 1;
            if begin.elapsed() < time {
                out.push(self.exchange(body));
            }
        }
        Ok((done, begin.elapsed().as_secs_f64()))
    }

    /// One body there, its reply back.
    pub async fn exchange(&self, body: &Bytes) -> anyhow::Result<()> {
        let (mut send, mut recv) = self.connection.open_bi().await?;
        send.write_chunk(body.clone()).await?;
        send.finish()?;
        let replied = recv.read_to_end(LONGEST).await?;
        anyhow::ensure!(replied.len() == body.len().min(1024), "a reply of {} bytes", replied.len());
        Ok(())
    }
}
