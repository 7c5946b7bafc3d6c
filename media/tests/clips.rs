//! Real video through the whole room: every frame of a clip, drawn on, encoded, and judged after decoding.

#![allow(clippy::unwrap_used, reason = "a failure in here is a failed test")]

extern crate framelane_media as media;

mod support;

use std::path::Path;

use media::draw::{Canvas, Labelled};
use media::encode::{Config, Encoder};
use media::ingest::{self, Event, Pace};
use media::{Next, jpeg};
use picture::{Colour, Frame, Range};
use support::*;

/// Frames of `vtest.avi`, ten a second.
const VTEST: u64 = 795;

fn fast() -> ingest::Config {
    let mut config = ingest::Config::default();
    config.pace = Pace::Fast;
    config
}

/// The first frames of a clip.
async fn first(clip: &Path, frames: usize) -> Vec<Frame> {
    let mut ingest = ingest::open(file(clip), fast());
    let mut taken = Vec::new();
    while taken.len() < frames {
        taken.push(frame(&mut ingest).await);
    }
    taken
}

#[tokio::test]
async fn a_whole_clip_has_all_its_frames() {
    let mut ingest = ingest::open(file(&asset_clip("vtest.avi")), fast());
    let mut seen = 0;
    loop {
        match soon(ingest.next()).await {
            Event::Frame(frame) => {
                assert_eq!(millis(frame.pts()), 100 * seen);
                assert_eq!((frame.size(), frame.stamp.epoch), (size(768, 576), 0));
                seen += 1;
            }
            Event::Ended => break,
            other => panic!("{other:?}"),
        }
        assert!(ingest.counts().balances());
    }
    assert_eq!(seen, VTEST);
    let counts = ingest.counts();
    assert_eq!((counts.decoded, counts.delivered, counts.waiting, counts.skipped), (VTEST, VTEST, 0, 0));
}

#[tokio::test]
async fn a_looped_clip_loses_no_frame_where_it_starts_over() {
    for (name, total, rounds) in [("vtest.avi", VTEST, 1), ("bikes.mp4", 250, 3)] {
        let mut config = fast();
        config.loop_file = true;
        let mut ingest = ingest::open(file(&asset_clip(name)), config);
        let mut first_round: Vec<u64> = Vec::new();
        let mut last = None;
        for n in 0..rounds * total + 20 {
            let frame = frame(&mut ingest).await;
            assert!(Some(frame.pts()) > last, "{name} {n}");
            last = Some(frame.pts());
            assert_eq!(u64::from(frame.stamp.epoch), n / total, "{name} {n}");
            // Each round shows the same pictures: none is missing, none comes twice.
            let seen = luma(&frame).iter().zip(1_u64..).map(|(&y, at)| u64::from(y) * at).sum();
            if n < total {
                first_round.push(seen);
            } else {
                assert_eq!(seen, first_round[usize::try_from(n % total).unwrap()], "{name} {n}");
            }
        }
        assert!(ingest.counts().balances());
        assert_eq!(ingest.counts().skipped, 0);
    }
}

fn drawn(frame: &Frame) -> Frame {
    let mut canvas = Canvas::new(frame);
    let person = |rect, colour| Labelled { rect, label: "person", score: 0.9, colour };
    let odd = [f32::NAN, f32::NEG_INFINITY, f32::INFINITY, 1e30];
    let boxes = [
        person([100.0, 120.0, 180.0, 300.0], 0),
        person([500.0, 200.0, 640.0, 420.0], 3),
        person(odd, 1),
        person([-1e30, 500.0, f32::INFINITY, 560.0], 7),
    ];
    canvas.boxes(&boxes).unwrap();
    canvas.into_frame()
}

/// Encodes frames into a file.
async fn encode(frames: &[Frame], path: &Path) {
    let (encoder, ring) = Encoder::start(Config::new(frames[0].size(), rate(10))).unwrap();
    let mut reader = ring.subscribe();
    for frame in frames {
        encoder.push(frame.clone()).await.unwrap();
    }
    encoder.finish().await.unwrap();
    let mut data = Vec::new();
    loop {
        match soon(reader.next()).await {
            Next::Packet(packet) => data.extend_from_slice(&packet.data),
            Next::Lagged(n) => panic!("{n} packets are lost"),
            Next::End => break,
        }
    }
    std::fs::write(path, data).unwrap();
}

