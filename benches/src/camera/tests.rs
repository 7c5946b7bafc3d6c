//! The camera from end to end, and its numbers through real codecs.

use std::path::{Path, PathBuf};
use std::time::Duration;

use media::draw::Canvas;
use media::encode::{self, Encoder, Quality};
use media::ingest::{self, Event, Pace};
use media::rtsp::Server;
use media::{Next, Source};
use picture::{Frame, Pts, Rate, Size, Stamp};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::play::play;
use super::{Args, stamp};

/// Longer than anything takes, on a machine that compiles beside the tests too.
const PATIENCE: Duration = Duration::from_secs(60);

async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(PATIENCE, what).await.expect("it takes too long")
}

fn size(width: u32, height: u32) -> Size {
    Size::new(width, height).unwrap()
}

fn clip(name: &str) -> String {
    let assets = std::env::var_os("FRAMELANE_ASSETS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets"), PathBuf::from);
    let file = assets.join("clips").join(name);
    assert!(file.exists(), "{} is not there: run scripts/setup test", file.display());
    file.to_str().unwrap().to_owned()
}

/// The first frames of a source, or all there are.
async fn frames(source: &str, most: usize) -> Vec<Frame> {
    let mut how = ingest::Config::default();
    how.pace = Pace::Fast;
    let mut ingest = ingest::open(Source::parse(source).unwrap(), how);
    let mut frames = vec![];
    while frames.len() < most {
        match soon(ingest.next()).await {
            Event::Frame(frame) => frames.push(frame),
            Event::Ended => break,
            other => panic!("{other:?}"),
        }
    }
    frames
}

