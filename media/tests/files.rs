//! Files and test scenes as sources: order, times, loops, the books, and what is no video.

#![allow(clippy::unwrap_used, reason = "a failure in here is a failed test")]

extern crate framelane_media as media;

mod support;

use std::path::Path;
use std::time::{Duration, Instant};

use media::Source;
use media::ingest::{self, Config, Event, Pace};
use support::*;

fn fast() -> Config {
    let mut config = Config::default();
    config.pace = Pace::Fast;
    config
}

async fn read(source: Source, config: Config) -> (Vec<picture::Frame>, Option<String>) {
    let mut ingest = ingest::open(source, config);
    let read = drain(&mut ingest).await;
    assert!(ingest.counts().balances());
    soon(ingest.closed()).await;
    read
}

#[tokio::test]
async fn a_file_gives_every_frame_once_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let (frames, error) = read(file(&clip(dir.path(), 60)), fast()).await;
    assert_eq!(error, None);
    assert_eq!(frames.len(), 60);
    assert!(rising(&frames));
    for (n, frame) in (0_u64..).zip(&frames) {
        assert_eq!(millis(frame.pts()), 40 * n, "frames stay in display order");
        assert_eq!((frame.size(), frame.stamp.epoch), (size(320, 240), 0));
    }
    // testsrc2 changes with every frame, so a repeated picture would be a repeated frame.
    assert!(frames.windows(2).all(|pair| luma(&pair[0]) != luma(&pair[1])));
}

#[tokio::test]
async fn frames_that_are_kept_do_not_change_and_do_not_stop_the_decoder() {
    let dir = tempfile::tempdir().unwrap();
    let path = clip(dir.path(), 100);
    let sums = |frames: &[picture::Frame]| -> Vec<u64> {
        let sum = |frame: &picture::Frame| luma(frame).into_iter().map(u64::from).sum();
        frames.iter().map(sum).collect()
    };
    let mut ingest = ingest::open(file(&path), fast());
    let mut at_once = Vec::new();
    let mut kept = Vec::new();
    loop {
        match soon(ingest.next()).await {
            Event::Frame(frame) => {
                at_once.extend(sums(std::slice::from_ref(&frame)));
                kept.push(frame);
            }
            Event::Ended => break,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(kept.len(), 100);
    assert_eq!(sums(&kept), at_once, "the decoder wrote into a frame that was given away");
}

#[tokio::test]
async fn loops_lose_nothing_and_start_epochs() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = fast();
    config.loop_file = true;
    let mut ingest = ingest::open(file(&clip(dir.path(), 30)), config);
    let mut frames = Vec::new();
    while frames.len() < 100 {
        frames.push(frame(&mut ingest).await);
    }
    assert!(rising(&frames));
    for (n, frame) in (0_u64..).zip(&frames) {
        assert_eq!(millis(frame.pts()), 40 * n);
        assert_eq!(u64::from(frame.stamp.epoch), n / 30);
        assert!(luma(frame) == luma(&frames[n as usize % 30]), "frame {n}");
    }
    ingest.stop();
    soon(ingest.closed()).await;
    assert!(matches!(soon(ingest.next()).await, Event::Ended));
    let counts = ingest.counts();
    assert!(counts.balances() && counts.waiting == 0, "{counts:?}");
}

#[tokio::test]
async fn a_test_scene_has_its_size_rate_and_number_of_frames() {
    let source = Source::parse("test:96x64@30000/1001?frames=7").unwrap();
    let (frames, error) = read(source.clone(), fast()).await;
    assert_eq!((frames.len(), error), (7, None));
    assert_eq!(frames[6].size(), size(96, 64));
    assert_eq!(millis(frames[6].pts()), 200);

    let mut config = fast();
    config.loop_file = true;
    let mut ingest = ingest::open(source, config);
    let mut looped = Vec::new();
    while looped.len() < 20 {
        looped.push(frame(&mut ingest).await);
    }
    assert!(rising(&looped));
    assert_eq!(looped[19].stamp.epoch, 2);
}

#[tokio::test]
async fn live_pace_is_real_time_and_counts_what_gives_way() {
    let mut config = Config::default();
    config.queue = 3;
    let started = Instant::now();
    let mut ingest = ingest::open(Source::parse("test:64x48@50?frames=40").unwrap(), config);
    // Nobody reads until it is over.
    soon(ingest.closed()).await;
    assert!(started.elapsed() >= Duration::from_millis(700), "{:?}", started.elapsed());
    let counts = ingest.counts();
    assert_eq!((counts.decoded, counts.waiting, counts.skipped), (40, 3, 37));
    let (frames, error) = drain(&mut ingest).await;
    assert_eq!((frames.len(), error), (3, None));
    assert_eq!(millis(frames[2].pts()), 39 * 20, "the freshest are kept");
    assert_eq!(ingest.counts().delivered, 3);
}

#[tokio::test]
async fn fast_pace_waits_for_a_slow_consumer_longer_than_the_stall_clock() {
    let mut config = fast();
    config.queue = 1;
    config.stall_after = Duration::from_millis(100);
    config.connect_within = Duration::from_secs(30);
    let mut ingest = ingest::open(Source::parse("test:64x48@50?frames=10").unwrap(), config);
    let first = frame(&mut ingest).await;
    let silence = tokio::time::timeout(Duration::from_millis(400), ingest.closed()).await;
    assert!(silence.is_err(), "it does not give up while nobody reads");
    let (rest, error) = drain(&mut ingest).await;
    assert_eq!((rest.len(), error), (9, None));
    assert!(first.pts() < rest[0].pts());
    assert_eq!(ingest.counts().skipped, 0);
}

#[tokio::test]
async fn stopping_frees_a_decoder_that_waits_and_counts_what_waited() {
    let mut config = fast();
    config.queue = 2;
    let mut ingest = ingest::open(Source::parse("test:64x48@50").unwrap(), config);
    frame(&mut ingest).await;
    let monitor = ingest.monitor();
    monitor.stop();
    soon(ingest.closed()).await;
    assert!(matches!(soon(ingest.next()).await, Event::Ended));
    let counts = monitor.counts();
    assert!(counts.balances() && counts.waiting == 0 && counts.delivered == 1, "{counts:?}");
}

#[tokio::test]
async fn a_change_of_size_is_followed() {
    let dir = tempfile::tempdir().unwrap();
    let mut joined = Vec::new();
    for (name, shape) in [("a", "160x120"), ("b", "320x180")] {
        let args = format!(
            "-f lavfi -i testsrc2=size={shape}:rate=25 -frames:v 10 -c:v libx264 -bf 0 -pix_fmt yuv420p"
        );
        let part = ffmpeg(&args, &dir.path().join(name).with_extension("h264"));
        joined.extend(std::fs::read(part).unwrap());
    }
    let path = dir.path().join("joined.h264");
    std::fs::write(&path, joined).unwrap();
    let (frames, error) = read(file(&path), fast()).await;
    assert_eq!((frames.len(), error), (20, None));
    assert_eq!((frames[9].size(), frames[10].size()), (size(160, 120), size(320, 180)));
    assert!(rising(&frames));
}

#[tokio::test]
async fn other_layouts_become_i420_and_colour_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let source = "-f lavfi -i testsrc2=size=64x64:rate=25 -frames:v 3";
    let full = "-vf scale=out_color_matrix=bt709:out_range=full -colorspace bt709 -color_primaries bt709 \
                -color_trc bt709 -color_range pc";
    let args = format!("{source} {full} -pix_fmt yuvj420p -c:v libx264");
    let (frames, error) = read(file(&ffmpeg(&args, &dir.path().join("full.h264"))), fast()).await;
    assert_eq!((frames.len(), error), (3, None));
    assert_eq!(frames[0].colour().matrix, picture::Matrix::Bt709);
    assert_eq!(frames[0].colour().range, picture::Range::Full);

    let args = format!("{source} -pix_fmt yuv444p -c:v libx264");
    let (frames, error) = read(file(&ffmpeg(&args, &dir.path().join("444.mp4"))), fast()).await;
    assert_eq!((frames.len(), error), (3, None));
    assert_eq!(frames[0].colour().range, picture::Range::Limited);
}

