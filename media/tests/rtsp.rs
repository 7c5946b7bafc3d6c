//! The RTSP server with foreign players: ffmpeg, ffprobe, and sockets that misbehave.

#![allow(clippy::unwrap_used, reason = "a failure in here is a failed test")]

extern crate framelane_media as media;

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Stdio;
use std::time::{Duration, Instant};

use media::encode::{self, Encoder};
use media::ingest::{self, Config, Transport};
use media::rtsp::{self, BindError, MountError, Server};
use media::{Next, Ring, Source};
use support::*;

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
async fn a_crowd_over_both_transports_starts_whenever_it_comes() {
    let scene = Scene::start(size(SIZE.0, SIZE.1), 50);
    let server = serve(&scene);
    let url = server.url("/camera");
    let mut watch = scene.ring.subscribe();
    let mut players = Vec::new();
    for transport in ["tcp", "udp", "tcp", "udp", "tcp", "udp"] {
        let url = url.clone();
        players.push(tokio::spawn(async move {
            let seen = play(&url, transport, 40, size(SIZE.0, SIZE.1)).await.unwrap();
            assert_eq!(seen.len(), 40, "{transport}");
            assert!(consecutive(&seen), "{transport}: {seen:?}");
        }));
        // The next one comes some frames later.
        for _ in 0..7 {
            soon(watch.next()).await;
        }
    }
    for player in players {
        player.await.unwrap();
    }
    server.close().await;
}

/// What ffprobe says about the stream and its first packets.
async fn probe(url: &str, transport: &str) -> serde_json::Value {
    let mut probe = tokio::process::Command::new("ffprobe");
    probe.args(["-v", "error", "-rtsp_transport", transport, "-read_intervals", "%+#20"]);
    probe.args(["-show_packets", "-show_streams", "-of", "json", url]);
    probe.stdin(Stdio::null()).kill_on_drop(true);
    let run = soon(probe.output()).await.expect("ffprobe is installed");
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    serde_json::from_slice(&run.stdout).unwrap()
}

#[tokio::test]
async fn a_player_gets_a_key_frame_first_and_times_from_its_own_start() {
    let scene = Scene::start(size(SIZE.0, SIZE.1), 50);
    let server = serve(&scene);
    // The stream is past its first key frame, and the next one by itself is 20 s away.
    let mut watch = scene.ring.subscribe();
    for _ in 0..60 {
        assert!(matches!(soon(watch.next()).await, Next::Packet(_)));
    }
    for transport in ["tcp", "udp"] {
        let seen = probe(&server.url("/camera"), transport).await;
        let stream = &seen["streams"][0];
        assert_eq!((stream["codec_name"].as_str(), stream["width"].as_u64()), (Some("h264"), Some(160)));
        assert_eq!(stream["color_space"], "smpte170m", "{stream}");
        let packets = seen["packets"].as_array().unwrap();
        assert!(packets[0]["flags"].as_str().unwrap().starts_with('K'), "{transport}: {}", packets[0]);
        // ffmpeg's parser gives the first packet of some streams no time.
        let given = packets.iter().skip(1).map(|packet| packet["pts_time"].as_str().unwrap());
        let times: Vec<f64> = given.map(|time| time.parse().unwrap()).collect();
        assert!(times[0] < 0.5, "{transport}: {times:?}");
        assert!(times.windows(2).all(|t| (t[1] - t[0] - 0.02).abs() < 0.001), "{transport}: {times:?}");
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

#[tokio::test]
async fn a_player_that_waits_for_the_first_frame_delays_no_close() {
    let (encoder, ring) = Encoder::start(encode::Config::new(size(SIZE.0, SIZE.1), rate(25))).unwrap();
    let server = Server::bind(loopback()).unwrap();
    server.mount("/camera", ring.clone()).unwrap();
    let addr = server.local_addr();
    let mut player = TcpStream::connect(addr).unwrap();
    let describe = format!("DESCRIBE rtsp://{addr}/camera RTSP/1.0\r\nCSeq: 1\r\n\r\n");
    player.write_all(describe.as_bytes()).unwrap();
    soon(async {
        while ring.readers() == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    // Another player is served meanwhile.
    let error = play(&server.url("/nothing"), "tcp", 1, size(SIZE.0, SIZE.1)).await.unwrap_err();
    assert!(error.contains("404"), "{error}");
    let closing = Instant::now();
    server.close().await;
    assert!(closing.elapsed() < Duration::from_secs(2), "{:?}", closing.elapsed());
    // The player is told at once, not when its own patience ends.
    player.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let told = tokio::task::spawn_blocking(move || player.read(&mut [0; 1024]));
    assert!(!matches!(soon(told).await.unwrap(), Err(e) if e.kind() == ErrorKind::WouldBlock));
    drop(encoder);
}

#[tokio::test]
async fn a_path_that_is_taken_away_ends_its_players_and_no_others() {
    let scene = Scene::start(size(SIZE.0, SIZE.1), 50);
    let server = serve(&scene);
    server.mount("/other", scene.ring.clone()).unwrap();
    let player = |path| ingest::open(Source::parse(&server.url(path)).unwrap(), Config::default());
    let (mut ended, mut stays) = (player("/camera"), player("/other"));
    frame(&mut ended).await;
    frame(&mut stays).await;
    assert!(server.unmount("/camera"));
    trouble(&mut ended).await;
    let before = stays.counts().decoded;
    while stays.counts().decoded < before + 20 {
        assert!(matches!(soon(stays.next()).await, ingest::Event::Frame(_)));
    }
    server.close().await;
}

#[tokio::test]
async fn more_players_than_allowed_are_turned_away() {
    let scene = Scene::start(size(SIZE.0, SIZE.1), 50);
    let mut config = rtsp::Config::default();
    config.clients = 2;
    let server = Server::bind_with(loopback(), config).unwrap();
    server.mount("/camera", scene.ring.clone()).unwrap();
    let mut players = Vec::new();
    for _ in 0..2 {
        let mut ingest = ingest::open(Source::parse(&server.url("/camera")).unwrap(), Config::default());
        frame(&mut ingest).await;
        players.push(ingest);
    }
    play(&server.url("/camera"), "tcp", 5, size(SIZE.0, SIZE.1)).await.unwrap_err();
    for player in &mut players {
        frame(player).await;
    }
    server.close().await;
}
