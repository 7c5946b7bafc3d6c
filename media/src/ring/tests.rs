//! Bounds, and readers that are new, slow, late.

use bytes::Bytes;
use picture::Pts;

use super::*;

static BEGIN: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);

fn packet(n: u64, key: bool) -> Packet {
    let codec = Codec { version: 1, sps: Bytes::new(), pps: Bytes::new() };
    let data = Bytes::from(vec![0; 10]);
    let (pts, encoded_at) = (Pts::from_nanos(n * 1_000_000_000), *BEGIN + Duration::from_secs(n));
    Packet { pts, encoded_at, key, data, codec: Arc::new(codec) }
}

/// Packets `from..to`, a key frame each fourth.
fn fill(ring: &Ring, from: u64, to: u64) {
    (from..to).for_each(|n| ring.push(packet(n, n % 4 == 0)));
}

fn ring(packets: usize, bytes: usize) -> Arc<Ring> {
    Ring::new(Bounds { packets, bytes })
}

fn number(next: Option<Next>) -> u64 {
    match next {
        Some(Next::Packet(packet)) => packet.pts.nanos() / 1_000_000_000,
        other => panic!("{other:?}"),
    }
}

#[test]
fn both_bounds_hold() {
    let by_packets = ring(8, 1 << 20);
    fill(&by_packets, 0, 100);
    assert_eq!(by_packets.held(), (8, 80));
    let by_bytes = ring(100, 45);
    fill(&by_bytes, 0, 100);
    assert_eq!(by_bytes.held(), (4, 40));
    let tiny = ring(100, 1);
    fill(&tiny, 0, 100);
    assert_eq!(tiny.held(), (1, 10));
}

#[test]
fn a_new_reader_starts_at_the_next_key_frame_and_asks_for_it() {
    let ring = ring(100, 1 << 20);
    fill(&ring, 0, 6);
    assert!(!ring.take_key_request(Instant::now()));
    let mut reader = ring.subscribe();
    let now = Instant::now();
    assert!(ring.take_key_request(now));
    assert!(reader.try_next().is_none());
    fill(&ring, 6, 8);
    assert!(reader.try_next().is_none());
    fill(&ring, 8, 10);
    assert_eq!(number(reader.try_next()), 8);
    assert_eq!(number(reader.try_next()), 9);
    assert!(reader.try_next().is_none());

    // A crowd asks once.
    let _second = ring.subscribe();
    assert!(!ring.take_key_request(now + KEY_REQUESTS / 2));
    assert!(ring.take_key_request(now + KEY_REQUESTS));
    assert!(!ring.take_key_request(now + 3 * KEY_REQUESTS));
}

#[test]
fn a_reader_from_the_held_key_frame_starts_at_once() {
    let ring = ring(100, 1 << 20);
    fill(&ring, 0, 7);
    let mut reader = ring.subscribe_from_key();
    assert_eq!(number(reader.try_next()), 4);
    assert!(!ring.take_key_request(Instant::now()));
}

#[test]
fn a_slow_reader_skips_to_the_newest_key_frame_and_is_told() {
    let ring = ring(6, 1 << 20);
    let mut reader = ring.subscribe();
    let mut fast = ring.subscribe();
    fill(&ring, 0, 2);
    assert_eq!(number(reader.try_next()), 0);
    for n in 2..30 {
        fill(&ring, n, n + 1);
        while let Some(next) = fast.try_next() {
            assert!(matches!(next, Next::Packet(_)), "the fast one loses nothing");
        }
    }
    assert!(matches!(reader.try_next(), Some(Next::Lagged(27))), "1..28 are lost");
    assert_eq!(number(reader.try_next()), 28);
    assert_eq!(number(reader.try_next()), 29);
    drop((reader, fast));
    assert_eq!(ring.skipped(), 27, "for anyone to read, after the reader is gone too");
}

#[test]
fn without_a_key_frame_in_the_ring_it_waits_for_one() {
    let ring = ring(2, 1 << 20);
    let mut reader = ring.subscribe();
    fill(&ring, 0, 1);
    assert_eq!(number(reader.try_next()), 0);
    (1..6).for_each(|n| ring.push(packet(n, false)));
    assert!(reader.try_next().is_none());
    assert!(ring.take_key_request(Instant::now()));
    (6..9).for_each(|n| ring.push(packet(n, n == 8)));
    assert!(matches!(reader.try_next(), Some(Next::Lagged(7))));
    assert_eq!(number(reader.try_next()), 8);
}

#[test]
fn a_live_reader_stays_within_its_bound() {
    let ring = ring(100, 1 << 20);
    let mut reader = ring.subscribe().within(Duration::from_secs(5));
    fill(&ring, 0, 6);
    assert_eq!(number(reader.try_next()), 0);
    fill(&ring, 6, 20);
    assert!(matches!(reader.try_next(), Some(Next::Lagged(15))));
    assert_eq!(number(reader.try_next()), 16);
}

#[tokio::test]
async fn readers_are_woken_and_told_of_the_end() {
    let ring = ring(100, 1 << 20);
    let mut reader = ring.subscribe();
    let task = tokio::spawn(async move {
        let mut got = 0;
        while let Next::Packet(_) = reader.next().await {
            got += 1;
        }
        got
    });
    fill(&ring, 0, 5);
    ring.end();
    ring.push(packet(5, true));
    assert_eq!(task.await.unwrap(), 5);
    assert!(matches!(ring.subscribe().next().await, Next::End));
    assert_eq!(ring.readers(), 0);
}

#[test]
fn a_burst_after_a_pause_is_no_ones_fault() {
    let ring = ring(100, 1 << 20);
    let mut reader = ring.subscribe_from_key().within(Duration::from_secs(2));
    for n in 0..20 {
        let mut late = packet(n, n == 0);
        late.encoded_at = *BEGIN + Duration::from_secs(20);
        ring.push(late);
    }
    let read = std::iter::from_fn(|| reader.try_next());
    assert_eq!(read.filter(|next| matches!(next, Next::Packet(_))).count(), 20);
}
