//! From the source to the players: numbered, scaled, on time, encoded once.

use std::time::Duration;

use anyhow::{Context, bail, ensure};
use media::Next;
use media::draw::Canvas;
use media::encode::{self, Encoder};
use media::ingest::{self, Event, Ingest};
use media::rtsp::Server;
use picture::{Frame, Rate, Size};
use tokio::time::{Instant, sleep};

use super::pace::Schedule;
use super::{Args, stamp};

/// How long players may take to leave at the end: the last frames are still on their way to them.
const LEAVE_WITHIN: Duration = Duration::from_secs(2);

/// What a clip of one frame, which has no pace, is encoded for.
const USUAL: u32 = 25;

/// Plays to the end. `ready` is called with the URL once the first frame is encoded, so that a player
/// who asks finds a stream.
pub(super) async fn play(args: &Args, server: &Server, ready: impl FnOnce(&str)) -> anyhow::Result<()> {
    let mut frames = Frames::open(args)?;
    let Some(first) = frames.next().await? else { bail!("--source {}: it has no frame", args.source) };
    let size = args.size.unwrap_or_else(|| even(first.size()));
    ensure!(
        args.no_stamp || stamp::fits(size),
        "{size} has no room for frame numbers: choose a larger --size, or --no-stamp"
    );
    let second = frames.next_of(args.frames, 1).await?;
    let rate = args.rate.map_or_else(|| pace(&first, second.as_ref()), Ok)?;
    let encoder = started(args, server, size, rate)?;

    // The first frame is shown when its player could see it: starting an encoder takes longer than a frame.
    let mut reader = encoder.ring().subscribe_from_key();
    let mut first = prepared(&first, args, size, 0)?;
    if args.rate.is_some() {
        first.stamp.pts = rate.pts(0);
    }
    let mut schedule = None;
    let begin = first.pts();
    encoder.push(first).await?;
    if let Next::Packet(_) = reader.next().await {
        schedule = Some(Schedule::begin(begin));
        ready(&server.url(&args.path));
    }
    drop(reader);

    let mut next = second;
    for number in 1..u32::MAX {
        let (Some(frame), Some(schedule)) = (&next, &mut schedule) else { break };
        let mut frame = prepared(frame, args, size, number)?;
        let pts = if args.rate.is_some() { rate.pts(u64::from(number)) } else { frame.pts() };
        frame.stamp.pts = schedule.due(pts).await;
        encoder.push(frame).await?;
        next = frames.next_of(args.frames, number + 1).await?;
    }
    encoder.finish().await?;
    left(server).await;
    Ok(())
}

/// The frames of the source, as fast as they are taken.
struct Frames {
    ingest: Ingest,
}

impl Frames {
    fn open(args: &Args) -> anyhow::Result<Frames> {
        let source = media::Source::parse(&args.source).context("--source")?;
        ensure!(!source.is_network(), "--source {source}: a camera plays a clip, or test:");
        let mut how = ingest::Config::default();
        how.loop_file = args.looped;
        // The schedule paces; decoding ahead of it hides the start of each loop, and skips nothing.
        how.pace = ingest::Pace::Fast;
        Ok(Frames { ingest: ingest::open(source, how) })
    }

    async fn next(&mut self) -> anyhow::Result<Option<Frame>> {
        loop {
            match self.ingest.next().await {
                Event::Frame(frame) => return Ok(Some(frame)),
                Event::Failed(error) => return Err(error.into()),
                Event::Trouble(why) => bail!("{why}"),
                Event::Ended => return Ok(None),
                _ => {}
            }
        }
    }

    /// Frame `number`, where there are to be more than that.
    async fn next_of(&mut self, frames: Option<u32>, number: u32) -> anyhow::Result<Option<Frame>> {
        if frames.is_some_and(|frames| number >= frames) { Ok(None) } else { self.next().await }
    }
}

/// The source's own pace, to a thousandth of a frame: what the encoder plans with.
fn pace(first: &Frame, second: Option<&Frame>) -> anyhow::Result<Rate> {
    let step = second.map_or(Duration::ZERO, |second| second.pts().since(first.pts()));
    if step.is_zero() {
        return Ok(Rate::new(USUAL, 1)?);
    }
    let thousandths = (1000.0 / step.as_secs_f64()).round().clamp(1.0, 1e6);
    Ok(Rate::new(thousandths as u32, 1000)?)
}

/// H.264 in 4:2:0 has no odd sides. The encoder would scale them away, and the strip with them.
fn even(size: Size) -> Size {
    Size::new((size.width() & !1).max(2), (size.height() & !1).max(2)).unwrap_or(size)
}

/// The frame in its size, with its number.
fn prepared(frame: &Frame, args: &Args, size: Size, number: u32) -> anyhow::Result<Frame> {
    let mut canvas = if size == frame.size() {
        Canvas::new(frame)
    } else {
        let scaled = picture::scale(frame, size);
        Canvas::new(&Frame::tight(frame.stamp, size, scaled.colour(), scaled.into_data())?)
    };
    if !args.no_stamp {
        stamp::write(&mut canvas, number);
    }
    Ok(canvas.into_frame())
}

fn started(args: &Args, server: &Server, size: Size, rate: Rate) -> anyhow::Result<Encoder> {
    let mut config = encode::Config::new(size, rate);
    // One a second limits what a lost packet costs.
    config.key_interval = Some((rate.num() / rate.den()).max(1));
    let (encoder, ring) = Encoder::start(config)?;
    server.mount(&args.path, ring).context("--path")?;
    Ok(encoder)
}

/// Waits for players to take the last frames and leave, as they do at the end of a stream.
async fn left(server: &Server) {
    let begin = Instant::now();
    // The RTSP server tells nobody when a player leaves.
    while server.clients() > 0 && begin.elapsed() < LEAVE_WITHIN {
        sleep(Duration::from_millis(20)).await;
    }
}
