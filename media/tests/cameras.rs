//! Our ingest as the player of cameras that refuse, fall silent, talk nonsense, or come back.

#![allow(clippy::unwrap_used, reason = "a failure in here is a failed test")]

extern crate framelane_media as media;

mod support;

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use media::Source;
use media::ingest::{self, Config, Event};
use media::rtsp::Server;
use support::*;

fn impatient() -> Config {
    let mut config = Config::default();
    config.retry_first = Duration::from_millis(20);
    config.retry_cap = Duration::from_millis(100);
    config
}

#[tokio::test]
async fn a_camera_that_comes_back_continues_in_a_new_epoch() {
    let scene = Scene::start(size(SIZE.0, SIZE.1), 50);
    let server = serve(&scene);
    let addr = server.local_addr();
    let mut ingest = ingest::open(Source::parse(&server.url("/camera")).unwrap(), impatient());
    let mut last = frame(&mut ingest).await;
    for _ in 0..10 {
        let next = frame(&mut ingest).await;
        assert!(next.pts() > last.pts() && next.stamp.epoch == 0);
        last = next;
    }
    server.close().await;
    let text = trouble(&mut ingest).await;
    assert!(text.contains("rtsp://"), "{text}");

    let server = Server::bind(addr).unwrap();
    let other = Scene::start(size(96, 64), 50);
    server.mount("/camera", other.ring.clone()).unwrap();
    for _ in 0..5 {
        let next = loop {
            let next = frame(&mut ingest).await;
            if next.stamp.epoch > 0 {
                break next;
            }
        };
        assert!(next.pts() > last.pts());
        assert_eq!(next.size(), size(96, 64), "the camera's new size is followed");
        last = next;
    }
    assert!(ingest.counts().balances());
    server.close().await;
}

#[tokio::test]
async fn a_camera_that_falls_silent_is_noticed() {
    let scene = Scene::start(size(SIZE.0, SIZE.1), 50);
    let server = serve(&scene);
    let mut config = impatient();
    config.stall_after = Duration::from_millis(300);
    let mut ingest = ingest::open(Source::parse(&server.url("/camera")).unwrap(), config);
    frame(&mut ingest).await;
    scene.freeze();
    let text = trouble(&mut ingest).await;
    assert!(text.contains("no frame for 0.3 s"), "{text}");
    ingest.stop();
    soon(ingest.closed()).await;
    server.close().await;
}

#[tokio::test]
async fn a_host_that_refuses_is_tried_again_and_its_password_stays_secret() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let source = Source::parse(&format!("rtsp://me:s3cret@{free}/camera")).unwrap();
    let mut ingest = ingest::open(source, impatient());
    for _ in 0..2 {
        let text = trouble(&mut ingest).await;
        assert!(text.contains("cannot be reached") && text.contains(&free.to_string()), "{text}");
        assert!(text.contains("me:***@") && !text.contains("s3cret"), "{text}");
    }
    let stopping = Instant::now();
    ingest.stop();
    soon(ingest.closed()).await;
    assert!(stopping.elapsed() < Duration::from_secs(2));
    assert!(matches!(soon(ingest.next()).await, Event::Ended));
}

#[tokio::test]
async fn a_wrong_path_names_the_path() {
    let scene = Scene::start(size(SIZE.0, SIZE.1), 25);
    let server = serve(&scene);
    let mut ingest = ingest::open(Source::parse(&server.url("/nothing")).unwrap(), impatient());
    let text = trouble(&mut ingest).await;
    assert!(text.contains("/nothing") && text.contains("check the path"), "{text}");
    server.close().await;
}

/// A camera on a port of its own that answers each connection as told.
fn camera(answer: impl Fn(BufReader<TcpStream>) + Send + Sync + 'static) -> SocketAddr {
    let answer = Arc::new(answer);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    // It ends with the test's process.
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = BufReader::new(stream.unwrap());
            let answer = answer.clone();
            std::thread::spawn(move || answer(stream));
        }
    });
    addr
}

