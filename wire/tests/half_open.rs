//! Thousands who begin a connection and then say nothing: what they can take of a server is bounded, each is
//! counted, and a worker goes on. In a process of its own, which looks at how much memory it takes.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

mod support;

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use framelane_wire::protocol::ALPN_LANE;
use framelane_wire::server::{Config, Refusal};
use quinn::crypto::rustls::QuicClientConfig;
use quinn_proto::{Connection, DatagramEvent, Endpoint, EndpointConfig};
use support::{Site, echo, hello, job, message, soon};

const KNOCKS: usize = 3000;
/// How many knock before memory is looked at: allocators and tables have then grown to what they need.
const BEFORE: usize = 600;
/// So few at a time that no packet is lost to a full socket.
const TOGETHER: usize = 25;
const ADDRESSES: u8 = 40;
/// What all that come after them may take. One that is kept takes some 50 kB, and so all of them would take
/// five times as much.
const MOST: usize = 24 << 20;

/// Connections that come as far as a stranger can without a certificate, and stay there.
struct Knocking {
    tls: quinn::ClientConfig,
    server: SocketAddr,
    sockets: Vec<UdpSocket>,
}

impl Knocking {
    fn at(server: SocketAddr) -> Self {
        let ring = Arc::new(rustls::crypto::ring::default_provider());
        let mut tls = rustls::ClientConfig::builder_with_provider(ring)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        tls.alpn_protocols = vec![ALPN_LANE.to_vec()];
        let sockets = (1..=ADDRESSES).map(|last| {
            let socket = UdpSocket::bind((IpAddr::from(Ipv4Addr::new(127, 0, 1, last)), 0)).unwrap();
            socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
            socket
        });
        let tls = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
        Self { tls, server, sockets: sockets.collect() }
    }

    /// Several knock from one address, and show that it is theirs if they are asked to. Whatever the server
    /// then says is not looked at. Gives how many it said something to.
    fn knock(&self, round: usize) -> usize {
        let socket = &self.sockets[round % self.sockets.len()];
        let mut endpoint = Endpoint::new(Arc::new(EndpointConfig::default()), None, false, None);
        let mut open: HashMap<_, Connection> = (0..TOGETHER)
            .map(|_| endpoint.connect(Instant::now(), self.tls.clone(), self.server, "a.server").unwrap())
            .collect();
        open.values_mut().for_each(|connection| self.send(socket, connection));
        let mut datagram = [0; 2000];
        while !open.is_empty() {
            // One that was lost is not sent again: the server must not need to be told twice.
            let Ok(len) = socket.recv(&mut datagram) else { break };
            let data = BytesMut::from(&datagram[..len]);
            let event = endpoint.handle(Instant::now(), self.server, None, None, data, &mut Vec::new());
            let Some(DatagramEvent::ConnectionEvent(which, event)) = event else { continue };
            let asks_for_address = datagram[0] & 0xf0 == 0xf0;
            match open.get_mut(&which) {
                Some(connection) if asks_for_address => {
                    connection.handle_event(event);
                    self.send(socket, connection);
                }
                _ => drop(open.remove(&which)),
            }
        }
        TOGETHER - open.len()
    }

    fn send(&self, socket: &UdpSocket, connection: &mut Connection) {
        let mut datagram = Vec::new();
        let _ = connection.poll_transmit(Instant::now(), 1, &mut datagram).unwrap();
        socket.send_to(&datagram, self.server).unwrap();
    }
}

/// The memory of this process that lies in RAM, in bytes.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<usize>().unwrap() << 10
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_half_open_connections_take_bounded_memory_and_a_worker_goes_on() {
    let site = Site::new(Config { greeting: Duration::from_secs(2), ..Config::default() });
    let identity = site.enrol().await;
    let (peer, _events, _node, jobs) = site.join(&identity, hello(4)).await;
    let echo = tokio::spawn(echo(jobs));
    let knocking = Knocking::at(site.listener.local_addr());
    let seen = Arc::new(AtomicUsize::new(0));
    let flood = tokio::task::spawn_blocking({
        let seen = Arc::clone(&seen);
        move || {
            for round in 0..KNOCKS / TOGETHER {
                seen.fetch_add(knocking.knock(round), Ordering::Relaxed);
            }
        }
    });
    let (mut done, mut before, mut most) = (0, 0, 0);
    while !flood.is_finished() {
        let sent = message("job", 100_000);
        let answer = soon(peer.hand_out(job(done), sent.clone())).await.unwrap();
        assert_eq!(answer.result, Ok(sent));
        done += 1;
        if seen.load(Ordering::Relaxed) < BEFORE {
            before = resident();
        }
        most = most.max(resident());
    }
    flood.await.unwrap();
    assert!(!echo.is_finished() && done >= 20, "{done} jobs were done meanwhile");
    let (seen, grown) = (seen.load(Ordering::Relaxed), most.saturating_sub(before));
    println!("{seen} knocked, {done} jobs, {grown} bytes more than {before}");
    assert!(seen >= KNOCKS * 9 / 10, "the server said nothing to {} of {KNOCKS}", KNOCKS - seen);
    assert!(grown <= MOST, "{grown} bytes more than after the first {BEFORE}");
    // Each is counted: those that found no room, or gave it up to another, and the last of them as slow.
    let refusals = || {
        let refusals = site.listener.refusals();
        [Refusal::Crowded, Refusal::Slow].map(|refusal| refusals.of(refusal) as usize)
    };
    soon(async {
        while refusals().iter().sum::<usize>() < seen {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let [crowded, slow] = refusals();
    println!("crowded {crowded}, slow {slow}");
    assert!(crowded > slow && slow > 0 && crowded + slow <= KNOCKS, "crowded {crowded}, slow {slow}");
    assert_eq!(site.listener.refusals().total() as usize, crowded + slow);
}
