//! What the tests share: clips made with ffmpeg, frames whose brightness tells their number, and readers.

#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, reason = "a failure in here is a failed test")]

use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use media::encode::{self, Encoder};
use media::ingest::{Event, Ingest};
use media::rtsp::Server;
use media::{Ring, Source};
use picture::{Colour, Frame, Pts, Rate, Size, Stamp};

/// Longer than anything takes, on a machine that compiles beside the tests too.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("it takes too long")
}

pub(crate) fn size(width: u32, height: u32) -> Size {
    Size::new(width, height).unwrap()
}

pub(crate) fn rate(fps: u32) -> Rate {
    Rate::new(fps, 1).unwrap()
}

pub(crate) fn file(path: &Path) -> Source {
    Source::from(path)
}

/// Runs ffmpeg with arguments separated by blanks, the output last.
pub(crate) fn ffmpeg(args: &str, out: &Path) -> PathBuf {
    let run = Command::new("ffmpeg")
        .args(["-v", "error", "-nostdin", "-y"])
        .args(args.split_whitespace())
        .arg(out)
        .output()
        .expect("ffmpeg is installed");
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    out.to_owned()
}

/// A clip from the assets: in `FRAMELANE_ASSETS`, else beside the crate.
pub(crate) fn asset_clip(name: &str) -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let assets = std::env::var_os("FRAMELANE_ASSETS").map_or_else(|| here.join("../assets"), PathBuf::from);
    let clip = assets.join("clips").join(name);
    assert!(clip.is_file(), "{} is not there: run scripts/setup test", clip.display());
    clip
}

/// A moving picture in H.264 with reordered frames.
pub(crate) fn clip(dir: &Path, frames: u32) -> PathBuf {
    let args = format!(
        "-f lavfi -i testsrc2=size=320x240:rate=25 -frames:v {frames} -c:v libx264 -bf 2 -g 12 -pix_fmt yuv420p"
    );
    ffmpeg(&args, &dir.join("clip.mp4"))
}

/// The brightness of frame `n`: it rises by 4 for 50 frames and starts again.
pub(crate) fn brightness(n: u64) -> u8 {
    20 + 4 * u8::try_from(n % 50).unwrap()
}

/// Frame `n` of a scene: grey, as bright as its number says.
pub(crate) fn grey(n: u64, size: Size, fps: u32) -> Frame {
    let mut data = vec![brightness(n); size.pixels()];
    data.resize(size.i420_len(), 128);
    let stamp = Stamp::at(rate(fps).pts(n));
    Frame::tight(stamp, size, Colour::BT601_LIMITED, Bytes::from(data)).unwrap()
}

/// The number modulo 50 that a decoded brightness stands for.
pub(crate) fn number(brightness: u8) -> u64 {
    u64::from(brightness.saturating_sub(18) / 4)
}

/// Takes events until the source is over: its frames, and the error if it failed.
pub(crate) async fn drain(ingest: &mut Ingest) -> (Vec<Frame>, Option<String>) {
    let mut frames = Vec::new();
    loop {
        match soon(ingest.next()).await {
            Event::Frame(frame) => frames.push(frame),
            Event::Ended => return (frames, None),
            Event::Failed(error) => return (frames, Some(error.to_string())),
            Event::Trouble(text) => panic!("a file is not tried again: {text}"),
            _ => {}
        }
        assert!(ingest.counts().balances());
    }
}

/// The next frame, over troubles.
pub(crate) async fn frame(ingest: &mut Ingest) -> Frame {
    loop {
        match soon(ingest.next()).await {
            Event::Frame(frame) => return frame,
            Event::Trouble(_) => {}
            other => panic!("no frame but {other:?}"),
        }
    }
}

/// The next trouble, over frames.
pub(crate) async fn trouble(ingest: &mut Ingest) -> String {
    loop {
        match soon(ingest.next()).await {
            Event::Trouble(text) => return text,
            Event::Frame(_) => {}
            other => panic!("no trouble but {other:?}"),
        }
    }
}

/// The luma that is seen: without the padding between rows, which decoders leave as it was.
pub(crate) fn luma(frame: &Frame) -> Vec<u8> {
    let y = frame.view().y();
    (0..frame.size().height() as usize).flat_map(|row| y.row(row).to_vec()).collect()
}

