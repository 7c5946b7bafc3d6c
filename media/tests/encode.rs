//! The encoder and its ring: nothing lost, nothing reordered, changes followed.

#![allow(clippy::unwrap_used, reason = "a failure in here is a failed test")]

extern crate framelane_media as media;

mod support;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use media::encode::{Config, Encoder, Error, Quality};
use media::ring::Bounds;
use media::{Next, Packet, Reader};
use picture::{Colour, Frame, Range, Size, Stamp};
use support::*;

async fn collect(mut reader: Reader) -> Vec<Packet> {
    let mut packets = Vec::new();
    loop {
        match soon(reader.next()).await {
            Next::Packet(packet) => packets.push(packet),
            Next::Lagged(n) => panic!("{n} packets are lost"),
            Next::End => return packets,
        }
    }
}

/// What ffmpeg sees in the middle of each picture.
fn decode(packets: &[Packet], dir: &Path, size: Size) -> Vec<u8> {
    middles(&pictures(packets, dir), size)
}

/// The raw pictures that ffmpeg decodes.
fn pictures(packets: &[Packet], dir: &Path) -> Vec<u8> {
    let path = dir.join("out.h264");
    std::fs::write(&path, packets.iter().flat_map(|p| p.data.to_vec()).collect::<Vec<_>>()).unwrap();
    let args = format!("-i {} -fps_mode passthrough -f rawvideo -pix_fmt yuv420p", path.display());
    std::fs::read(ffmpeg(&args, &dir.join("out.raw"))).unwrap()
}

#[tokio::test]
async fn each_frame_becomes_one_packet_in_order() {
    let (encoder, ring) = Encoder::start(Config::new(size(160, 120), rate(25))).unwrap();
    let reader = tokio::spawn(collect(ring.subscribe()));
    let frames: Vec<Frame> = (0..120).map(|n| grey(n, size(160, 120), 25)).collect();
    for frame in &frames {
        encoder.push(frame.clone()).await.unwrap();
    }
    encoder.finish().await.unwrap();
    let packets = reader.await.unwrap();
    let pts = |packets: &[Packet]| packets.iter().map(|p| p.pts).collect::<Vec<_>>();
    assert_eq!(pts(&packets), frames.iter().map(Frame::pts).collect::<Vec<_>>());
    assert!(packets[0].key && packets[50].key && packets[100].key, "a key frame each two seconds");
    assert_eq!(packets.iter().filter(|p| p.key).count(), 3);
    assert!(ring.is_ended());

    // A foreign decoder agrees about number, order and content.
    let dir = tempfile::tempdir().unwrap();
    let brightnesses = decode(&packets, dir.path(), size(160, 120));
    assert_eq!(brightnesses.len(), 120);
    assert!(consecutive(&brightnesses), "{brightnesses:?}");
}

#[tokio::test]
async fn another_size_and_colour_become_those_of_the_stream() {
    let (encoder, ring) = Encoder::start(Config::new(size(161, 120), rate(25))).unwrap();
    let reader = tokio::spawn(collect(ring.subscribe()));
    for n in 0..10 {
        encoder.push(grey(n, size(160, 120), 25)).await.unwrap();
    }
    for n in 10..20 {
        encoder.push(grey(n, size(321, 243), 25)).await.unwrap();
    }
    for n in 20..30 {
        let frame = grey(n, size(160, 120), 25);
        let data = frame.data().clone();
        let frame = Frame::tight(frame.stamp, frame.size(), Colour::BT709_LIMITED, data).unwrap();
        encoder.push(frame).await.unwrap();
    }
    encoder.finish().await.unwrap();
    let packets = reader.await.unwrap();
    assert_eq!(packets.len(), 30);
    assert!(packets.iter().all(|p| p.codec == packets[0].codec && p.codec.version == 1));
    assert_eq!(packets[0].codec.sps[0] & 0x1f, 7);
    assert_eq!(packets[0].codec.pps[0] & 0x1f, 8);

    let dir = tempfile::tempdir().unwrap();
    let seen = decode(&packets, dir.path(), size(160, 120));
    assert_eq!(seen.len(), 30);
    assert!(consecutive(&seen), "{seen:?}");
}

#[tokio::test]
async fn red_stays_red_when_the_matrix_or_range_changes() {
    let full = |colour| Colour { range: Range::Full, ..colour };
    // Pure red as each standard writes it.
    let reds = [
        (Colour::BT601_LIMITED, [81, 90, 240]),
        (Colour::BT709_LIMITED, [63, 102, 240]),
        (full(Colour::BT601_LIMITED), [76, 85, 255]),
        (full(Colour::BT709_LIMITED), [54, 99, 255]),
        (Colour::BT601_LIMITED, [81, 90, 240]),
    ];
    let (encoder, ring) = Encoder::start(Config::new(size(64, 48), rate(25))).unwrap();
    let reader = tokio::spawn(collect(ring.subscribe()));
    for (n, (colour, [y, u, v])) in (0..).zip(reds) {
        let mut data = vec![y; 64 * 48];
        data.resize(64 * 48 * 5 / 4, u);
        data.resize(64 * 48 * 3 / 2, v);
        let stamp = Stamp::at(rate(25).pts(n));
        let frame = Frame::tight(stamp, size(64, 48), colour, Bytes::from(data)).unwrap();
        encoder.push(frame).await.unwrap();
    }
    encoder.finish().await.unwrap();
    let packets = reader.await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let seen = pictures(&packets, dir.path());
    let seen = raw_frames(&seen, size(64, 48), Colour::BT601_LIMITED);
    assert_eq!(seen.len(), reds.len());
    for (n, frame) in seen.iter().enumerate() {
        let view = frame.view();
        let got = [view.y().row(24)[32], view.u().row(12)[16], view.v().row(12)[16]];
        let close = got.iter().zip([81_u8, 90, 240]).all(|(got, want)| got.abs_diff(want) <= 3);
        assert!(close, "frame {n}, {:?}: {got:?}", reds[n].0);
    }
}

