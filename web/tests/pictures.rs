//! Live pictures: what viewers get, what slow ones don't, and when pictures are made at all.

mod support;

use std::sync::atomic::Ordering;
use std::time::Duration;

use framelane_web::Config;
use support::{LONG, head, picture, send, start};
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

#[tokio::test]
async fn a_viewer_gets_the_latest_picture_and_then_each_new_one() {
    let server = start(Config::default());
    server.fake.picture(1, 100);
    let mut viewer = server.watch().await;
    assert_eq!(picture(&mut viewer).await, Some((1, 100)));
    for fill in 2..10 {
        server.fake.picture(fill, 200);
        assert_eq!(picture(&mut viewer).await, Some((fill, 200)));
    }
}

#[tokio::test]
async fn a_viewer_that_leaves_is_noticed_although_no_picture_comes() {
    let server = start(Config::default());
    let viewer = server.watch().await;
    let second = server.watch().await;
    server.fake.viewers(2).await;
    drop(viewer);
    server.fake.viewers(1).await;
    drop(second);
    server.fake.viewers(0).await;
}

#[tokio::test]
async fn nobody_watches_until_pictures_are_asked_for() {
    let server = start(Config::default());
    for path in ["/", "/api/v1/streams", "/api/v1/streams/door", "/metrics"] {
        server.get(path).await;
    }
    assert_eq!(server.fake.watched.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_slow_viewer_skips_pictures_and_holds_up_nobody() {
    const PICTURES: u32 = 400;
    const SIZE: usize = 200_000;
    let server = start(Config::default());
    let mut slow = server.watch().await;
    let mut quick = server.watch().await;
    server.fake.viewers(2).await;
    // The slow one reads nothing meanwhile; the quick one gets every picture.
    for n in 0..PICTURES {
        server.fake.picture(n as u8, SIZE);
        assert_eq!(picture(&mut quick).await, Some((n as u8, SIZE)));
    }
    server.fake.picture(255, 10);

    let mut got = 0;
    while let Some((fill, size)) = timeout(LONG, picture(&mut slow)).await.unwrap() {
        got += 1;
        if (fill, size) == (255, 10) {
            break;
        }
    }
    // What it got of the past is what fits into the sockets' buffers, which is no part of ours to bound
    // on the receiving side; the rest it skipped.
    assert!(got < PICTURES / 2, "{got} of {PICTURES}");
    let skipped = server.fake.skipped.load(std::sync::atomic::Ordering::Relaxed);
    // All but what it may have come too late for at the start.
    assert!(skipped <= u64::from(PICTURES + 1 - got), "{skipped}, and {got} came");
    assert!(skipped > u64::from(PICTURES / 2), "{skipped}");
}

#[tokio::test]
async fn a_viewer_that_reads_nothing_is_given_up() {
    let server = start(Config { stall_timeout: Duration::from_millis(200), ..Config::default() });
    let viewer = server.watch().await;
    server.fake.viewers(1).await;
    // More than any socket's buffers hold, in one picture.
    server.fake.picture(1, 64 * 1024 * 1024);
    server.fake.viewers(0).await;
    drop(viewer);
}

#[tokio::test]
async fn a_viewer_too_many_is_told_so() {
    let server = start(Config { max_viewers: 1, ..Config::default() });
    let viewer = server.watch().await;
    for path in ["/streams/door/mjpeg", "/streams/door/snapshot.jpg"] {
        let refused = server.get(path).await;
        assert_eq!((refused.status, refused.error().as_str()), (503, "too_many_viewers"));
        assert!(refused.header("retry-after").is_some());
    }
    drop(viewer);
    server.fake.viewers(0).await;
    server.fake.picture(3, 5);
    assert_eq!(server.get("/streams/door/snapshot.jpg").await.status, 200);
}

#[tokio::test]
async fn a_snapshot_is_the_next_picture() {
    let server = start(Config::default());
    let mut connection = server.connect().await;
    send(&mut connection, "GET", "/streams/door/snapshot.jpg", "Host: localhost\r\n").await;
    server.fake.viewers(1).await;
    server.fake.picture(7, 1234);
    let answer = head(&mut connection).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), Some("image/jpeg"));
    let mut body = vec![0; 1234];
    connection.read_exact(&mut body).await.unwrap();
    assert_eq!(body, [7; 1234]);
    server.fake.viewers(0).await;
}

#[tokio::test]
async fn a_snapshot_of_a_stream_without_pictures_ends() {
    let server = start(Config { snapshot_timeout: Duration::from_millis(50), ..Config::default() });
    let answer = server.get("/streams/door/snapshot.jpg").await;
    assert_eq!((answer.status, answer.error().as_str()), (503, "no_picture"));
}
