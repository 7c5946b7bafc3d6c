//! Peers that do not keep to the protocol: none may harm the server, each is let go in bounded time.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{Connection, ConnectionError, Endpoint, RecvStream, SendStream, VarInt};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::{Config, Event, Events, HandOut, HandOutError, Listener, Peer, Refusal};
use crate::close::{Closed, Code};
use crate::framing::Limits;
use crate::identity::{Authority, Identity, TokenOptions};
use crate::protocol::{ALPN_LANE, AnswerHead, AnswerResult, Control, Hello, JobHead, Welcome};
use crate::stream::{FrameReader, write};
use crate::tls::{self, SERVER_NAME};
use crate::{Message, Timings, Unprocessed, transport};

pub(super) const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

pub(super) async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("nothing came within 20 s")
}

pub(super) struct Site {
    _dir: tempfile::TempDir,
    pub(super) authority: Authority,
    pub(super) listener: Listener,
    pub(super) config: Config,
}

pub(super) fn site() -> Site {
    site_with(Config::default())
}

/// Where strangers have little time.
pub(super) fn hasty() -> Site {
    site_with(Config { greeting: Duration::from_secs(1), ..Config::default() })
}

pub(super) fn site_with(config: Config) -> Site {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::load_or_create(dir.path()).unwrap();
    let listener = Listener::bind(LOOPBACK, authority.clone(), config.clone()).unwrap();
    Site { _dir: dir, authority, listener, config }
}

impl Site {
    /// Waits until so many were refused for this reason; the peer knows a little sooner than the counter.
    pub(super) async fn counted(&self, refusal: Refusal, n: u64) {
        soon(async {
            while self.listener.refusals().of(refusal) < n {
                tokio::task::yield_now().await;
            }
        })
        .await;
        assert_eq!(self.listener.refusals().of(refusal), n);
    }

    pub(super) async fn identity(&self) -> Identity {
        let token = self.authority.token(TokenOptions::default()).unwrap();
        soon(Identity::enrol(&self.listener.local_addr().to_string(), &token, "w")).await.unwrap()
    }

    /// Past TLS, and no further. Keeps the endpoint alive.
    pub(super) async fn dial(&self, tls: QuicClientConfig) -> (Endpoint, Connection) {
        soon(self.try_dial(tls)).await.unwrap()
    }

    pub(super) async fn try_dial(
        &self,
        tls: QuicClientConfig,
    ) -> Result<(Endpoint, Connection), ConnectionError> {
        let mut config = quinn::ClientConfig::new(Arc::new(tls));
        config.transport_config(transport::config(self.config.windows, 100, 100, Duration::from_secs(30)));
        let endpoint = transport::endpoint(LOOPBACK, None, None).unwrap();
        let connecting = endpoint.connect_with(config, self.listener.local_addr(), SERVER_NAME).unwrap();
        Ok((endpoint.clone(), connecting.await?))
    }

    /// A worker that was greeted and now does what a test wants.
    pub(super) async fn rogue(&self) -> Rogue {
        let identity = self.identity().await;
        let (endpoint, connection) = self.dial(identity.tls(ALPN_LANE).unwrap()).await;
        let (mut send, recv) = connection.open_bi().await.unwrap();
        let hello = Hello { name: "rogue".into(), keys: vec![], credit: 4, capabilities: vec![] };
        write(&mut send, &hello, Bytes::new(), Limits::NO_BODY).await.unwrap();
        let mut reader = FrameReader::new(recv);
        soon(reader.read::<Welcome>(Limits::NO_BODY)).await.unwrap().unwrap();
        let (peer, events) = soon(self.listener.accept()).await.unwrap();
        Rogue { _endpoint: endpoint, connection, send, _reader: reader, peer, events }
    }
}

pub(super) struct Rogue {
    pub(super) _endpoint: Endpoint,
    pub(super) connection: Connection,
    pub(super) send: SendStream,
    _reader: FrameReader,
    pub(super) peer: Peer,
    pub(super) events: Events,
}

impl Rogue {
    pub(super) async fn closed(&mut self) -> Closed {
        loop {
            match soon(self.events.next()).await {
                Event::Closed(closed) => return closed,
                Event::Silent | Event::Heard => {}
                other => panic!("{other:?}"),
            }
        }
    }

    pub(super) async fn stream(&self) -> (SendStream, RecvStream) {
        soon(self.connection.accept_bi()).await.unwrap()
    }
}