#[tokio::test]
async fn a_reader_that_comes_later_gets_a_key_frame_made_for_it() {
    let scene = Scene::start(size(64, 48), 50);
    let mut first = scene.ring.subscribe();
    for _ in 0..10 {
        assert!(matches!(soon(first.next()).await, Next::Packet(_)));
    }
    let mut late = scene.ring.subscribe();
    let Next::Packet(packet) = soon(late.next()).await else { panic!() };
    assert!(packet.key && millis(packet.pts) > 0);
    assert!(packet.data.len() < 10_000);
}

#[tokio::test]
async fn a_reader_that_sleeps_stops_nobody_and_is_told_what_it_lost() {
    let mut config = Config::new(size(64, 48), rate(25));
    config.ring = Bounds { packets: 8, bytes: 1 << 20 };
    config.key_interval = Some(5);
    config.quality = Quality::Bitrate(500);
    let (encoder, ring) = Encoder::start(config).unwrap();
    let mut sleeper = ring.subscribe();
    let reader = tokio::spawn(lossy(ring.subscribe()));
    for n in 0..100 {
        encoder.push(grey(n, size(64, 48), 25)).await.unwrap();
    }
    encoder.finish().await.unwrap();
    assert_eq!(ring.held().0, 8);
    let first = sleeper.try_next();
    assert!(matches!(first, Some(Next::Lagged(n)) if n >= 92), "{first:?}");
    let Some(Next::Lagged(lost)) = first else { panic!() };
    let (more, packets) = lossy(sleeper).await;
    assert_eq!((more, lost + packets.len() as u64), (0, 100), "what is lost and what came is all there was");
    assert!(packets[0].key);
    assert_eq!(millis(packets[0].pts), 40 * lost, "exactly the packets before it are lost");

    // Whoever reads as it comes has its own account, which is complete too.
    let (lost, packets) = soon(reader).await.unwrap();
    assert_eq!(lost + packets.len() as u64, 100);
}

/// How many packets the reader lost, and those that came.
async fn lossy(mut reader: Reader) -> (u64, Vec<Packet>) {
    let (mut lost, mut packets) = (0, Vec::new());
    loop {
        match soon(reader.next()).await {
            Next::Packet(packet) => packets.push(packet),
            Next::Lagged(n) => lost += n,
            Next::End => return (lost, packets),
        }
    }
}

/// A frame's bytes that count how many like them are alive.
struct Alive {
    data: Bytes,
    alive: Arc<AtomicUsize>,
}

impl AsRef<[u8]> for Alive {
    fn as_ref(&self) -> &[u8] {
        &self.data
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.alive.fetch_sub(1, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn push_waits_for_room_so_no_frames_pile_up() {
    let mut config = Config::new(size(320, 240), rate(25));
    config.queue = 3;
    let (encoder, ring) = Encoder::start(config).unwrap();
    let alive = Arc::new(AtomicUsize::new(0));
    for n in 0..100 {
        let plain = grey(n, size(320, 240), 25);
        alive.fetch_add(1, Ordering::SeqCst);
        let data = Bytes::from_owner(Alive { data: plain.data().clone(), alive: alive.clone() });
        let frame = Frame::tight(plain.stamp, plain.size(), plain.colour(), data).unwrap();
        encoder.push(frame).await.unwrap();
        assert!(alive.load(Ordering::SeqCst) <= 3);
    }
    encoder.finish().await.unwrap();
    assert_eq!(ring.held().0, 100);
    assert_eq!(alive.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn dropping_the_encoder_ends_its_readers() {
    let (encoder, ring) = Encoder::start(Config::new(size(64, 48), rate(25))).unwrap();
    let mut reader = ring.subscribe();
    drop(encoder);
    assert!(matches!(soon(reader.next()).await, Next::End));
}

#[tokio::test]
async fn a_size_that_x264_does_not_take_is_an_error() {
    // 16384 wide is our longest side; x264 takes that, but no picture of one line.
    let started = Encoder::start(Config::new(size(1, 1), rate(25)));
    match started {
        Err(error) => assert!(error.to_string().contains("1x1"), "{error}"),
        Ok((encoder, ring)) => {
            let mut failed = None;
            for n in 0..20 {
                if let Err(error) = encoder.push(grey(n, size(1, 1), 25)).await {
                    failed = Some(error);
                    break;
                }
            }
            // Either it encodes 2x2 pictures, or it says what is wrong; it never hangs.
            if let Some(error) = failed {
                assert!(matches!(error, Error::Failed(_) | Error::Ended), "{error}");
                assert!(ring.is_ended());
            }
        }
    }
}
