//! The whole server on one clip, judged by the packets that come out and by its books.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use media::Next;
use server::app::App;
use server::config::{Config, Stream};
use tokio::time::{sleep, timeout};
use wire::identity::{Authority, TokenOptions};

use super::{Args, Workers};
use crate::rig;

/// One run.
pub(super) struct Whole {
    pub(super) fps: f64,
    pub(super) wrong: Wrong,
}

/// What must be zero.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Wrong {
    /// Packets whose time is before that of the one ahead.
    pub(super) out_of_order: u64,
    /// Packets whose time is that of the one ahead.
    pub(super) duplicates: u64,
    /// Runs whose books did not balance.
    pub(super) unbalanced: u64,
    /// Decoded frames that did not come out answered and encoded.
    pub(super) missing: u64,
}

impl Wrong {
    pub(super) fn add(&mut self, other: &Wrong) {
        self.out_of_order += other.out_of_order;
        self.duplicates += other.duplicates;
        self.unbalanced += other.unbalanced;
        self.missing += other.missing;
    }
}

/// No clip that is used here takes longer, and nothing must hang for ever.
const WITHIN: Duration = Duration::from_secs(300);
const STREAM: &str = "clip";

pub(super) async fn measure(args: &Args, workers: Workers) -> anyhow::Result<Whole> {
    let folder = tempfile::tempdir().context("no temporary folder")?;
    let clip = args.clip.canonicalize().with_context(|| args.clip.display().to_string())?;
    let stream = format!(
        "source = {:?}\nmodel = {:?}\nbudget_ms = 0\nattempts = 0\nwhen_full = \"refuse\"\npace = \"fast\"\n\
         pending = 16\nheld = 32\n",
        clip.to_string_lossy(),
        args.model
    );
    let stream: Stream = toml::from_str(&stream).context("the stream's config")?;
    let free = "127.0.0.1:0".parse().expect("an address");
    let config = Config {
        http: free,
        rtsp: free,
        quic: free,
        state: folder.path().join("state"),
        models: args.assets.models.clone(),
        onnxruntime: Some(args.assets.onnxruntime.clone()),
        local_workers: if let Workers::Local(threads) = workers { threads } else { 0 },
        streams: [(STREAM.to_owned(), stream)].into(),
        ..Config::default()
    };
    let state = config.state.clone();
    let app = App::start(config).await?;
    let mut children = Vec::new();
    if let Workers::Quic(count) = workers {
        let options = TokenOptions {
            expires_in: Duration::from_secs(60),
            uses: NonZeroU32::new(count).context("no workers")?,
        };
        let token = Authority::load_or_create(&state)?.token(options)?.to_string();
        for number in 0..count {
            let own = folder.path().join(format!("worker-{number}"));
            children.push(rig::worker(app.quic(), &token, &own, &args.assets, ["--threads", "1"])?);
        }
    }
    let watched = timeout(WITHIN, watch(&app)).await;
    for child in children {
        child.end().await?;
    }
    app.stop().await;
    watched.with_context(|| format!("not done within {} s", WITHIN.as_secs()))?
}

/// Reads every packet, then the books.
async fn watch(app: &App) -> anyhow::Result<Whole> {
    let stream = app.streams().first().context("the stream that was configured")?;
    let ring = loop {
        match stream.ring() {
            Some(ring) => break ring,
            // The ring keeps what comes until it is read; looking a little late costs nothing.
            None if stream.closing_books().is_some() => bail!("the stream ended without a frame"),
            None => sleep(Duration::from_millis(2)).await,
        }
    };
    let mut reader = ring.subscribe_from_key();
    let mut wrong = Wrong::default();
    let (mut packets, mut first, mut last_at, mut last_pts) = (0_u64, None, Instant::now(), None);
    loop {
        match reader.next().await {
            Next::Packet(packet) => {
                packets += 1;
                last_at = Instant::now();
                first.get_or_insert(last_at);
                match last_pts {
                    Some(last) if packet.pts < last => wrong.out_of_order += 1,
                    Some(last) if packet.pts == last => wrong.duplicates += 1,
                    _ => {}
                }
                last_pts = Some(packet.pts);
            }
            Next::Lagged(lost) => bail!("this program was {lost} packets behind; the machine is too busy"),
            Next::End => break,
        }
    }
    let books = loop {
        match stream.closing_books() {
            Some(books) => break books,
            None => sleep(Duration::from_millis(2)).await,
        }
    };
    wrong.unbalanced = u64::from(books.balances().is_err());
    wrong.missing = books.source.decoded.saturating_sub(books.answered.min(packets));
    let first = first.context("no packets came out")?;
    let span = last_at.duration_since(first).as_secs_f64();
    Ok(Whole { fps: (packets - 1) as f64 / span, wrong })
}