/// A drawn picture after encoder and decoder is still the picture, and its boxes still have their colours.
fn assert_close(got: &Frame, want: &Frame) {
    let [y, u, v] = differences(got, want);
    assert!(y < 3.0 && u < 1.5 && v < 1.5, "mean differences {y:.2} {u:.2} {v:.2}");
    // The middle of the left side of the first two boxes.
    for (x, y) in [(100, 250), (500, 380)] {
        for (name, got, want) in [
            ("u", got.view().u().row(y / 2)[x / 2], want.view().u().row(y / 2)[x / 2]),
            ("v", got.view().v().row(y / 2)[x / 2], want.view().v().row(y / 2)[x / 2]),
        ] {
            assert!(got.abs_diff(want) < 20, "{name} at {x},{y}: {got}, drawn {want}");
        }
    }
}

#[tokio::test]
async fn a_drawn_frame_is_the_same_after_encoder_and_decoder() {
    let dir = tempfile::tempdir().unwrap();
    let plain = first(&asset_clip("vtest.avi"), 12).await;
    for colour in
        [Colour::BT601_LIMITED, Colour::BT709_LIMITED, Colour { range: Range::Full, ..Colour::BT601_LIMITED }]
    {
        let tagged = |frame: &Frame| {
            Frame::new(frame.stamp, frame.size(), colour, frame.planes(), frame.data().clone()).unwrap()
        };
        let frames: Vec<Frame> = plain.iter().map(|frame| drawn(&tagged(frame))).collect();
        assert!(differences(&frames[0], &plain[0])[0] > 0.5, "the boxes are seen");
        let path = dir.path().join("drawn.h264");
        encode(&frames, &path).await;

        let back = first(&path, 12).await;
        for (got, want) in back.iter().zip(&frames) {
            assert_eq!(got.colour(), colour);
            assert_close(got, want);
        }
        if colour.range == Range::Limited {
            // Another decoder sees the same; full range it would convert.
            let args = format!("-i {} -fps_mode passthrough -f rawvideo -pix_fmt yuv420p", path.display());
            let raw = std::fs::read(ffmpeg(&args, &dir.path().join("raw"))).unwrap();
            let seen = raw_frames(&raw, size(768, 576), colour);
            assert_eq!(seen.len(), 12);
            seen.iter().zip(&frames).for_each(|(got, want)| assert_close(got, want));
        }
    }
}

#[tokio::test]
async fn a_jpeg_shows_the_frame_in_its_colours() {
    let dir = tempfile::tempdir().unwrap();
    let frame = drawn(&first(&asset_clip("vtest.avi"), 1).await[0]);
    let path = dir.path().join("frame.jpg");
    std::fs::write(&path, jpeg::Encoder::new(90).unwrap().encode(&frame).unwrap()).unwrap();
    // JPEG is full range; ffmpeg brings it back to the frame's.
    let scale = "scale=in_range=full:out_range=limited:in_color_matrix=bt601:out_color_matrix=bt601";
    let args = format!("-i {} -vf {scale} -f rawvideo -pix_fmt yuv420p", path.display());
    let raw = std::fs::read(ffmpeg(&args, &dir.path().join("raw"))).unwrap();
    let seen = raw_frames(&raw, frame.size(), frame.colour());
    assert_eq!(seen.len(), 1);
    assert_close(&seen[0], &frame);
}

#[tokio::test]
async fn a_change_of_colour_within_a_stream_shows_the_same_picture() {
    let dir = tempfile::tempdir().unwrap();
    let plain = first(&asset_clip("vtest.avi"), 3).await;
    let path = dir.path().join("changed.h264");
    // The middle one is the same picture in the levels of full range.
    let wide = |level: u8, zero: f64, scale: f64| {
        ((f64::from(level) - 128.0) * scale + zero).round().clamp(0.0, 255.0) as u8
    };
    let mut data = Canvas::new(&plain[1]);
    let [y, u, v] = data.planes_mut();
    y.iter_mut().for_each(|y| *y = wide(*y, (128.0 - 16.0) * 255.0 / 219.0, 255.0 / 219.0));
    u.iter_mut().chain(v).for_each(|c| *c = wide(*c, 128.0, 255.0 / 224.0));
    let full = data.into_frame();
    let colour = Colour { range: Range::Full, ..full.colour() };
    let full = Frame::tight(full.stamp, full.size(), colour, full.data().clone()).unwrap();
    assert!(differences(&full, &plain[1])[0] > 3.0, "the levels differ");
    encode(&[plain[0].clone(), full, plain[2].clone()], &path).await;
    let back = first(&path, 3).await;
    for (got, want) in back.iter().zip(&plain) {
        let [y, u, v] = differences(got, want);
        assert!(y < 3.0 && u < 1.5 && v < 1.5, "mean differences {y:.2} {u:.2} {v:.2}");
    }
}
