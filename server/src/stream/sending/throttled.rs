//! The choice over a real connection, through a relay that lets only so much pass.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use dispatch::Link;
use models::detect::{DetectJob, READS_JPEG};
use picture::{Colour, Letterbox, Picture, Rate, Size};
use queue::{FlowId, Key, LaneId, Seq, TaskName, Ticket};
use tokio::net::UdpSocket;
use tokio::time::{sleep_until, timeout};
use wire::identity::{Authority, Identity, TokenOptions};
use wire::node::{self, Hello, HelloKey};
use wire::server::{Config, HandOut, Listener, Peer};
use wire::{Message, Timings};

use super::Sending;

const SOON: Duration = Duration::from_secs(60);
/// More than a loopback carries.
const WIDE: u64 = u64::MAX;
const THIN: u64 = 1_000_000;

/// Passes datagrams on between one worker and a server, and from the server so many bytes a second. What waits
/// too long in the socket is lost, as in any queue.
async fn relay(server: SocketAddr, bytes_per_s: Arc<AtomicU64>) -> SocketAddr {
    let bind = || UdpSocket::bind(("127.0.0.1", 0));
    let (near, far) = (Arc::new(bind().await.expect("a socket")), Arc::new(bind().await.expect("a socket")));
    far.connect(server).await.expect("connected");
    let address = near.local_addr().expect("an address");
    let worker = Arc::new(std::sync::OnceLock::new());
    let (to_near, from_far, whom) = (Arc::clone(&near), Arc::clone(&far), Arc::clone(&worker));
    tokio::spawn(async move {
        let mut datagram = [0; 65_536];
        let mut free_at = tokio::time::Instant::now();
        while let Ok(len) = from_far.recv(&mut datagram).await {
            let Some(worker) = whom.get() else { continue };
            let rate = bytes_per_s.load(Ordering::Relaxed);
            let takes = Duration::from_secs_f64(len as f64 / rate as f64);
            let now = tokio::time::Instant::now();
            free_at = free_at.max(now) + takes;
            // A timer is no finer; what is saved up here is a burst of some packets.
            if free_at - now > Duration::from_millis(5) {
                sleep_until(free_at).await;
            }
            let _ = to_near.send_to(&datagram[..len], worker).await;
        }
    });
    tokio::spawn(async move {
        let mut datagram = [0; 65_536];
        while let Ok((len, from)) = near.recv_from(&mut datagram).await {
            worker.get_or_init(|| from);
            let _ = far.send(&datagram[..len]).await;
        }
    });
    address
}

/// A picture that a JPEG does not make vanish.
fn picture() -> Picture {
    let size = Size::new(416, 320).expect("a size");
    let data: Vec<u8> = (0..size.i420_len()).map(|n| (n * n / 11 % 64 + n / 1000) as u8).collect();
    Picture::new(Colour::BT601_LIMITED, Letterbox::fit(size, size), Bytes::from(data)).expect("a picture")
}

struct Stream {
    sending: Sending,
    peer: Peer,
    key: Key,
    sent: u64,
    /// Added to now, so that nobody waits for a hold to pass.
    later: Duration,
}

impl Stream {
    /// Sends a picture, and says as what.
    async fn send(&mut self) -> &'static str {
        let (peer, rtt) = (&self.peer, self.peer.rtt());
        let abilities = peer.hello().capabilities.clone().into();
        let link = Link::remote(peer.worker(), LaneId(0), abilities, peer.bytes_per_s(), rtt);
        let encoded = self.sending.encode(picture(), &link, Instant::now() + self.later);
        let name = encoded.name();
        self.sent += 1;
        let ticket = Ticket { flow: FlowId(1), seq: Seq(self.sent), part: 0, attempt: 1 };
        let job = HandOut { ticket, key: self.key.clone(), budget_left: None };
        let message = wire::encode(DetectJob::from(encoded)).expect("a message");
        let answer = timeout(SOON, peer.hand_out(job, message)).await.expect("in time").expect("an answer");
        assert!(answer.result.is_ok());
        name
    }

    /// Sends until they go as this.
    async fn until(&mut self, wanted: &str) {
        for _ in 0..60 {
            if self.send().await == wanted {
                return;
            }
        }
        panic!("never {wanted}; the link carries {:?}", self.peer.bytes_per_s());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_becomes_thin_gets_jpeg_and_i420_when_it_is_wide_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let authority = Authority::load_or_create(folder.path()).expect("an authority");
    let config = Config { capabilities: vec![READS_JPEG.to_owned()], ..Config::default() };
    let local = SocketAddr::from(([127, 0, 0, 1], 0));
    let listener = Listener::bind(local, authority.clone(), config).expect("listening");
    let token = authority.token(TokenOptions::default()).expect("a token");
    let identity = Identity::enrol(&listener.local_addr().to_string(), &token, "w").await.expect("enrolled");

    let speed = Arc::new(AtomicU64::new(WIDE));
    let address = relay(listener.local_addr(), Arc::clone(&speed)).await.to_string();
    let key = Key::task(TaskName::new("detect").expect("a name"));
    let keys = vec![HelloKey { key: key.clone(), warm: true }];
    let hello = Hello { name: "w".into(), keys, credit: 2, capabilities: vec![READS_JPEG.to_owned()] };
    // On one host, bodies would go past the relay.
    let connection = node::Config { shared_memory: false, ..node::Config::default() };
    let (accepted, connected) =
        tokio::join!(listener.accept(), node::connect(&address, &identity, hello, connection));
    let ((peer, _events), (_node, mut jobs)) = (accepted.expect("a worker"), connected.expect("connected"));
    tokio::spawn(async move {
        while let node::Event::Jobs(came) = jobs.next().await {
            for job in came {
                job.reply.send(Ok(Message::default()), Timings::default());
            }
        }
    });

    // Five pictures a second and no budget: one may take 50 ms, so 200 kB want 4 MB/s.
    let sending = Sending::new(&toml::from_str("source = \"test:\"\nbudget_ms = 0").expect("a stream"));
    sending.set_rate(Rate::new(5, 1).expect("a rate"));
    let mut stream = Stream { sending, peer, key, sent: 0, later: Duration::ZERO };
    for _ in 0..10 {
        stream.send().await;
    }
    assert_eq!(stream.send().await, "i420", "{:?} bytes/s", stream.peer.bytes_per_s());

    speed.store(THIN, Ordering::Relaxed);
    stream.until("jpeg").await;
    stream.later += Duration::from_secs(6);
    for _ in 0..5 {
        assert_eq!(stream.send().await, "jpeg", "{:?} bytes/s", stream.peer.bytes_per_s());
    }

    speed.store(WIDE, Ordering::Relaxed);
    stream.until("i420").await;
    let sent = stream.sending.view();
    assert_eq!(sent.len(), 2, "both are told of: {sent:?}");
    assert_eq!(sent.iter().map(|sent| sent.pictures).sum::<u64>(), stream.sent);
    stream.peer.close("done");
    listener.close().await;
}
