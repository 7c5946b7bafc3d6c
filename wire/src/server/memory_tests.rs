//! Shared memory between peers that do not keep to the protocol.

use quinn::{Connection, Endpoint, RecvStream, SendStream};

use super::tests::{LOOPBACK, Site, code, frame, hasty, job, site, soon};
use super::{Event, HandOut, HandOutError, Refusal};
use crate::close::{Closed, Code};
use crate::framing::{Limits, encode_cbor};
use crate::memory::{self, PAGE, Window};
use crate::protocol::{
    ALPN_LANE, Control, Hello, JobHead, MemoryOffer, Place, SHARED_MEMORY, Taken, Welcome,
};
use crate::stream::{FrameReader, write};
use crate::{Message, node, tls, transport};
use bytes::Bytes;

/// A worker that has been offered memory, up to there.
struct Offered {
    _endpoint: Endpoint,
    connection: Connection,
    send: SendStream,
    _reader: FrameReader,
    offer: MemoryOffer,
}

async fn offered(site: &Site) -> Offered {
    let (endpoint, connection) = site.dial(site.identity().await.tls(ALPN_LANE).unwrap()).await;
    let (mut send, recv) = connection.open_bi().await.unwrap();
    let capabilities = vec![SHARED_MEMORY.to_owned()];
    let hello = Hello { name: "rogue".into(), keys: vec![], credit: 4, capabilities };
    write(&mut send, &hello, Bytes::new(), Limits::NO_BODY).await.unwrap();
    let mut reader = FrameReader::new(recv);
    let (welcome, _) = soon(reader.read::<Welcome>(Limits::NO_BODY)).await.unwrap().unwrap();
    assert_eq!(welcome.capabilities, [SHARED_MEMORY]);
    Offered { _endpoint: endpoint, connection, send, _reader: reader, offer: welcome.memory.unwrap() }
}

async fn say(send: &mut SendStream, memory: bool) {
    write(send, &Taken { memory }, Bytes::new(), Limits::NO_BODY).await.unwrap();
}

#[tokio::test]
async fn a_worker_that_has_what_it_was_not_given_is_turned_away() {
    let site = site();
    let mut worker = offered(&site).await;
    say(&mut worker.send, true).await;
    assert_eq!(code(&worker.connection).await, Code::Violation.varint());
}

#[tokio::test]
async fn a_worker_that_does_not_say_whether_it_has_it_is_let_go() {
    let site = hasty();
    let worker = offered(&site).await;
    assert_eq!(code(&worker.connection).await, Code::NoHello.varint());
    assert!(memory::accept(&worker.offer).await.is_err(), "the offer is withdrawn");
}

#[tokio::test]
async fn who_comes_without_the_secret_is_counted_and_the_worker_has_its_memory_all_the_same() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let site = site();
    let mut worker = offered(&site).await;
    for n in 1..=3 {
        let socket = format!("\0{}", worker.offer.socket);
        let mut stranger = soon(tokio::net::UnixStream::connect(socket)).await.unwrap();
        // Right but for the first byte.
        let mut shown = worker.offer.secret.to_vec();
        shown[0] ^= 1;
        stranger.write_all(&shown).await.unwrap();
        assert_eq!(soon(stranger.read(&mut [0])).await.unwrap(), 0);
        site.counted(Refusal::SharedMemory, n).await;
    }
    soon(memory::accept(&worker.offer)).await.unwrap();
    say(&mut worker.send, true).await;
    let (peer, _events) = soon(site.listener.accept()).await.unwrap();
    assert!(peer.shares_memory());
    assert_eq!(site.listener.refusals().total(), 3, "and nothing else was");
}

/// A body that is there.
fn whole(window: &Window, place: Option<Place>) -> Bytes {
    let mut taking = window.begin(place.unwrap()).unwrap();
    assert!(window.take(&mut taking).unwrap());
    taking.body()
}

