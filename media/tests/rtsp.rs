//! The RTSP server with foreign players (ffmpeg), and our own ingest as a player that survives its camera.

#![allow(clippy::unwrap_used, reason = "a failure in here is a failed test")]

extern crate framelane_media as media;

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use media::ingest::{self, Config, Event, Transport};
use media::rtsp::{BindError, MountError, Server};
use media::{Ring, Source};
use support::*;

const SIZE: (u32, u32) = (160, 120);

fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

fn serve(scene: &Scene) -> Server {
    let server = Server::bind(loopback()).unwrap();
    server.mount("/camera", scene.ring.clone()).unwrap();
    server
}

#[tokio::test]
async fn players_over_tcp_and_udp_see_every_frame_in_order() {
    let scene = Scene::start(size(SIZE.0, SIZE.1), 50);
    let server = serve(&scene);
    let url = server.url("/camera");
    let shape = size(SIZE.0, SIZE.1);
    let (tcp, udp) = tokio::join!(play(&url, "tcp", 60, shape), play(&url, "udp", 60, shape));
    for (transport, seen) in [("tcp", tcp.unwrap()), ("udp", udp.unwrap())] {
        assert_eq!(seen.len(), 60, "{transport}");
        assert!(consecutive(&seen), "{transport}: {seen:?}");
    }
    server.close().await;
}

#[tokio::test]
async fn several_players_start_at_their_own_time() {
    let scene = Scene::start(size(SIZE.0, SIZE.1), 50);
    let server = serve(&scene);
    let url = server.url("/camera");
    let shape = size(SIZE.0, SIZE.1);
    for _ in 0..2 {
        let players = (0..3).map(|_| {
            let url = url.clone();
            tokio::spawn(async move { play(&url, "tcp", 20, shape).await })
        });
        for player in players.collect::<Vec<_>>() {
            let seen = player.await.unwrap().unwrap();
            assert_eq!(seen.len(), 20);
            assert!(consecutive(&seen), "{seen:?}");
        }
    }
    server.close().await;
}

#[tokio::test]
async fn an_unknown_path_is_not_found() {
    let scene = Scene::start(size(SIZE.0, SIZE.1), 25);
    let server = serve(&scene);
    let error = play(&server.url("/nothing"), "tcp", 1, size(SIZE.0, SIZE.1)).await.unwrap_err();
    assert!(error.contains("404"), "{error}");

    assert!(server.unmount("/camera") && !server.unmount("/camera"));
    let error = play(&server.url("/camera"), "tcp", 1, size(SIZE.0, SIZE.1)).await.unwrap_err();
    assert!(error.contains("404"), "{error}");
    server.close().await;
}

#[tokio::test]
async fn taken_ports_and_paths_are_clear_errors() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap();
    let error = Server::bind(addr).unwrap_err();
    assert!(matches!(error, BindError::Taken { .. }), "{error:?}");
    assert!(error.to_string().contains(&addr.to_string()), "{error}");

    let server = Server::bind(loopback()).unwrap();
    let ring = Ring::new(media::ring::Bounds::default());
    for bad in ["", "/", "camera", "/a b", "/a?b"] {
        assert_eq!(server.mount(bad, ring.clone()), Err(MountError::Path(bad.into())));
    }
    server.mount("/a/b", ring.clone()).unwrap();
    assert_eq!(server.mount("/a/b", ring), Err(MountError::InUse("/a/b".into())));
    let addr = server.local_addr();
    server.close().await;
    // The port is free again once close returned.
    Server::bind(addr).unwrap().close().await;
}

#[tokio::test]
async fn a_closing_server_ends_its_players_quickly() {
    let scene = Scene::start(size(SIZE.0, SIZE.1), 50);
    let server = serve(&scene);
    let mut players = Vec::new();
    for _ in 0..3 {
        let mut ingest = ingest::open(Source::parse(&server.url("/camera")).unwrap(), Config::default());
        frame(&mut ingest).await;
        players.push(ingest);
    }
    assert_eq!(server.clients(), 3);
    let closing = Instant::now();
    server.close().await;
    assert!(closing.elapsed() < Duration::from_secs(2), "{:?}", closing.elapsed());
    for mut player in players {
        trouble(&mut player).await;
        player.stop();
        soon(player.closed()).await;
    }
    assert_eq!(soon_zero(&scene).await, 0);
}

/// Readers of the scene's ring once the players' pipelines are gone.
async fn soon_zero(scene: &Scene) -> usize {
    let gone = async {
        while scene.ring.readers() > 0 {
            tokio::task::yield_now().await;
        }
    };
    soon(gone).await;
    scene.ring.readers()
}

#[tokio::test]
async fn players_that_leave_leave_nothing_behind() {
    let scene = Scene::start(size(SIZE.0, SIZE.1), 50);
    let server = serve(&scene);
    for transport in [Transport::Tcp, Transport::Udp, Transport::Tcp] {
        let mut config = Config::default();
        config.transport = transport;
        let mut ingest = ingest::open(Source::parse(&server.url("/camera")).unwrap(), config);
        frame(&mut ingest).await;
        assert_eq!(scene.ring.readers(), 1);
        ingest.stop();
        soon(ingest.closed()).await;
        soon_zero(&scene).await;
    }
    server.close().await;
}

/// Speaks just enough RTSP to start the stream over TCP, and then reads nothing.
fn sleeping_player(addr: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(addr).unwrap();
    let url = format!("rtsp://{addr}/camera");
    let mut ask = |request: String| {
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = vec![0; 16 * 1024];
        let len = stream.read(&mut answer).unwrap();
        String::from_utf8_lossy(&answer[..len]).into_owned()
    };
    let described = ask(format!("DESCRIBE {url} RTSP/1.0\r\nCSeq: 1\r\n\r\n"));
    assert!(described.contains("sprop-parameter-sets"), "{described}");
    let set_up = ask(format!(
        "SETUP {url}/stream=0 RTSP/1.0\r\nCSeq: 2\r\nTransport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n\r\n"
    ));
    let session = set_up.split("Session: ").nth(1).unwrap().split([';', '\r']).next().unwrap();
    stream
        .write_all(format!("PLAY {url} RTSP/1.0\r\nCSeq: 3\r\nSession: {session}\r\n\r\n").as_bytes())
        .unwrap();
    stream
}

#[tokio::test]
async fn a_player_that_does_not_read_disturbs_nobody() {
    let scene = Scene::start(size(SIZE.0, SIZE.1), 100);
    let server = serve(&scene);
    let addr = server.local_addr();
    let sleeper = tokio::task::spawn_blocking(move || sleeping_player(addr)).await.unwrap();
    let seen = play(&server.url("/camera"), "tcp", 200, size(SIZE.0, SIZE.1)).await.unwrap();
    assert_eq!(seen.len(), 200);
    assert!(consecutive(&seen), "{seen:?}");
    let closing = Instant::now();
    server.close().await;
    assert!(closing.elapsed() < Duration::from_secs(2), "{:?}", closing.elapsed());
    drop(sleeper);
}

#[tokio::test]
async fn an_ended_stream_ends_its_players() {
    let scene = Scene::start(size(SIZE.0, SIZE.1), 50);
    let server = serve(&scene);
    let mut ingest = ingest::open(Source::parse(&server.url("/camera")).unwrap(), Config::default());
    frame(&mut ingest).await;
    drop(scene);
    let text = trouble(&mut ingest).await;
    assert!(text.contains(&server.url("/camera")), "{text}");
    server.close().await;
}

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
