//! A camera in, boxes out, through the queue and a worker over QUIC; ffmpeg looks at the result.

mod support;

use std::collections::HashMap;

use framelane_bench::rig::{self, Server};
use picture::Size;
use support::{Player, assets, order, vtest};

const FRAMES: usize = 300;

/// Luma samples that differ clearly between two pictures of the same frame.
fn changed(a: &[u8], b: &[u8], size: Size) -> usize {
    a.iter().zip(b).take(size.pixels()).filter(|(a, b)| a.abs_diff(**b) > 40).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_frame_comes_out_once_in_order_and_with_boxes() {
    let folder = tempfile::tempdir().expect("a folder");
    let (camera, url) =
        rig::camera(["--source", &vtest(), "--loop", "--rate", "20"]).await.expect("a camera");
    // One source, with and without a model. Time enough that a busy machine loses nothing.
    let streams = format!(
        "[streams.with]\nsource = {url:?}\nmodel = \"nanodet-int8\"\nbudget_ms = 20000\npending = 200\nheld = 400\n\
         [streams.without]\nsource = {url:?}\n"
    );
    let (server, api) = Server::start(folder.path(), &streams, &assets(), [""; 0]).await.expect("a server");
    let token = api.token(1).await.expect("a token");
    let state = folder.path().join("worker");
    let worker = rig::worker(api.quic, &token, &state, &assets(), [""; 0]).expect("a worker");
    api.wait_for("with", "an answer", |stream| stream.ledger.answered > 0).await.expect("answers");
    let before = api.stream("with").await.expect("the stream").ledger;

    let size = Size::new(768, 576).expect("a size");
    let mut annotated = Player::start(&format!("rtsp://{}/with", api.rtsp), size, FRAMES);
    let mut plain = Player::start(&format!("rtsp://{}/without", api.rtsp), size, FRAMES);
    let plain = tokio::spawn(async move {
        let (mut numbers, mut kept) = (Vec::new(), HashMap::new());
        while let Some(seen) = plain.next().await {
            numbers.push(seen.number);
            if let Some(number) = seen.number.filter(|number| number % 20 == 0) {
                kept.insert(number, seen.planes);
            }
        }
        (numbers, kept)
    });
    let (mut numbers, mut kept) = (Vec::new(), HashMap::new());
    while let Some(seen) = annotated.next().await {
        numbers.push(seen.number);
        if let Some(number) = seen.number.filter(|number| number % 20 == 0) {
            kept.insert(number, seen.planes);
        }
    }
    let (plain_numbers, plain_kept) = plain.await.expect("the other player");
    let times = annotated.times().await;

    assert_eq!(numbers.len(), FRAMES);
    assert!(times.len() >= FRAMES - 1, "{}", times.len());
    assert!(times.windows(2).all(|pair| pair[0] < pair[1]), "presentation times rise: {times:?}");
    let ledger = api.stream("with").await.expect("the stream").ledger;
    assert!(ledger.balances(), "{ledger:?}");
    let lost = (ledger.skipped - before.skipped) + (ledger.refused - before.refused);
    let seen = order(&numbers);
    assert!(seen.read > FRAMES * 9 / 10, "most numbers can be read: {numbers:?}");
    assert!(seen.gaps <= lost, "{seen:?}, but {lost} are counted as lost: {ledger:?}");
    assert!(order(&plain_numbers).read > FRAMES * 9 / 10);
    assert_eq!(ledger.missing.total() - before.missing.total(), 0, "{ledger:?}");
    assert!(ledger.answered >= before.answered + FRAMES as u64 / 2, "{ledger:?}");

    let both: Vec<usize> = kept
        .iter()
        .filter_map(|(number, planes)| Some(changed(planes, plain_kept.get(number)?, size)))
        .collect();
    assert!(both.len() >= 5, "the players saw the same frames: {} of them", both.len());
    assert!(both.iter().all(|samples| *samples > 300), "every one has boxes drawn: {both:?}");

    worker.end().await.expect("the worker ends");
    server.end().await.expect("the server ends");
    camera.end().await.expect("the camera ends");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_worker_video_flows_and_the_ledger_says_why_it_has_no_boxes() {
    let folder = tempfile::tempdir().expect("a folder");
    let (camera, url) = rig::camera(["--source", "test:320x240@25"]).await.expect("a camera");
    let streams = format!("[streams.alone]\nsource = {url:?}\nmodel = \"nanodet-int8\"\n");
    let (server, api) = Server::start(folder.path(), &streams, &assets(), [""; 0]).await.expect("a server");
    api.wait_for("alone", "a frame", |stream| stream.fps > 0.0).await.expect("frames");
    let size = Size::new(320, 240).expect("a size");
    let mut player = Player::start(&format!("rtsp://{}/alone", api.rtsp), size, 50);
    let mut numbers = Vec::new();
    while let Some(seen) = player.next().await {
        numbers.push(seen.number);
    }
    assert_eq!(numbers.len(), 50);
    assert!(order(&numbers).read > 45, "{numbers:?}");
    let ledger = api.stream("alone").await.expect("the stream").ledger;
    assert!(ledger.balances(), "{ledger:?}");
    assert_eq!((ledger.answered, ledger.missing.total()), (0, ledger.missing.no_lane), "{ledger:?}");
    assert!(ledger.missing.no_lane >= 50, "{ledger:?}");
    server.end().await.expect("the server ends");
    camera.end().await.expect("the camera ends");
}