/// The mean difference of two frames' Y, U and V.
pub(crate) fn differences(one: &Frame, other: &Frame) -> [f64; 3] {
    assert_eq!(one.size(), other.size());
    let (one, other) = (one.view(), other.view());
    [(one.y(), other.y()), (one.u(), other.u()), (one.v(), other.v())].map(|(one, other)| {
        let rows = one.size().height() as usize;
        let pairs = (0..rows).flat_map(|row| one.row(row).iter().zip(other.row(row)));
        let sum: u64 = pairs.map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
        sum as f64 / one.size().pixels() as f64
    })
}

/// Raw I420 pictures as frames, with times of no meaning.
pub(crate) fn raw_frames(raw: &[u8], size: Size, colour: Colour) -> Vec<Frame> {
    let frame = |data: &[u8]| Frame::tight(Stamp::at(Pts::ZERO), size, colour, Bytes::copy_from_slice(data));
    raw.chunks_exact(size.i420_len()).map(|data| frame(data).unwrap()).collect()
}

pub(crate) fn rising(frames: &[Frame]) -> bool {
    frames.windows(2).all(|pair| pair[0].pts() < pair[1].pts())
}

/// The size of a [`serve`]d scene.
pub(crate) const SIZE: (u32, u32) = (160, 120);

/// A server on a free port that plays a scene at `/camera`.
pub(crate) fn serve(scene: &Scene) -> Server {
    let server = Server::bind(loopback()).unwrap();
    server.mount("/camera", scene.ring.clone()).unwrap();
    server
}

pub(crate) fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// An encoder that is fed grey frames in real time until it is dropped.
pub(crate) struct Scene {
    pub(crate) ring: Arc<Ring>,
    /// Held so that a scene without a feeder stays open.
    _encoder: Arc<Encoder>,
    feeder: tokio::task::JoinHandle<()>,
}

impl Scene {
    pub(crate) fn start(size: Size, fps: u32) -> Self {
        let mut config = encode::Config::new(size, rate(fps));
        // Seldom key frames, so that what starts quickly does so because it asked.
        config.key_interval = Some(1000);
        let (encoder, ring) = Encoder::start(config).unwrap();
        let encoder = Arc::new(encoder);
        let fed = encoder.clone();
        let feeder = tokio::spawn(async move {
            let mut ticks = tokio::time::interval(rate(fps).frame_time());
            for n in 0.. {
                ticks.tick().await;
                fed.push(grey(n, size, fps)).await.unwrap();
            }
        });
        Self { ring, _encoder: encoder, feeder }
    }

    /// No more frames, while the stream stays open.
    pub(crate) fn freeze(&self) {
        self.feeder.abort();
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.feeder.abort();
    }
}

/// A foreign player: reads frames over RTSP and returns the brightness of each in its middle.
pub(crate) async fn play(url: &str, transport: &str, frames: usize, size: Size) -> Result<Vec<u8>, String> {
    let count = frames.to_string();
    let mut player = tokio::process::Command::new("ffmpeg");
    player.args(["-v", "error", "-nostdin", "-rtsp_transport", transport, "-i", url]);
    player.args([
        "-fps_mode",
        "passthrough",
        "-frames:v",
        &count,
        "-f",
        "rawvideo",
        "-pix_fmt",
        "yuv420p",
        "-",
    ]);
    player.stdin(Stdio::null()).kill_on_drop(true);
    let run = soon(player.output()).await.expect("ffmpeg is installed");
    if !run.status.success() {
        return Err(String::from_utf8_lossy(&run.stderr).into_owned());
    }
    Ok(middles(&run.stdout, size))
}

/// The brightness in the middle of each raw picture.
pub(crate) fn middles(raw: &[u8], size: Size) -> Vec<u8> {
    let middle = size.pixels() / 2 + size.width() as usize / 2;
    raw.chunks_exact(size.i420_len()).map(|picture| picture[middle]).collect()
}

/// Whether decoded brightnesses are consecutive frames.
pub(crate) fn consecutive(brightnesses: &[u8]) -> bool {
    brightnesses.windows(2).all(|pair| (number(pair[0]) + 1) % 50 == number(pair[1]))
}

pub(crate) fn millis(pts: Pts) -> u64 {
    pts.nanos() / 1_000_000
}