/// The code with which the server ended the connection.
pub(super) async fn code(connection: &Connection) -> VarInt {
    match soon(connection.closed()).await {
        ConnectionError::ApplicationClosed(close) => close.error_code,
        other => panic!("closed otherwise: {other}"),
    }
}

pub(super) async fn frame(stream: &mut SendStream, lengths: [u32; 2], content: &[u8]) {
    let prefix = lengths.map(u32::to_be_bytes).concat();
    stream.write_all(&prefix).await.unwrap();
    stream.write_all(content).await.unwrap();
}

pub(super) fn job(seq: u64) -> HandOut {
    let key = queue::Key::task(queue::TaskName::new("t").unwrap());
    let ticket = queue::Ticket { flow: queue::FlowId(0), seq: queue::Seq(seq), part: 0, attempt: 1 };
    HandOut { ticket, key, budget_left: None }
}

#[tokio::test]
async fn a_worker_without_a_certificate_is_turned_away() {
    let site = site();
    let mut tls =
        rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates({
                let mut roots = rustls::RootCertStore::empty();
                roots.add(site.authority.certificate().clone()).unwrap();
                roots
            })
            .with_no_client_auth();
    tls.alpn_protocols = vec![ALPN_LANE.to_vec()];
    let (_endpoint, connection) = site.dial(QuicClientConfig::try_from(tls).unwrap()).await;
    assert_eq!(code(&connection).await, Code::NoCertificate.varint());
    site.counted(Refusal::NoCertificate, 1).await;
}

#[tokio::test]
async fn a_certificate_of_a_foreign_authority_is_refused() {
    let (site, foreign) = (site(), self::site());
    let identity = foreign.identity().await;
    // It trusts this server, and shows what another authority signed.
    let (chain, key) = identity.shown();
    let tls = tls::worker(chain, key, site.authority.certificate(), ALPN_LANE).unwrap();
    let (_endpoint, connection) = site.dial(tls).await;
    match soon(connection.closed()).await {
        ConnectionError::ConnectionClosed(close) => {
            let alert = crate::node::dial::alert_of(close.error_code);
            assert_eq!(alert, Some(crate::node::dial::alert::UNKNOWN_CA));
        }
        other => panic!("closed otherwise: {other}"),
    }
    site.counted(Refusal::BadCertificate, 1).await;
}

#[tokio::test]
async fn a_servers_certificate_is_no_workers() {
    let site = site();
    let leaf = site.authority.server_leaf().unwrap();
    let tls = tls::worker(leaf.chain, leaf.key, site.authority.certificate(), ALPN_LANE).unwrap();
    let (_endpoint, connection) = site.dial(tls).await;
    let closed = soon(connection.closed()).await;
    assert!(matches!(closed, ConnectionError::ConnectionClosed(_)), "{closed}");
    site.counted(Refusal::BadCertificate, 1).await;
}

#[tokio::test]
async fn a_workers_certificate_is_no_servers() {
    let site = site();
    let identity = site.identity().await;
    let (chain, key): (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) = identity.shown();
    let shown = tls::Shown::new(chain, key).unwrap();
    let server = tls::server(shown, site.authority.certificate(), &[ALPN_LANE]).unwrap();
    let server = quinn::ServerConfig::with_crypto(Arc::new(server));
    let fake = transport::endpoint(LOOPBACK, Some(server), None).unwrap();
    let addr = fake.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Some(incoming) = fake.accept().await {
            let _ = incoming.await;
        }
    });
    let hello = Hello { name: "w".into(), keys: vec![], credit: 1, capabilities: vec![] };
    let refused = soon(crate::node::connect(&addr, &identity, hello, Default::default())).await;
    assert!(matches!(refused, Err(crate::node::ConnectError::Dial(_))), "{refused:?}");
}

#[tokio::test]
async fn a_worker_that_never_greets_is_let_go() {
    let site = hasty();
    let identity = site.identity().await;
    let (_endpoint, silent) = site.dial(identity.tls(ALPN_LANE).unwrap()).await;
    assert_eq!(code(&silent).await, Code::NoHello.varint());
    // One that begins and stays half way.
    let (_endpoint, slow) = site.dial(identity.tls(ALPN_LANE).unwrap()).await;
    let (mut send, _recv) = slow.open_bi().await.unwrap();
    frame(&mut send, [100, 0], b"ten bytes.").await;
    assert_eq!(code(&slow).await, Code::NoHello.varint());
    site.counted(Refusal::Slow, 2).await;
}

