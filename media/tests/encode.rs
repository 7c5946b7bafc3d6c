//! The encoder and its ring: nothing lost, nothing reordered, changes followed.

#![allow(clippy::unwrap_used, reason = "a failure in here is a failed test")]

extern crate framelane_media as media;

mod support;

use std::path::Path;

use media::encode::{Config, Encoder, Error, Quality};
use media::ring::Bounds;
use media::{Next, Packet, Reader};
use picture::{Colour, Frame, Size};
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
    let path = dir.join("out.h264");
    std::fs::write(&path, packets.iter().flat_map(|p| p.data.to_vec()).collect::<Vec<_>>()).unwrap();
    let args = format!("-i {} -fps_mode passthrough -f rawvideo -pix_fmt yuv420p", path.display());
    let raw = std::fs::read(ffmpeg(&args, &dir.join("out.raw"))).unwrap();
    middles(&raw, size)
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
async fn a_reader_that_sleeps_stops_nobody() {
    let mut config = Config::new(size(64, 48), rate(25));
    config.ring = Bounds { packets: 8, bytes: 1 << 20 };
    config.key_interval = Some(5);
    config.quality = Quality::Bitrate(500);
    let (encoder, ring) = Encoder::start(config).unwrap();
    let mut sleeper = ring.subscribe();
    for n in 0..100 {
        encoder.push(grey(n, size(64, 48), 25)).await.unwrap();
    }
    encoder.finish().await.unwrap();
    assert_eq!(ring.held().0, 8);
    assert!(matches!(sleeper.try_next(), Some(Next::Lagged(n)) if n >= 92));
    let mut after = collect_all(&mut sleeper).await;
    assert!(after.remove(0).key);
    assert!(after.len() < 8);
}

async fn collect_all(reader: &mut Reader) -> Vec<Packet> {
    let mut packets = Vec::new();
    loop {
        match soon(reader.next()).await {
            Next::Packet(packet) => packets.push(packet),
            Next::Lagged(_) => {}
            Next::End => return packets,
        }
    }
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