async fn fails(path: &Path) -> String {
    let started = Instant::now();
    let (frames, error) = read(file(path), Config::default()).await;
    let error = error.expect("it is no video");
    assert!(frames.is_empty());
    assert!(error.contains(&path.display().to_string()), "the file is named: {error}");
    assert!(started.elapsed() < Duration::from_secs(60));
    error
}

#[tokio::test]
async fn what_is_no_video_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let missing = fails(&dir.path().join("nothing.mp4")).await;
    assert!(missing.contains("does not exist"), "{missing}");
    let folder = fails(dir.path()).await;
    assert!(folder.contains("is not a file"), "{folder}");

    let write = |name: &str, content: &[u8]| {
        let path = dir.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    };
    let text =
        fails(&write("notes.mp4", "Not a video, but some lines of text.\n".repeat(50).as_bytes())).await;
    assert!(text.contains("is not a video"), "{text}");
    let empty = fails(&write("empty.mp4", b"")).await;
    assert!(empty.contains("is not a video"), "{empty}");
    let noise: Vec<u8> = (0..20_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let noise = fails(&write("noise.avi", &noise)).await;
    assert!(noise.contains("is not a video"), "{noise}");

    let whole = std::fs::read(clip(dir.path(), 30)).unwrap();
    let cut = fails(&write("cut.mp4", &whole[..whole.len() / 3])).await;
    assert!(cut.contains("is not a video"), "{cut}");

    let sound = ffmpeg("-f lavfi -i sine=duration=1", &dir.path().join("sound.wav"));
    let sound = fails(&sound).await;
    assert!(sound.contains("is not a video"), "{sound}");
}