#[tokio::test]
async fn an_enrolment_that_never_asks_is_let_go() {
    let site = hasty();
    let tls = tls::enrolling(site.authority.fingerprint()).unwrap();
    let (_endpoint, silent) = site.dial(tls).await;
    assert_eq!(code(&silent).await, Code::NoHello.varint());
    site.counted(Refusal::Slow, 1).await;
}

#[tokio::test]
async fn a_full_server_says_so() {
    let site = site_with(Config { max_workers: 1, ..Config::default() });
    let _first = site.rogue().await;
    let identity = site.identity().await;
    let addr = site.listener.local_addr().to_string();
    let hello = Hello { name: "w".into(), keys: vec![], credit: 1, capabilities: vec![] };
    let second = soon(crate::node::connect(&addr, &identity, hello, Default::default())).await;
    assert!(matches!(second, Err(crate::node::ConnectError::Busy(_))), "{second:?}");
    site.counted(Refusal::Full, 1).await;
}

#[tokio::test]
async fn oversize_and_nonsense_greetings_are_refused() {
    let site = site();
    let identity = site.identity().await;
    for (lengths, content) in [
        ([u32::MAX, 0], &b""[..]),
        ([70_000, 0], b""),
        ([3, u32::MAX], b"\xf6"),
        ([0, 0], b""),
        ([4, 0], b"\xff\xff\xff\xff"),
        ([1, 0], b"\xa0"),
    ] {
        let (_endpoint, connection) = site.dial(identity.tls(ALPN_LANE).unwrap()).await;
        let (mut send, _recv) = connection.open_bi().await.unwrap();
        let prefix = lengths.map(u32::to_be_bytes).concat();
        send.write_all(&[&prefix, content].concat()).await.unwrap();
        let _ = send.finish();
        assert_eq!(code(&connection).await, Code::Violation.varint(), "{lengths:?}");
    }
    site.counted(Refusal::Violation, 6).await;
}

#[tokio::test]
async fn a_silent_worker_is_given_up_and_its_hand_outs_end() {
    let site = site_with(Config { dead_after: Duration::from_millis(600), ..Config::default() });
    let mut rogue = site.rogue().await;
    let pending = tokio::spawn(rogue.peer.hand_out(job(1), Message::default()));
    let _stream = rogue.stream().await;
    assert_eq!(rogue.closed().await, Closed::Silent);
    assert_eq!(soon(pending).await.unwrap(), Err(HandOutError::LaneClosed));
    assert_eq!(code(&rogue.connection).await, Code::Silent.varint());
}

#[tokio::test]
async fn a_vanished_worker_is_noticed() {
    let site = site_with(Config { dead_after: Duration::from_millis(600), ..Config::default() });
    let mut rogue = site.rogue().await;
    let pending = tokio::spawn(rogue.peer.hand_out(job(1), Message::default()));
    // A process that is killed sends nothing any more.
    let (endpoint, deaf) = (rogue._endpoint.clone(), std::net::UdpSocket::bind(LOOPBACK).unwrap());
    endpoint.rebind(deaf).unwrap();
    let _ = rogue.send.finish();
    let closed = rogue.closed().await;
    assert!(matches!(closed, Closed::Silent | Closed::Violation(_)), "{closed}");
    assert_eq!(soon(pending).await.unwrap(), Err(HandOutError::LaneClosed));
}

#[tokio::test]
async fn broken_control_messages_end_the_connection() {
    let site = site();
    for message in
        [&b"\xff"[..], b"\x64nope", b"\x64beat\x00", b"\xa1\x66cancel\xa1\x66ticket\x84\x00\x00\x00\x00"]
    {
        let mut rogue = site.rogue().await;
        frame(&mut rogue.send, [message.len() as u32, 0], message).await;
        let closed = rogue.closed().await;
        assert!(matches!(closed, Closed::Violation(_)), "{message:?}: {closed}");
    }
    let mut rogue = site.rogue().await;
    frame(&mut rogue.send, [5, 1000], b"\x64beat").await;
    assert!(matches!(rogue.closed().await, Closed::Violation(_)), "a body on the control stream");
    site.counted(Refusal::Violation, 5).await;
}

