//! A server on a free port with a backend that the test moves, and a client that sees every byte.

// Each test file uses its own part of this. It is test code throughout, which clippy cannot see.
#![allow(dead_code, clippy::unwrap_used)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use framelane_web::api::{Refusal, Snapshot, Stream};
use framelane_web::{Backend, Config, Picture, Pictures, ServeError, serve};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Nothing here should take a fraction of it; it only turns a hang into a failure.
pub(crate) const LONG: Duration = Duration::from_secs(30);

pub(crate) struct Fake {
    pub(crate) latest: watch::Sender<Option<Picture>>,
    pub(crate) skipped: Arc<AtomicU64>,
    pub(crate) viewers: Arc<watch::Sender<usize>>,
    pub(crate) watched: AtomicUsize,
}

struct Viewer(Arc<watch::Sender<usize>>);

impl Drop for Viewer {
    fn drop(&mut self) {
        self.0.send_modify(|viewers| *viewers -= 1);
    }
}

impl Backend for Fake {
    async fn snapshot(&self) -> Snapshot {
        let stream = Stream { id: "door".to_owned(), ..Stream::default() };
        let refusals = vec![Refusal { reason: "revoked".to_owned(), connections: 2 }];
        Snapshot { streams: vec![stream], workers: Vec::new(), refusals }
    }

    async fn queues(&self) -> serde_json::Value {
        serde_json::json!({ "flows": [], "lanes": [] })
    }

    fn watch(&self, id: &str) -> Option<Pictures> {
        if id != "door" {
            return None;
        }
        self.watched.fetch_add(1, Ordering::SeqCst);
        self.viewers.send_modify(|viewers| *viewers += 1);
        Some(Pictures::new(self.latest.subscribe(), self.skipped.clone(), Viewer(self.viewers.clone())))
    }

    fn ready(&self) -> Result<(), String> {
        match self.latest.borrow().is_some() {
            true => Ok(()),
            false => Err("no picture yet".to_owned()),
        }
    }
}

impl Fake {
    pub(crate) fn picture(&self, fill: u8, size: usize) {
        self.latest.send_modify(|latest| {
            let number = latest.as_ref().map_or(0, |latest| latest.number + 1);
            *latest = Some(Picture { number, data: Bytes::from(vec![fill; size]) });
        });
    }

    /// Waits until so many watch.
    pub(crate) async fn viewers(&self, wanted: usize) {
        let mut viewers = self.viewers.subscribe();
        let wait = viewers.wait_for(|viewers| *viewers == wanted);
        tokio::time::timeout(LONG, wait).await.expect("viewers come and go").unwrap();
    }
}

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) fake: Arc<Fake>,
    pub(crate) stop: CancellationToken,
    pub(crate) serving: JoinHandle<Result<(), ServeError>>,
}

pub(crate) fn start(config: Config) -> Server {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let fake = Arc::new(Fake {
        latest: watch::Sender::new(None),
        skipped: Arc::default(),
        viewers: Arc::new(watch::Sender::new(0)),
        watched: AtomicUsize::new(0),
    });
    let stop = CancellationToken::new();
    let serving = tokio::spawn(serve(listener, fake.clone(), config, stop.clone()));
    Server { address, fake, stop, serving }
}

impl Server {
    pub(crate) async fn connect(&self) -> BufReader<TcpStream> {
        BufReader::new(TcpStream::connect(self.address).await.unwrap())
    }

    /// One request on a connection of its own, `lines` being its further header lines.
    pub(crate) async fn ask(&self, method: &str, path: &str, lines: &str) -> Answer {
        let mut connection = self.connect().await;
        send(&mut connection, method, path, lines).await;
        let mut answer = head(&mut connection).await;
        let length = match method {
            "HEAD" => 0,
            _ => answer.header("content-length").map_or(0, |length| length.parse().unwrap()),
        };
        answer.body = vec![0; length];
        connection.read_exact(&mut answer.body).await.unwrap();
        answer
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, "Host: localhost\r\n").await
    }

    /// A viewer of the stream's pictures, past the head of the answer.
    pub(crate) async fn watch(&self) -> BufReader<TcpStream> {
        let mut connection = self.connect().await;
        send(&mut connection, "GET", "/streams/door/mjpeg", "Host: localhost\r\n").await;
        let answer = head(&mut connection).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("content-type"), Some("multipart/x-mixed-replace; boundary=frame"));
        connection
    }
}

pub(crate) async fn send(connection: &mut BufReader<TcpStream>, method: &str, path: &str, lines: &str) {
    let request = format!("{method} {path} HTTP/1.1\r\n{lines}\r\n");
    connection.write_all(request.as_bytes()).await.unwrap();
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let header = self.headers.iter().find(|(header, _)| header == name);
        header.map(|(_, value)| value.as_str())
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        assert_eq!(self.header("content-type"), Some("application/json"), "{self:?}");
        serde_json::from_slice(&self.body).unwrap()
    }

    /// Checks that this is an error of the one form, and gives its word.
    pub(crate) fn error(&self) -> String {
        let problem = self.json();
        assert_eq!(problem["status"], self.status);
        assert!(!problem["message"].as_str().unwrap().is_empty());
        problem["error"].as_str().unwrap().to_owned()
    }
}

pub(crate) async fn head(connection: &mut BufReader<TcpStream>) -> Answer {
    let status = line(connection).await;
    let status = status.split(' ').nth(1).expect("a status line").parse().unwrap();
    let mut headers = Vec::new();
    loop {
        let line = line(connection).await;
        let Some((name, value)) = line.split_once(": ") else {
            return Answer { status, headers, body: Vec::new() };
        };
        headers.push((name.to_ascii_lowercase(), value.to_owned()));
    }
}

async fn line(connection: &mut BufReader<TcpStream>) -> String {
    let mut line = String::new();
    let read = connection.read_line(&mut line);
    tokio::time::timeout(LONG, read).await.expect("an answer").unwrap();
    line.trim_end().to_owned()
}

/// The next chunk of a chunked answer; none at its end, or where the connection was cut.
pub(crate) async fn chunk(connection: &mut BufReader<TcpStream>) -> Option<Vec<u8>> {
    let size = line(connection).await;
    let size = usize::from_str_radix(&size, 16).ok()?;
    let mut chunk = vec![0; size + 2];
    connection.read_exact(&mut chunk).await.ok()?;
    chunk.truncate(size);
    (size > 0).then_some(chunk)
}

/// The next picture, of which only its first byte and its length matter here.
pub(crate) async fn picture(connection: &mut BufReader<TcpStream>) -> Option<(u8, usize)> {
    loop {
        let part = chunk(connection).await?;
        if part.starts_with(b"Content-Type: image/jpeg\r\n") {
            let picture = chunk(connection).await?;
            let head = String::from_utf8(part).unwrap();
            assert!(head.contains(&format!("Content-Length: {}\r\n\r\n", picture.len())));
            // The end of the part comes with it, not with the next picture.
            assert_eq!(chunk(connection).await?, b"\r\n--frame\r\n");
            return Some((picture[0], picture.len()));
        }
    }
}
