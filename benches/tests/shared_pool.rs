//! Two streams share two workers over QUIC and a thread of the server; one worker is killed.

mod support;

use std::time::Duration;

use framelane_bench::rig::{self, Server};
use nix::sys::signal::Signal;
use picture::Size;
use support::{Player, assets, order, vtest};
use tokio::time::Instant;
use web::api::{Worker, WorkerKind};

const FRAMES: usize = 150;

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_worker_costs_no_frame_and_no_order() {
    let folder = tempfile::tempdir().expect("a folder");
    let (camera, url) = rig::camera(["--source", &vtest(), "--loop"]).await.expect("a camera");
    // Tried until answered, with time enough for a busy machine: within this policy nothing is lost.
    let policy = "model = \"nanodet-int8\"\nbudget_ms = 20000\nattempts = 0\npending = 200\nheld = 400\n";
    let streams = format!(
        "local_workers = 1\n[streams.left]\nsource = {url:?}\n{policy}[streams.right]\nsource = {url:?}\n{policy}"
    );
    let (server, api) = Server::start(folder.path(), &streams, &assets(), [""; 0]).await.expect("a server");
    let token = api.token(2).await.expect("a token");
    let start = |name: &str| {
        let state = folder.path().join(name);
        rig::worker(api.quic, &token, &state, &assets(), ["--name", name, "--threads", "1"])
            .expect("a worker")
    };
    let (one, other) = (start("one"), start("other"));
    api.wait_for_workers("three of them", |workers| workers.len() == 3).await.expect("three workers");

    for id in ["left", "right"] {
        api.wait_for(id, "a frame", |stream| stream.fps > 0.0).await.expect("frames");
    }

    let play = |id: &str| {
        let size = Size::new(768, 576).expect("a size");
        let mut player = Player::start(&format!("rtsp://{}/{id}", api.rtsp), size, FRAMES);
        tokio::spawn(async move {
            let mut numbers = Vec::new();
            while let Some(seen) = player.next().await {
                numbers.push(seen.number);
            }
            (numbers, player.times().await)
        })
    };
    let players = [play("left"), play("right")];
    // The freest lane gets the next frame, so on a machine that is fast enough the third may never get
    // one: the victim is whichever of the two is at work.
    let at_work = |workers: &[Worker], kind| {
        workers
            .iter()
            .find(|worker| worker.kind == kind && worker.answered > 0)
            .map(|worker| worker.name.clone())
    };
    let both = |workers: &Vec<Worker>| {
        at_work(workers, WorkerKind::Local).is_some() && at_work(workers, WorkerKind::Quic).is_some()
    };
    let workers = api.wait_for_workers("answers of both kinds", both).await.expect("both kinds answer");
    let busy = at_work(&workers, WorkerKind::Quic).expect("one that answered");
    let (doomed, steady) = if busy == "one" { (one, other) } else { (other, one) };
    check_books(&api).await;
    doomed.signal(Signal::SIGKILL).expect("killed");
    let killed = Instant::now();
    api.wait_for_workers("two of them", |workers| workers.len() == 2).await.expect("two are left");
    assert!(killed.elapsed() < Duration::from_secs(10), "a dead worker is noticed: {:?}", killed.elapsed());

    let mut gaps = 0;
    for player in players {
        let (numbers, times) = player.await.expect("a player");
        assert_eq!(numbers.len(), FRAMES);
        let seen = order(&numbers);
        assert!(seen.read > FRAMES * 9 / 10, "{numbers:?}");
        gaps += seen.gaps;
        assert!(times.windows(2).all(|pair| pair[0] < pair[1]), "presentation times rise: {times:?}");
    }
    let mut before_the_queue = 0;
    for ledger in check_books(&api).await {
        assert_eq!(ledger.missing.total(), 0, "what was admitted is answered: {ledger:?}");
        before_the_queue += ledger.skipped + ledger.refused;
    }
    assert!(gaps <= before_the_queue, "{gaps} numbers never came, {before_the_queue} are counted");
    api.wait_for_workers("work for the one that is left", both).await.expect("it takes over");

    steady.end().await.expect("the worker ends");
    server.end().await.expect("the server ends");
    camera.end().await.expect("the camera ends");
}

async fn check_books(api: &Server) -> Vec<web::api::Ledger> {
    let mut ledgers = Vec::new();
    for id in ["left", "right"] {
        let ledger = api.stream(id).await.expect("the stream").ledger;
        assert!(ledger.balances(), "{id}: {ledger:?}");
        ledgers.push(ledger);
    }
    ledgers
}