/// Answers each RTSP request with a status and headers until the player leaves.
fn refuse(stream: BufReader<TcpStream>, status: &str) {
    let mut out = stream.get_ref().try_clone().unwrap();
    let mut number = String::new();
    for line in stream.lines().map_while(Result::ok) {
        if let Some(given) = line.strip_prefix("CSeq:") {
            number = given.trim().to_owned();
        } else if line.is_empty() && write!(out, "RTSP/1.0 {status}\r\nCSeq: {number}\r\n\r\n").is_err() {
            return;
        }
    }
}

async fn first_trouble(addr: SocketAddr, config: Config) -> String {
    let source = Source::parse(&format!("rtsp://me:s3cret@{addr}/camera")).unwrap();
    let mut ingest = ingest::open(source, config);
    let text = trouble(&mut ingest).await;
    assert!(text.contains("me:***@") && text.contains(&addr.to_string()), "{text}");
    assert!(!text.contains("s3cret"), "{text}");
    let stopping = Instant::now();
    ingest.stop();
    soon(ingest.closed()).await;
    assert!(stopping.elapsed() < Duration::from_secs(5), "{:?}", stopping.elapsed());
    assert_eq!(ingest.counts(), ingest::Counts::default());
    text
}

#[tokio::test]
async fn a_camera_that_wants_another_password_says_so_without_it() {
    let addr = camera(|stream| {
        refuse(stream, "401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"camera\"");
    });
    let text = first_trouble(addr, impatient()).await;
    assert!(text.contains("another user or password"), "{text}");
}

#[tokio::test]
async fn a_camera_that_refuses_is_trouble() {
    let addr = camera(|stream| refuse(stream, "503 Service Unavailable"));
    let text = first_trouble(addr, impatient()).await;
    assert!(text.contains("503") || text.contains("Service Unavailable"), "{text}");
}

/// An answer without an end: no line of it ever ends.
fn nonsense(stream: &TcpStream, enough: impl Fn() -> bool) {
    let mut stream = stream;
    while !enough() && stream.write_all(&[0xa5; 4096]).is_ok() {}
}

#[tokio::test]
async fn a_camera_whose_answer_never_ends_is_trouble() {
    let addr = camera(|stream| nonsense(stream.get_ref(), || false));
    let mut config = impatient();
    config.connect_within = Duration::from_millis(500);
    config.stall_after = Duration::from_millis(500);
    let text = first_trouble(addr, config).await;
    assert!(text.contains("no frame for 0.5 s"), "{text}");
}

#[tokio::test]
async fn a_camera_that_comes_to_its_senses_is_tried_again() {
    let (calls, enough) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let addr = camera({
        let (calls, enough) = (calls.clone(), enough.clone());
        move |stream| {
            calls.fetch_add(1, Ordering::SeqCst);
            nonsense(stream.get_ref(), || enough.load(Ordering::SeqCst));
        }
    });
    let mut config = impatient();
    config.connect_within = Duration::from_millis(500);
    config.stall_after = Duration::from_millis(500);
    let mut ingest = ingest::open(Source::parse(&format!("rtsp://{addr}/camera")).unwrap(), config);
    trouble(&mut ingest).await;
    assert_eq!(calls.load(Ordering::SeqCst), 1, "one connection at a time");
    enough.store(true, Ordering::SeqCst);
    trouble(&mut ingest).await;
    assert!(calls.load(Ordering::SeqCst) > 1);
    ingest.stop();
    soon(ingest.closed()).await;
}

#[tokio::test]
async fn a_camera_that_never_answers_is_given_up_in_time() {
    let addr = camera(|stream| stream.lines().for_each(drop));
    let mut config = impatient();
    config.connect_within = Duration::from_millis(500);
    config.stall_after = Duration::from_millis(500);
    let started = Instant::now();
    first_trouble(addr, config).await;
    assert!(started.elapsed() < Duration::from_secs(6), "{:?}", started.elapsed());
}
