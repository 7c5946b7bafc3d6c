//! `framelane-bench camera`: a test camera, which is a real RTSP server that plays a clip or a
//! synthetic scene. Each frame carries its [number](stamp), so that whoever watches the other end of
//! a system can tell order, repeats and losses.

mod pace;
pub mod stamp;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use media::draw::Canvas;
use media::encode::{self, Encoder};
use media::ingest::{self, Event, Ingest};
use media::rtsp::{self, Server};
use picture::{Frame, Rate, Size};
use tokio::signal::unix::{SignalKind, signal};

use pace::Pace;

/// What the camera shows, and where.
#[derive(clap::Args)]
pub struct Args {
    /// A clip, or `test:WIDTHxHEIGHT@FPS` for a synthetic scene.
    #[arg(long, value_name = "FILE|test:", default_value = "test:640x360@25")]
    source: String,
    /// Where RTSP clients connect. Port 0 takes a free one. Loopback only: a camera without a password.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:0")]
    addr: SocketAddr,
    /// The path of the stream.
    #[arg(long, value_name = "PATH", default_value = "/camera")]
    path: String,
    /// Scales the picture into this size.
    #[arg(long, value_name = "WxH")]
    size: Option<Size>,
    /// Plays at this rate, in frames a second, instead of the source's own.
    #[arg(long, value_name = "N|N/D", value_parser = rate)]
    rate: Option<Rate>,
    /// Starts again at the end of the source.
    #[arg(long = "loop")]
    looped: bool,
    /// Ends after so many frames.
    #[arg(long, value_name = "N")]
    frames: Option<u32>,
    /// Leaves the frames as they are, without their number.
    #[arg(long)]
    no_stamp: bool,
}

/// How far a client may be behind: as far as the ring reaches at ten frames a second.
const BEHIND: Duration = Duration::from_secs(20);

/// Plays until the source ends, or until Ctrl-C or SIGTERM.
pub async fn run(args: Args) -> anyhow::Result<()> {
    ensure!(args.addr.ip().is_loopback(), "--addr {}: only loopback, since anybody could watch", args.addr);
    media::check()?;
    // A camera that skips for a busy client would make its losses look like the client's.
    let mut serving = rtsp::Config::default();
    serving.behind = BEHIND;
    let server = Server::bind_with(args.addr, serving).context("--addr")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for Ctrl-C")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let played = tokio::select! {
        biased;
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
        played = play(&args, &server) => played,
    };
    server.close().await;
    played
}

async fn play(args: &Args, server: &Server) -> anyhow::Result<()> {
    let source = media::Source::parse(&args.source).context("--source")?;
    let mut how = ingest::Config::default();
    how.loop_file = args.looped;
    // A rate of our own paces the frames; the source then only has to keep up.
    how.pace = if args.rate.is_some() { ingest::Pace::Fast } else { ingest::Pace::Live };
    let mut ingest = ingest::open(source, how);
    let mut pace = args.rate.map(Pace::new);
    let mut encoder: Option<Encoder> = None;
    for number in 0..args.frames.unwrap_or(u32::MAX) {
        let Some(frame) = next(&mut ingest).await? else { break };
        let mut frame = prepared(&frame, args, number)?;
        if let Some(pace) = &mut pace {
            frame.stamp.pts = pace.due(number).await;
        }
        let encoder = match &mut encoder {
            Some(encoder) => encoder,
            none => none.insert(started(args, server, frame.size())?),
        };
        encoder.push(frame).await?;
        if number == 0 {
            announce(encoder, &server.url(&args.path)).await;
        }
    }
    if let Some(encoder) = encoder {
        encoder.finish().await?;
    }
    Ok(())
}

/// Says where to look, once the first frame is encoded and a client would be told what to expect.
async fn announce(encoder: &Encoder, url: &str) {
    encoder.ring().subscribe_from_key().next().await;
    println!("camera ready: {url}");
}

async fn next(ingest: &mut Ingest) -> anyhow::Result<Option<Frame>> {
    loop {
        match ingest.next().await {
            Event::Frame(frame) => return Ok(Some(frame)),
            Event::Failed(error) => return Err(error.into()),
            Event::Trouble(why) => bail!("{why}"),
            Event::Ended => return Ok(None),
            _ => {}
        }
    }
}

/// The frame in its size, with its number.
fn prepared(frame: &Frame, args: &Args, number: u32) -> anyhow::Result<Frame> {
    let mut canvas = match args.size {
        Some(size) if size != frame.size() => {
            let scaled = picture::scale(frame, size);
            let frame = Frame::tight(frame.stamp, size, frame.colour(), scaled.into_data())?;
            Canvas::new(&frame)
        }
        _ => Canvas::new(frame),
    };
    if !args.no_stamp {
        let size = canvas.size();
        stamp::write(canvas.planes_mut(), size, number);
    }
    Ok(canvas.into_frame())
}

fn started(args: &Args, server: &Server, size: Size) -> anyhow::Result<Encoder> {
    let rate = args.rate.map_or_else(|| Rate::new(25, 1), Ok)?;
    let mut config = encode::Config::new(size, rate);
    // Whoever joins waits for a key frame; one a second also limits what a lost packet costs.
    config.key_interval = Some((rate.num() / rate.den()).max(1));
    let (encoder, ring) = Encoder::start(config)?;
    server.mount(&args.path, Arc::clone(&ring)).context("--path")?;
    Ok(encoder)
}

/// Reads `N` or `N/D`.
fn rate(text: &str) -> Result<Rate, String> {
    let (num, den) = text.split_once('/').unwrap_or((text, "1"));
    let number = |text: &str| text.parse().map_err(|_| "write frames a second as N or N/D, as in 30000/1001");
    Rate::new(number(num)?, number(den)?).map_err(|error| error.to_string())
}