/// Through x264 and back, as by the camera or a server.
async fn coded(frames: Vec<Frame>, crf: u8) -> Vec<Frame> {
    let mut config = encode::Config::new(frames[0].size(), Rate::new(25, 1).unwrap());
    config.quality = Quality::Constant { crf, max_kbps: 8000 };
    let (encoder, ring) = Encoder::start(config).unwrap();
    let mut reader = ring.subscribe();
    let count = frames.len();
    for (number, mut frame) in (0_u64..).zip(frames) {
        frame.stamp.pts = Pts::from_nanos(number * 40_000_000);
        encoder.push(frame).await.unwrap();
    }
    soon(encoder.finish()).await.unwrap();
    let mut stream = vec![];
    while let Next::Packet(packet) = soon(reader.next()).await {
        stream.extend_from_slice(&packet.data);
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("coded.h264");
    std::fs::write(&path, stream).unwrap();
    let coded = self::frames(path.to_str().unwrap(), usize::MAX).await;
    assert_eq!(coded.len(), count);
    coded
}

fn number(frame: &Frame) -> Option<u32> {
    let (luma, stride) = frame.plane(0);
    stamp::read(luma, stride, frame.size())
}

/// Numbers whose bits change as wildly as bits can, then ones that follow each other.
fn numbered(frames: &[Frame]) -> (Vec<Option<u32>>, Vec<Frame>) {
    let numbers = (0_u32..).map(|n| if n < 15 { n.wrapping_mul(0x9e37_79b1) } else { n });
    let stamped = frames.iter().zip(numbers).map(|(frame, number)| {
        let mut canvas = Canvas::new(frame);
        stamp::write(&mut canvas, number);
        (Some(number), canvas.into_frame())
    });
    stamped.unzip()
}

/// Both in the camera and in the server behind it, each worse than what either is set to.
async fn survives_twice(frames: Vec<Frame>) {
    assert!(frames.iter().all(|frame| number(frame).is_none()), "no frame has a number of its own");
    let (numbers, stamped) = numbered(&frames);
    let twice = coded(coded(stamped, 26).await, 26).await;
    assert_eq!(twice.iter().map(number).collect::<Vec<_>>(), numbers, "{}", frames[0].size());
    let plain = coded(frames, 26).await;
    assert!(plain.iter().all(|frame| number(frame).is_none()));
}

fn scaled(frames: &[Frame], to: Size) -> Vec<Frame> {
    let scaled = frames.iter().map(|frame| {
        let picture = picture::scale(frame, to);
        let stamp = Stamp { pts: frame.pts(), ..frame.stamp };
        Frame::tight(stamp, to, picture.colour(), picture.into_data()).unwrap()
    });
    scaled.collect()
}

#[tokio::test]
async fn numbers_survive_two_encoders_on_a_street_scene() {
    let frames = frames(&clip("vtest.avi"), 40).await;
    survives_twice(scaled(&frames, size(96, 72))).await;
    survives_twice(scaled(&frames, size(176, 144))).await;
    survives_twice(frames).await;
}

#[tokio::test]
async fn numbers_survive_two_encoders_on_the_test_scene() {
    for scene in ["test:176x144?frames=40", "test:640x360?frames=40", "test:1280x720?frames=20"] {
        survives_twice(frames(scene, usize::MAX).await).await;
    }
}

fn args(source: &str) -> Args {
    Args {
        source: source.to_owned(),
        addr: ([127, 0, 0, 1], 0).into(),
        path: "/camera".to_owned(),
        size: None,
        rate: None,
        looped: false,
        frames: None,
        no_stamp: false,
    }
}

/// Plays to the end, and gives what a player saw: numbers and times.
async fn watched(args: Args) -> (Vec<Option<u32>>, Vec<Pts>) {
    let server = Server::bind(args.addr).unwrap();
    let (ready, url) = oneshot::channel();
    let player = tokio::spawn(async move {
        let url: String = url.await.expect("the camera is ready");
        let mut how = ingest::Config::default();
        how.queue = 1000;
        let mut ingest = ingest::open(Source::parse(&url).unwrap(), how);
        let (mut numbers, mut times) = (vec![], vec![]);
        // The end of a camera is trouble to its player, who tries again.
        while let Event::Frame(frame) = ingest.next().await {
            numbers.push(number(&frame));
            times.push(frame.pts());
        }
        (numbers, times)
    });
    soon(play(&args, &server, |url| ready.send(url.to_owned()).unwrap())).await.unwrap();
    server.close().await;
    soon(player).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_player_sees_rising_numbers_over_loops_up_to_the_last() {
    let mut args = args("test:320x240@25?frames=20");
    args.looped = true;
    args.rate = Some(Rate::new(50, 1).unwrap());
    args.frames = Some(240);
    let (numbers, times) = watched(args).await;
    let first = numbers[0].expect("a number");
    let expected: Vec<_> = (first..240).map(Some).collect();
    assert_eq!(numbers, expected);
    assert!(first < 180, "too few of its loops were seen: {first}");
    // A player's times follow the moments at which packets reached it, so on a busy machine single ones are
    // far off, and those behind them a little. What a loop would do wrong it would do every time.
    assert!(times.is_sorted_by(|one, next| one < next), "{times:?}");
    let (took, frames) = (times[times.len() - 1].since(times[0]), times.len() as u32 - 1);
    let off = took.abs_diff(frames * Duration::from_millis(20));
    assert!(off < Duration::from_secs(1), "{off:?}: {times:?}");
    let gaps = times.windows(2).map(|pair| pair[1].since(pair[0])).collect::<Vec<_>>();
    let new_loops = (first + 1..240).zip(&gaps).filter(|(number, _)| number % 20 == 0).map(|(_, gap)| *gap);
    for gaps in [gaps.clone(), new_loops.collect()] {
        let off = middle(gaps).abs_diff(Duration::from_millis(20));
        assert!(off < Duration::from_millis(15), "{off:?}: {times:?}");
    }
}

fn middle(mut gaps: Vec<Duration>) -> Duration {
    gaps.sort();
    gaps[gaps.len() / 2]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clip_plays_in_another_size_at_its_own_pace() {
    let mut args = args("test:321x241@50?frames=60");
    args.size = Some(size(176, 144));
    let (numbers, _) = watched(args).await;
    assert!(numbers.len() > 1);
    assert!(numbers.iter().all(Option::is_some));
    assert_eq!(*numbers.last().unwrap(), Some(59));
}

async fn refused(args: Args) -> String {
    let server = Server::bind(args.addr).unwrap();
    let played = soon(play(&args, &server, |_| panic!("not ready"))).await;
    played.unwrap_err().to_string()
}

#[tokio::test]
async fn what_cannot_be_played_is_named() {
    let why = refused(args("/nowhere/clip.mp4")).await;
    assert!(why.contains("/nowhere/clip.mp4"), "{why}");
    let why = refused(args("rtsp://127.0.0.1/other")).await;
    assert!(why.contains("rtsp://127.0.0.1/other"), "{why}");
    let why = refused(args("test:64x64")).await;
    assert!(why.contains("64x64") && why.contains("--no-stamp"), "{why}");
}