#[tokio::test]
async fn broken_answers_end_the_connection() {
    let site = site();
    let other = AnswerHead {
        ticket: job(99).ticket,
        result: AnswerResult::Ok(Bytes::new()),
        timings: Timings::default(),
    };
    let other = crate::framing::encode_cbor(&other, 1000).unwrap();
    let len = other.len() as u32;
    for (lengths, content) in [
        ([u32::MAX, 0], &b""[..]),
        ([len, u32::MAX], &other),
        ([len, 0], &other),
        ([2, 0], b"\x00\x00"),
        // Cut off in the middle.
        ([len, 5], &other),
    ] {
        let mut rogue = site.rogue().await;
        let pending = tokio::spawn(rogue.peer.hand_out(job(1), Message::default()));
        let (mut send, _recv) = rogue.stream().await;
        frame(&mut send, lengths, content).await;
        let _ = send.finish();
        assert_eq!(soon(pending).await.unwrap(), Err(HandOutError::LaneClosed), "{lengths:?}");
        assert!(matches!(rogue.closed().await, Closed::Violation(_)));
    }
}

#[tokio::test]
async fn answers_to_a_batch_that_nobody_waits_for_end_the_connection() {
    let site = site();
    let head =
        |ticket| AnswerHead { ticket, result: AnswerResult::Ok(Bytes::new()), timings: Timings::default() };
    let (own, foreign) = (job(1).ticket, job(99).ticket);
    // A foreign one, and one twice.
    for answers in [vec![foreign], vec![own, own]] {
        let mut rogue = site.rogue().await;
        let jobs = [1, 2].map(|n| (job(n), Message::default()));
        let mut batch = rogue.peer.hand_out_batch(jobs.into());
        let told = tokio::spawn(async move {
            let mut told = Vec::new();
            while let Some(outcomes) = batch.next().await {
                told.extend(outcomes);
            }
            told
        });
        let (mut send, _recv) = rogue.stream().await;
        for ticket in &answers {
            write(&mut send, &head(*ticket), Bytes::new(), Limits::default()).await.unwrap();
        }
        let told = soon(told).await.unwrap();
        let lost = told.iter().filter(|(_, result)| *result == Err(HandOutError::LaneClosed)).count();
        assert_eq!((told.len(), lost), (2, 3 - answers.len()));
        assert!(matches!(rogue.closed().await, Closed::Violation(_)));
    }
}

#[tokio::test]
async fn a_stream_that_ends_without_an_answer_is_a_failure() {
    let site = site();
    let rogue = site.rogue().await;
    for reset in [false, true] {
        let pending = tokio::spawn(rogue.peer.hand_out(job(reset.into()), Message::default()));
        let (mut send, recv) = rogue.stream().await;
        if reset {
            send.reset(VarInt::from_u32(7)).unwrap();
        } else {
            send.finish().unwrap();
        }
        drop(recv);
        let answer = soon(pending).await.unwrap().unwrap();
        assert!(matches!(answer.result, Err(Unprocessed::Failed(_))));
    }
    assert_eq!(rogue.peer.outstanding(), 0);
}

#[tokio::test]
async fn releases_that_nobody_asked_for_change_nothing() {
    let site = site();
    let mut rogue = site.rogue().await;
    let ticket = job(1).ticket;
    let pending = tokio::spawn(rogue.peer.hand_out(job(1), Message::default()));
    let (mut send, recv) = rogue.stream().await;
    let (head, _) = FrameReader::new(recv).read::<JobHead>(Limits::default()).await.unwrap().unwrap();
    assert_eq!(head.ticket, ticket);
    write(&mut rogue.send, &Control::Released { ticket }, Bytes::new(), Limits::NO_BODY).await.unwrap();
    write(&mut rogue.send, &Control::Credit { n: 2 }, Bytes::new(), Limits::NO_BODY).await.unwrap();
    assert_eq!(soon(rogue.events.next()).await, Event::Credit(2), "no release came before it");
    let answer = AnswerHead { ticket, result: AnswerResult::Ok(Bytes::new()), timings: Timings::default() };
    write(&mut send, &answer, Bytes::new(), Limits::default()).await.unwrap();
    assert!(soon(pending).await.unwrap().is_ok());
}

#[tokio::test]
async fn a_flood_of_events_waits_for_its_reader() {
    let site = site();
    let mut rogue = site.rogue().await;
    let flood = tokio::spawn(async move {
        for n in 0..5000 {
            let credit = Control::Credit { n: n % 4 };
            if write(&mut rogue.send, &credit, Bytes::new(), Limits::NO_BODY).await.is_err() {
                break;
            }
        }
        (rogue._endpoint, rogue.connection, rogue.send)
    });
    for n in 0..5000 {
        assert_eq!(soon(rogue.events.next()).await, Event::Credit(n % 4));
    }
    drop(flood);
}
