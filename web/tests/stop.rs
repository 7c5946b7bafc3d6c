//! The stop is bounded whatever clients do, and so is what they may take.

mod support;

use std::time::{Duration, Instant};

use framelane_web::Config;
use support::{LONG, chunk, picture, start};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

#[tokio::test]
async fn viewers_see_the_end_of_their_stream() {
    let server = start(Config::default());
    let mut viewer = server.watch().await;
    let mut idle = server.watch().await;
    server.fake.picture(1, 50_000);
    assert!(picture(&mut viewer).await.is_some());
    assert!(picture(&mut idle).await.is_some());
    server.stop.cancel();
    timeout(LONG, server.serving).await.expect("it stops").unwrap().unwrap();
    assert_eq!(chunk(&mut viewer).await, None);
    assert_eq!(chunk(&mut idle).await, None);
    server.fake.viewers(0).await;
    assert!(TcpStream::connect(server.address).await.is_err(), "the port is free again");
}

#[tokio::test]
async fn clients_that_hang_do_not_hold_up_the_stop() {
    let grace = Duration::from_millis(100);
    let server = start(Config { grace, ..Config::default() });
    // One that reads nothing of an answer too large for the sockets, one in the middle of its headers.
    let stuck = server.watch().await;
    server.fake.viewers(1).await;
    server.fake.picture(1, 64 * 1024 * 1024);
    let mut half = server.connect().await;
    half.write_all(b"GET / HTTP/1.1\r\nHost: loc").await.unwrap();
    // An answered request shows that both were accepted before it.
    server.get("/healthz").await;

    let stopping = Instant::now();
    server.stop.cancel();
    timeout(LONG, server.serving).await.expect("it stops").unwrap().unwrap();
    assert!(stopping.elapsed() >= grace, "it would have waited for their ends");
    server.fake.viewers(0).await;
    drop((stuck, half));
}

#[tokio::test]
async fn slow_headers_and_idle_connections_are_cut() {
    let server = start(Config { header_timeout: Duration::from_millis(100), ..Config::default() });
    let mut half = server.connect().await;
    half.write_all(b"GET / HTTP/1.1\r\nHost: loc").await.unwrap();
    let mut rest = Vec::new();
    timeout(LONG, half.read_to_end(&mut rest)).await.expect("cut").ok();
    let mut idle = server.connect().await;
    timeout(LONG, idle.read_to_end(&mut rest)).await.expect("cut").ok();
}

#[tokio::test]
async fn connections_beyond_the_bound_wait_for_room() {
    let server = start(Config { max_connections: 1, ..Config::default() });
    let viewer = server.watch().await;
    let second = async { server.get("/healthz").await.status };
    let mut second = std::pin::pin!(second);
    server.fake.picture(1, 10);
    // It is connected as far as the kernel goes, and is not answered while the first is there.
    let early = timeout(Duration::from_millis(100), second.as_mut()).await;
    assert!(early.is_err());
    drop(viewer);
    assert_eq!(timeout(LONG, second).await.expect("answered"), 200);
}
