//! The page without a server behind it: plays a folder of JPEG files as a stream and makes up the numbers.
//!
//! `cargo run -p framelane-web --example fake -- FOLDER [HOST:PORT]`, then open the address it prints. For
//! work on the page, and the smallest example of a [`web::Backend`].

use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use framelane_web as web;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use web::api::{
    HandOuts, LatencyMs, Ledger, Missing, Size, Snapshot, State, Stream, Viewers, Worker, WorkerKey,
    WorkerKind, WorkerState,
};
use web::{Backend, Picture, Pictures};

const FPS: f64 = 10.0;

struct Fake {
    began: Instant,
    latest: watch::Sender<Option<Picture>>,
}

impl Backend for Fake {
    async fn snapshot(&self) -> Snapshot {
        let decoded = (self.began.elapsed().as_secs_f64() * FPS) as u64 + 48_211;
        let lobby = Stream {
            id: "lobby".to_owned(),
            source: "rtsp://***@192.0.2.7:554/main".to_owned(),
            state: State::Reconnecting,
            reason: Some("192.0.2.7:554 refuses the connection, next try in 4 s".to_owned()),
            ..Stream::default()
        };
        Snapshot {
            streams: vec![self.square(decoded), lobby],
            workers: vec![
                worker("gpu-node-1", WorkerKind::Quic, Some("10.0.4.12:51823"), decoded),
                worker("this process", WorkerKind::Local, None, decoded / 9),
            ],
            refusals: Vec::new(),
        }
    }

    async fn queues(&self) -> serde_json::Value {
        serde_json::json!({ "flows": [], "lanes": [] })
    }

    fn watch(&self, id: &str) -> Option<Pictures> {
        match id {
            "square" => Some(Pictures::new(self.latest.subscribe(), Arc::default(), ())),
            "lobby" => {
                let nothing = watch::Sender::new(None);
                Some(Pictures::new(nothing.subscribe(), Arc::default(), nothing))
            }
            _ => None,
        }
    }

    fn ready(&self) -> Result<(), String> {
        Ok(())
    }
}

impl Fake {
    fn square(&self, decoded: u64) -> Stream {
        let missing = Missing { late: 12, no_lane: 431, ..Missing::default() };
        let ledger = Ledger {
            decoded,
            waiting: 1,
            skipped: 4,
            refused: 0,
            admitted: decoded - 5,
            answered: decoded - 5 - missing.total() - 3,
            not_asked: 0,
            missing,
            held: 3,
        };
        Stream {
            id: "square".to_owned(),
            source: "rtsp://127.0.0.1:41234/vtest".to_owned(),
            model: Some("nanodet".to_owned()),
            size: Some(Size { width: 768, height: 576 }),
            rtsp_url: Some("rtsp://127.0.0.1:8554/square".to_owned()),
            state: State::Running,
            reason: None,
            viewers: Viewers { rtsp: 1, mjpeg: self.latest.receiver_count() as u64, ..Viewers::default() },
            fps: FPS + (decoded % 3) as f64 / 10.0,
            latency_ms: Some(LatencyMs {
                p50: 84.0 + (decoded % 4) as f64,
                p95: 118.0,
                p99: 143.0,
                max: 201.0,
            }),
            sent: Vec::new(),
            ledger,
            hand_outs: HandOuts::default(),
        }
    }
}

fn worker(name: &str, kind: WorkerKind, remote: Option<&str>, answered: u64) -> Worker {
    Worker {
        id: name.len().to_string(),
        name: name.to_owned(),
        kind,
        remote: remote.map(str::to_owned),
        shared_memory: false,
        keys: vec![WorkerKey { task: "detect".to_owned(), model: Some("nanodet".to_owned()), warm: true }],
        credit: 3,
        outstanding: (answered % 4) as u32,
        answered,
        overlong: 0,
        state: WorkerState::Ready,
    }
}

fn pictures(folder: &Path) -> std::io::Result<Vec<Bytes>> {
    let mut paths: Vec<_> =
        std::fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
    paths.retain(|path| path.extension().is_some_and(|ext| ext == "jpg"));
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).map(Bytes::from)).collect()
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let folder = args.next().ok_or("usage: fake FOLDER [HOST:PORT]")?;
    let address = args.next().unwrap_or_else(|| "127.0.0.1:8080".to_owned());
    let pictures = pictures(Path::new(&folder))?;
    let fake = Arc::new(Fake { began: Instant::now(), latest: watch::Sender::new(None) });
    let listener = TcpListener::bind(address)?;
    println!("http://{}/", listener.local_addr()?);

    let player = fake.clone();
    let player = tokio::spawn(async move {
        let mut ticks = tokio::time::interval(Duration::from_secs_f64(1.0 / FPS));
        for picture in pictures.iter().cycle() {
            ticks.tick().await;
            player.latest.send_replace(Some(Picture { number: 0, data: picture.clone() }));
        }
    });
    let stop = CancellationToken::new();
    let signal = stop.clone();
    let signal = tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            signal.cancel();
        }
    });
    web::serve(listener, fake, web::Config::default(), stop).await?;
    signal.abort();
    player.abort();
    Ok(())
}
