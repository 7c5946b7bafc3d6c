//! Measures each stage alone on a clip: `cargo run --release -p framelane-media --example stages -- CLIP`.
//! CPU time stands beside the wall's: on a machine that does other things too it is the steadier one.

use std::error::Error;
use std::time::{Duration, Instant};

use framelane_media::draw::{Canvas, Labelled};
use framelane_media::encode::{self, Encoder, Preset};
use framelane_media::ingest::{self, Event, Pace};
use framelane_media::{Source, jpeg};
use picture::{Frame, Rate};

/// Frames that are kept for the stages after the decoder.
const KEPT: usize = 300;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let clip = std::env::args().nth(1).ok_or("give the path of a clip")?;
    let source = Source::parse(&clip)?;
    for threads in [1, 2] {
        let (count, took, _) = decode(source.clone(), threads).await?;
        report(&format!("decode, {threads} threads"), took, count);
    }
    let (_, _, frames) = decode(source, 1).await?;
    let frames: Vec<Frame> = frames.into_iter().cycle().take(KEPT).collect();
    println!("size {}, padded: {}", frames[0].size(), !frames[0].is_tight());

    let boxes: Vec<Labelled<'_>> = (0..6_u8)
        .map(|n| {
            let at = 80.0 * f32::from(n);
            let rect = [at, at / 2.0 + 40.0, at + 40.0, at / 2.0 + 140.0];
            Labelled { rect, label: "person", score: 0.8, colour: usize::from(n) }
        })
        .collect();
    each("copy for drawing", &frames, |frame| drop(Canvas::new(frame)));
    each("copy and draw 6 boxes", &frames, |frame| {
        Canvas::new(frame).boxes(&boxes).expect("OpenCV draws");
    });
    let mut jpeg = jpeg::Encoder::new(80)?;
    each("JPEG", &frames, |frame| drop(jpeg.encode(frame).expect("a frame becomes a JPEG")));

    for preset in [Preset::Ultrafast, Preset::Superfast, Preset::Veryfast, Preset::Faster] {
        let mut config = encode::Config::new(frames[0].size(), Rate::new(10, 1)?);
        config.preset = preset;
        let (encoder, ring) = Encoder::start(config)?;
        let clock = Clock::start();
        for (n, frame) in (0_u64..).zip(&frames) {
            let mut frame = frame.clone();
            frame.stamp.pts = Rate::new(10, 1)?.pts(n);
            encoder.push(frame).await?;
        }
        encoder.finish().await?;
        let (packets, bytes) = ring.held();
        report(&format!("encode {preset:?}, {} B/frame", bytes / packets.max(1)), clock, frames.len());
    }
    Ok(())
}

async fn decode(source: Source, threads: u32) -> Result<(usize, Clock, Vec<Frame>), Box<dyn Error>> {
    let mut config = ingest::Config::default();
    config.pace = Pace::Fast;
    config.decoder_threads = threads;
    let mut ingest = ingest::open(source, config);
    let (clock, mut count, mut kept) = (Clock::start(), 0, Vec::new());
    loop {
        match ingest.next().await {
            Event::Frame(frame) => {
                count += 1;
                if kept.len() < KEPT {
                    kept.push(frame);
                }
            }
            Event::Failed(error) => return Err(error.into()),
            Event::Ended => return Ok((count, clock, kept)),
            _ => {}
        }
    }
}

fn each(what: &str, frames: &[Frame], mut work: impl FnMut(&Frame)) {
    let clock = Clock::start();
    frames.iter().for_each(&mut work);
    report(what, clock, frames.len());
}

fn report(what: &str, clock: Clock, frames: usize) {
    let each = |time: Duration| time.as_secs_f64() * 1000.0 / frames as f64;
    let (wall, cpu) = (clock.wall.elapsed(), cpu_time().saturating_sub(clock.cpu));
    println!("{what}: {:.2} ms a frame, {:.2} ms of CPU", each(wall), each(cpu));
}

struct Clock {
    wall: Instant,
    cpu: Duration,
}

impl Clock {
    fn start() -> Self {
        Self { wall: Instant::now(), cpu: cpu_time() }
    }
}

/// The CPU time of all threads of this process; zero where there is no Linux to tell.
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The fields after the name, which may hold blanks: user and system time are the 12th and 13th.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
    let ticks: u64 = fields.filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}