#[tokio::test]
async fn a_body_for_an_idle_worker_is_announced_before_it_is_laid() {
    let site = site();
    let mut worker = offered(&site).await;
    let window: Window = soon(memory::accept(&worker.offer)).await.unwrap();
    say(&mut worker.send, true).await;
    let (peer, _events) = soon(site.listener.accept()).await.unwrap();
    let body = Bytes::from((0..1_200_000u32).map(|n| n as u8).collect::<Vec<_>>());
    let message = Message { head: Bytes::from_static(b"\xf6"), body: body.clone() };
    let (mut held, mut outstanding) = (Vec::new(), Vec::new());
    for n in 1..=2 {
        outstanding.push(tokio::spawn(peer.hand_out(job(n), message.clone())));
        let (send, recv) = soon(worker.connection.accept_bi()).await.unwrap();
        let mut reader = FrameReader::new(recv);
        let (head, on_stream) = soon(reader.read::<JobHead>(Limits::default())).await.unwrap().unwrap();
        assert!(on_stream.is_empty());
        // The second one would have to wait for the first anyway.
        assert_eq!(head.place.unwrap().laid.is_some(), n == 1);
        assert!(soon(reader.ends()).await.unwrap());
        assert_eq!(whole(&window, head.place), body);
        held.push((send, reader));
    }
    outstanding.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn a_body_stays_in_memory_until_its_ticket_is_over() {
    let site = site();
    let mut worker = offered(&site).await;
    let window: Window = soon(memory::accept(&worker.offer)).await.unwrap();
    say(&mut worker.send, true).await;
    let (peer, mut events) = soon(site.listener.accept()).await.unwrap();
    let used = || peer.0.memory.upgrade().unwrap().used();
    let body = Bytes::from((0..200_000u32).map(|n| n as u8).collect::<Vec<_>>());
    let pending = tokio::spawn(
        peer.hand_out(job(1), Message { head: Bytes::from_static(b"\xf6"), body: body.clone() }),
    );
    let (_send, recv) = soon(worker.connection.accept_bi()).await.unwrap();
    let (head, on_stream) =
        soon(FrameReader::new(recv).read::<JobHead>(Limits::default())).await.unwrap().unwrap();
    assert!(on_stream.is_empty());
    assert_eq!(whole(&window, head.place), body);
    assert_eq!(used(), 1);
    peer.cancel(job(1).ticket);
    assert_eq!(soon(pending).await.unwrap(), Err(HandOutError::Cancelled));
    assert_eq!(used(), 1, "the worker may be reading it");
    let released = Control::Released { ticket: job(1).ticket };
    write(&mut worker.send, &released, Bytes::new(), Limits::NO_BODY).await.unwrap();
    assert_eq!(soon(events.next()).await, Event::Released(job(1).ticket));
    assert_eq!(used(), 0);
    // A short body travels with its head.
    let _pending =
        tokio::spawn(peer.hand_out(job(2), Message { body: body.slice(..100), ..Message::default() }));
    let (_send, recv) = soon(worker.connection.accept_bi()).await.unwrap();
    let (head, on_stream) =
        soon(FrameReader::new(recv).read::<JobHead>(Limits::default())).await.unwrap().unwrap();
    assert_eq!((head.place, on_stream.len(), used()), (None, 100, 0));
}

/// A server that greets one worker as a test wants: with an offer of `size` bytes, or none.
async fn greeted(site: &Site, offer: Option<MemoryOffer>) -> (Endpoint, Rogue) {
    let leaf = site.authority.server_leaf().unwrap();
    let shown = tls::Shown::new(leaf.chain, leaf.key).unwrap();
    let server = tls::server(shown, site.authority.certificate(), &[ALPN_LANE]).unwrap();
    let server = quinn::ServerConfig::with_crypto(std::sync::Arc::new(server));
    let endpoint = transport::endpoint(LOOPBACK, Some(server), None).unwrap();
    (endpoint.clone(), Rogue { endpoint, offer })
}

struct Rogue {
    endpoint: Endpoint,
    offer: Option<MemoryOffer>,
}

impl Rogue {
    async fn greet(self) -> (Connection, SendStream, RecvStream) {
        let connection = soon(self.endpoint.accept()).await.unwrap().await.unwrap();
        let (mut send, recv) = soon(connection.accept_bi()).await.unwrap();
        let welcome = Welcome {
            worker: 1,
            max_credit: 4,
            heartbeat_ms: 1000,
            dead_after_ms: 20_000,
            capabilities: vec![],
            memory: self.offer,
        };
        write(&mut send, &welcome, Bytes::new(), Limits::NO_BODY).await.unwrap();
        (connection, send, recv)
    }
}

fn hello() -> Hello {
    Hello { name: "w".into(), keys: vec![], credit: 4, capabilities: vec![] }
}

#[tokio::test]
async fn a_worker_ends_the_connection_over_a_file_that_was_not_offered() {
    let site = site();
    // A good file of another size than was announced, and an offer that was not asked for.
    for asked in [true, false] {
        let real = memory::Offer::new(4 * PAGE).unwrap();
        let offer = MemoryOffer { size: 8 * PAGE, ..real.told() };
        let handing = tokio::spawn(async move { real.hand_over(|_| ()).await });
        let (endpoint, rogue) = greeted(&site, Some(offer)).await;
        let addr = endpoint.local_addr().unwrap().to_string();
        let server = tokio::spawn(rogue.greet());
        let config = node::Config { shared_memory: asked, ..node::Config::default() };
        let refused = soon(node::connect(&addr, &site.identity().await, hello(), config)).await;
        assert!(matches!(refused, Err(node::ConnectError::Greeting { .. })), "{refused:?}");
        assert_eq!(code(&server.await.unwrap().0).await, Code::Violation.varint());
        handing.abort();
    }
}

/// Not about memory that is shared, but the server is the same.
#[tokio::test]
async fn a_worker_ends_the_connection_over_long_jobs_that_do_not_end() {
    const LONG: u32 = 60 << 20;
    let site = site();
    let (endpoint, rogue) = greeted(&site, None).await;
    let addr = endpoint.local_addr().unwrap().to_string();
    let server = tokio::spawn(rogue.greet());
    let config = node::Config::default();
    let (node, mut jobs) = soon(node::connect(&addr, &site.identity().await, hello(), config)).await.unwrap();
    let (connection, _send, _recv) = server.await.unwrap();
    let mut open = Vec::new();
    for n in 1..=7 {
        let HandOut { ticket, key, .. } = job(n);
        let head = JobHead { ticket, key: Some(key), budget_left_us: None, job: Bytes::new(), place: None };
        let head = encode_cbor(&head, Limits::HEAD).unwrap();
        let (mut send, recv) = connection.open_bi().await.unwrap();
        frame(&mut send, [head.len() as u32, LONG], &[&head[..], &[0; 1000]].concat()).await;
        open.push((send, recv));
        if n < 7 {
            soon(async {
                while node.held() < n as usize {
                    tokio::task::yield_now().await;
                }
            })
            .await;
        }
    }
    let closed = soon(jobs.next()).await;
    assert!(
        matches!(&closed, node::Event::Closed(Closed::Violation(why)) if why.contains("long bodies")),
        "{closed:?}"
    );
    assert_eq!(code(&connection).await, Code::Violation.varint());
}

#[tokio::test]
async fn a_worker_ends_the_connection_over_a_place_that_is_none() {
    let site = site();
    let size = 16 * PAGE;
    let place = |at, len| Some(Place { at, len, laid: None });
    let early = |len, laid| Some(Place { at: 0, len, laid: Some(laid) });
    for (shares, place, body) in [
        (false, place(0, 20_000), 0),
        (true, place(size, 1), 0),
        (true, place(size - 1, 2), 0),
        (true, place(u64::MAX, u32::MAX), 0),
        (true, place(u64::MAX, 1), 0),
        (true, place(0, 20_000), 1),
        (true, early(20_000, size), 0),
        (true, early(20_000, size - 3), 0),
        (true, early(20_000, 20_002), 0),
        (true, early(20_000, u64::MAX), 0),
        // So short a body is laid first.
        (true, early(10_000, 10_000), 0),
    ] {
        let real = memory::Offer::new(size).unwrap();
        let offer = shares.then(|| real.told());
        let handing = tokio::spawn(async move { real.hand_over(|_| ()).await.map(|()| real) });
        let (endpoint, rogue) = greeted(&site, offer).await;
        let addr = endpoint.local_addr().unwrap().to_string();
        let server = tokio::spawn(rogue.greet());
        let mut config = node::Config::default();
        // So that a length of 4 GiB is no matter of the limit.
        config.limits.body = u32::MAX as usize;
        let connected = soon(node::connect(&addr, &site.identity().await, hello(), config)).await;
        let (node, mut jobs) = connected.unwrap();
        assert_eq!(node.shares_memory(), shares);
        let (connection, _send, _recv) = server.await.unwrap();
        let job = job(1);
        let head = JobHead {
            ticket: job.ticket,
            key: Some(job.key),
            budget_left_us: None,
            job: Bytes::from_static(b"\xf6"),
            place,
        };
        let (mut send, _answers) = connection.open_bi().await.unwrap();
        write(&mut send, &head, Bytes::from(vec![0; body]), Limits::default()).await.unwrap();
        let _ = send.finish();
        let closed = soon(jobs.next()).await;
        assert!(matches!(closed, node::Event::Closed(Closed::Violation(_))), "{place:?}: {closed:?}");
        assert_eq!(code(&connection).await, Code::Violation.varint());
        handing.abort();
    }
}

/// A worker, and a server that shares memory with it and speaks the protocol by hand.
struct ByHand {
    _endpoint: Endpoint,
    connection: Connection,
    control: SendStream,
    controls: FrameReader,
    arena: std::sync::Arc<memory::Arena>,
    node: node::Node,
    jobs: node::Jobs,
    streams: Vec<(SendStream, RecvStream)>,
}

impl ByHand {
    async fn share(site: &Site, size: u64) -> ByHand {
        let real = memory::Offer::new(size).unwrap();
        let offer = real.told();
        let handing = tokio::spawn(async move { real.hand_over(|_| ()).await.map(|()| real.arena()) });
        let (endpoint, rogue) = greeted(site, Some(offer)).await;
        let addr = endpoint.local_addr().unwrap().to_string();
        let server = tokio::spawn(rogue.greet());
        let config = node::Config::default();
        let (node, jobs) = soon(node::connect(&addr, &site.identity().await, hello(), config)).await.unwrap();
        let (connection, control, recv) = server.await.unwrap();
        let arena = handing.await.unwrap().unwrap();
        let mut controls = FrameReader::new(recv);
        soon(controls.read::<Hello>(Limits::NO_BODY)).await.unwrap().unwrap();
        assert!(soon(controls.read::<Taken>(Limits::NO_BODY)).await.unwrap().unwrap().0.memory);
        ByHand { _endpoint: endpoint, connection, control, controls, arena, node, jobs, streams: Vec::new() }
    }

    /// Sends a job's head, on a stream of its own or on the last one.
    async fn head(&mut self, n: u64, place: Option<Place>, new: bool) {
        let HandOut { ticket, key, .. } = job(n);
        let head = JobHead { ticket, key: Some(key), budget_left_us: None, job: Bytes::new(), place };
        if new {
            self.streams.push(self.connection.open_bi().await.unwrap());
        }
        let (send, _) = self.streams.last_mut().unwrap();
        write(send, &head, Bytes::new(), Limits::default()).await.unwrap();
    }

    async fn until(&self, done: impl Fn(&node::Node) -> bool) {
        soon(async {
            while !done(&self.node) {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    async fn violated(mut self, what: &str) {
        let closed = soon(self.jobs.next()).await;
        assert!(
            matches!(&closed, node::Event::Closed(Closed::Violation(why)) if why.contains(what)),
            "{closed:?}"
        );
        assert_eq!(code(&self.connection).await, Code::Violation.varint());
    }
}

#[tokio::test]
async fn a_body_that_is_never_laid_is_let_go_with_its_ticket() {
    let site = site();
    let mut server = ByHand::share(&site, 1024 * PAGE).await;
    let lease = server.arena.begin(1_200_000).unwrap();
    server.head(1, Some(lease.place()), true).await;
    server.until(|node| node.held() == 1 && node.reading() == 1_200_000).await;
    let ticket = job(1).ticket;
    write(&mut server.control, &Control::Cancel { ticket }, Bytes::new(), Limits::NO_BODY).await.unwrap();
    server.streams[0].0.reset(crate::close::CANCELLED).unwrap();
    while soon(server.controls.read::<Control>(Limits::NO_BODY)).await.unwrap().unwrap().0
        != (Control::Released { ticket })
    {}
    server.until(|node| node.held() == 0 && node.reading() == 0).await;
    // One whose stream ends though it is not laid, as if another had taken its place after a cancel.
    server.head(2, Some(lease.place()), true).await;
    server.streams[1].0.finish().unwrap();
    assert!(soon(server.streams[1].1.read_chunk(1, true)).await.is_err(), "it has no answer");
    server.until(|node| node.held() == 0 && node.reading() == 0).await;
    // And all is as before.
    server.head(3, Some(lease.place()), true).await;
    lease.fill(&[3; 1_200_000]);
    server.streams[2].0.finish().unwrap();
    let node::Event::Jobs(jobs) = soon(server.jobs.next()).await else { panic!("no job") };
    assert!(jobs[0].message.body.len() == 1_200_000 && jobs[0].message.body.iter().all(|b| *b == 3));
}

#[tokio::test]
async fn a_job_whose_body_is_in_memory_is_alone_on_its_stream() {
    for laid in [false, true] {
        for first in [false, true] {
            let site = site();
            let mut server = ByHand::share(&site, 1024 * PAGE).await;
            let lease = match laid {
                true => server.arena.lay(&vec![1; 1_200_000]).unwrap(),
                false => server.arena.begin(1_200_000).unwrap(),
            };
            let place = Some(lease.place());
            server.head(1, if first { place } else { None }, true).await;
            server.until(|node| node.held() == 1).await;
            server.head(2, if first { None } else { place }, false).await;
            let jobs = &mut server.jobs;
            if !first || laid {
                assert!(matches!(soon(jobs.next()).await, node::Event::Jobs(_)));
            }
            server.violated(if first && !laid { "not laid yet" } else { "on one stream with" }).await;
        }
    }
}

#[tokio::test]
async fn a_worker_ends_the_connection_over_long_bodies_that_are_never_laid() {
    const LONG: u32 = 60 << 20;
    let site = site();
    let mut server = ByHand::share(&site, u64::from(LONG) + PAGE).await;
    for n in 1..=7 {
        // Each in the same place: it takes the worker's memory, and none of the server's.
        server.head(n, Some(Place { at: 0, len: LONG, laid: Some(LONG.into()) }), true).await;
        if n < 7 {
            server.until(|node| node.held() == n as usize).await;
        }
    }
    server.violated("long bodies").await;
}
