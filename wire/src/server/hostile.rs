//! Peers that mean harm, beside a worker that does not: it goes on unhurt, they are refused and counted, and
//! what they can take is bounded.

use std::net::UdpSocket;
use std::time::SystemTime;

use bytes::Bytes;
use futures_util::FutureExt;
use quinn::{ConnectionError, VarInt};

use super::tests::{LOOPBACK, Site, code, frame, job, site, site_with, soon};
use super::{Config, Event, HandOutError, Refusal};
use crate::close::{Closed, Code};
use crate::exchange;
use crate::framing::{Limits, encode_cbor};
use crate::identity::{EnrolError, Identity, Role, TokenOptions};
use crate::node::dial::DialError;
use crate::node::{self, ConnectError, Hello, Jobs, Node};
use crate::practice;
use crate::protocol::{ALPN_LANE, ALPN_VERSIONS, AnswerHead, AnswerResult, Control};
use crate::stream::write;
use crate::version::Speaks;
use crate::{Message, Timings, tls};

fn hello(credit: u32) -> Hello {
    Hello { name: "good".into(), keys: vec![], credit, capabilities: vec![] }
}

/// A worker that does its work, and asks of it that it still does.
struct Good {
    peer: super::Peer,
    _events: super::Events,
    _node: Node,
    echo: tokio::task::JoinHandle<()>,
    next: u64,
}

impl Good {
    /// One who has enrolled here and is at work.
    async fn at(site: &Site) -> Self {
        let identity = site.identity().await;
        let mut good = Self::join(site, &identity).await;
        good.works().await;
        good
    }

    async fn join(site: &Site, identity: &Identity) -> Self {
        let addr = site.listener.local_addr().to_string();
        let (accepted, connected) = soon(async {
            tokio::join!(
                site.listener.accept(),
                node::connect(&addr, identity, hello(4), node::Config::default())
            )
        })
        .await;
        let ((peer, events), (node, jobs)) = (accepted.unwrap(), connected.unwrap());
        Good { peer, _events: events, _node: node, echo: tokio::spawn(echo(jobs)), next: 0 }
    }

    async fn works(&mut self) {
        let key = queue::Key::task(queue::TaskName::new("t").unwrap());
        let ticket =
            queue::Ticket { flow: queue::FlowId(9), seq: queue::Seq(self.next), part: 0, attempt: 1 };
        self.next += 1;
        let message = Message { head: Bytes::from_static(b"\xf6"), body: Bytes::from(vec![7; 100_000]) };
        let job = super::HandOut { ticket, key, budget_left: None };
        let answer = soon(self.peer.hand_out(job, message.clone())).await.unwrap();
        assert_eq!(answer.result, Ok(message));
        assert!(!self.echo.is_finished());
    }
}

async fn echo(mut jobs: Jobs) {
    loop {
        match jobs.next().await {
            node::Event::Jobs(jobs) => {
                for node::Job { message, reply, .. } in jobs {
                    reply.send(Ok(message), Timings::default());
                }
            }
            node::Event::Closed(_) => return,
            _ => {}
        }
    }
}

#[tokio::test]
async fn used_up_expired_and_replayed_enrolments_are_counted_and_give_nothing() {
    let site = site();
    let identity = site.identity().await;
    let mut good = Good::join(&site, &identity).await;
    let addr = site.listener.local_addr().to_string();
    let token = site.authority.token(TokenOptions::default()).unwrap();
    soon(Identity::enrol(&addr, &token, "first")).await.unwrap();
    for _ in 0..3 {
        let replayed = soon(Identity::enrol(&addr, &token, "first")).await;
        assert!(matches!(replayed, Err(EnrolError::UsedUpToken)), "{replayed:?}");
    }
    let options = TokenOptions { expires_in: std::time::Duration::ZERO, ..TokenOptions::default() };
    let late = soon(Identity::enrol(&addr, &site.authority.token(options).unwrap(), "late")).await;
    assert!(matches!(late, Err(EnrolError::ExpiredToken)), "{late:?}");
    site.counted(Refusal::UsedUpToken, 3).await;
    site.counted(Refusal::ExpiredToken, 1).await;
    assert_eq!(site.authority.workers().unwrap().len(), 2);
    good.works().await;
}

#[tokio::test]
async fn who_has_another_role_is_no_worker() {
    let site = site();
    let mut good = Good::at(&site).await;
    for (n, role) in [Role::Client, Role::Operator].into_iter().enumerate() {
        let (chain, key) = site.authority.own(role).unwrap().shown();
        let tls = tls::worker(chain, key, site.authority.certificate(), ALPN_LANE).unwrap();
        let (_endpoint, connection) = site.dial(tls).await;
        assert_eq!(code(&connection).await, Code::NoCertificate.varint());
        site.counted(Refusal::WrongRole, n as u64 + 1).await;
    }
    good.works().await;
}

#[tokio::test]
async fn a_token_for_another_role_gives_nothing_and_is_not_spent() {
    let site = site();
    let mut good = Good::at(&site).await;
    let addr = site.listener.local_addr().to_string();
    let token = site.authority.token_for(Role::Client, TokenOptions::default()).unwrap();
    let refused = soon(Identity::enrol(&addr, &token, "worker")).await;
    assert!(matches!(refused, Err(EnrolError::OtherRole(Role::Worker))), "{refused:?}");
    site.counted(Refusal::WrongRole, 1).await;
    let client = soon(Identity::enrol_as(Role::Client, &addr, &token, "client")).await.unwrap();
    assert_eq!(client.role(), Role::Client);
    assert_eq!(site.authority.workers().unwrap().len(), 1, "the good one");
    // Its next certificate is of the same role.
    assert_eq!(soon(client.renew(&addr)).await.unwrap().role(), Role::Client);
    good.works().await;
}

#[tokio::test]
async fn who_has_a_role_that_nobody_knows_is_nobody() {
    let site = site();
    let mut good = Good::at(&site).await;
    let (chain, key) = site.authority.stranger_for_tests();
    let tls = tls::worker(chain, key, site.authority.certificate(), ALPN_LANE).unwrap();
    let (_endpoint, connection) = site.dial(tls).await;
    assert_eq!(code(&connection).await, Code::NoCertificate.varint());
    site.counted(Refusal::BadCertificate, 1).await;
    good.works().await;
}

#[tokio::test]
async fn another_version_is_told_on_both_sides_which_one_is_spoken() {
    let site = site();
    let mut good = Good::at(&site).await;
    let identity = site.identity().await;
    let addr = site.listener.local_addr().to_string();
    let other = node::speak(b"framelane-lane/2", &addr, &identity, hello(1), node::Config::default());
    match soon(other).await {
        Err(ConnectError::Dial(DialError::Version { theirs, ours, .. })) => {
            assert!(theirs.contains("framelane-lane/1"), "{theirs}");
            assert_eq!(ours, "framelane-lane/2");
        }
        other => panic!("{other:?}"),
    }
    site.counted(Refusal::Protocol, 1).await;
    // One that comes only to ask gets no further either.
    let tls = identity.tls(ALPN_VERSIONS).unwrap();
    let (_endpoint, connection) = site.dial(tls).await;
    let long = Speaks::these(&[&[b'x'; 4000]]);
    let asked = exchange::ask::<_, Speaks>(&connection, &long);
    assert!(soon(asked).await.unwrap().text().contains("framelane-enrol/1"));
    site.counted(Refusal::Protocol, 2).await;
    // And one that has nothing in common at all is an alert.
    let (chain, key) = identity.shown();
    let tls = tls::nothing_in_common_for_tests(chain, key, site.authority.certificate());
    let refused = soon(site.try_dial(tls)).await;
    assert!(matches!(refused, Err(ConnectionError::ConnectionClosed(_))), "{refused:?}");
    site.counted(Refusal::Protocol, 3).await;
    good.works().await;
}

#[tokio::test]
async fn a_huge_credit_is_capped() {
    let site = site_with(Config { max_credit: 8, ..Config::default() });
    let mut good = Good::at(&site).await;
    let mut rogue = site.rogue().await;
    let credit = Control::Credit { n: u32::MAX };
    write(&mut rogue.send, &credit, Bytes::new(), Limits::NO_BODY).await.unwrap();
    assert_eq!(soon(rogue.events.next()).await, Event::Credit(8));
    let addr = site.listener.local_addr().to_string();
    let identity = site.identity().await;
    let (accepted, _connected) = soon(async {
        tokio::join!(
            site.listener.accept(),
            node::connect(&addr, &identity, hello(u32::MAX), node::Config::default())
        )
    })
    .await;
    assert_eq!(accepted.unwrap().0.hello().credit, 8);
    good.works().await;
}

#[tokio::test]
async fn a_stranger_has_room_for_one_greeting_and_no_more() {
    let site = site();
    let mut good = Good::at(&site).await;
    let identity = site.identity().await;
    let (_endpoint, connection) = site.dial(identity.tls(ALPN_LANE).unwrap()).await;
    let (mut send, _recv) = connection.open_bi().await.unwrap();
    // A head that is announced within the limit, and megabytes after it.
    send.write_all(&[[0, 1, 0, 0].as_slice(), &[0; 4], &[0xff; 1000]].concat()).await.unwrap();
    let flood = tokio::spawn(async move {
        let mut sent = 0;
        while let Ok(n) = send.write(&[0xff; 4096]).await {
            sent += n;
        }
        sent
    });
    assert_eq!(code(&connection).await, Code::Violation.varint());
    // What it could send is its window and what lay in its own buffers.
    assert!(soon(flood).await.unwrap() < 8 << 20);
    site.counted(Refusal::Violation, 1).await;
    good.works().await;
}

#[tokio::test]
async fn a_control_message_that_trickles_in_is_silence() {
    let site = site_with(Config { heartbeat: std::time::Duration::from_millis(200), ..Config::default() });
    let mut good = Good::at(&site).await;
    let mut rogue = site.rogue().await;
    let mut send = rogue.send;
    let trickle = tokio::spawn(async move {
        let mut every = tokio::time::interval(std::time::Duration::from_millis(50));
        let mut bytes = [0, 0, 0xff, 0xff, 0, 0, 0, 0].into_iter().chain(std::iter::repeat(0));
        loop {
            every.tick().await;
            let byte = bytes.next().unwrap_or(0);
            if send.write_all(&[byte]).await.is_err() {
                return;
            }
        }
    });
    assert_eq!(soon(rogue.events.next()).await, Event::Closed(Closed::Silent));
    good.works().await;
    soon(trickle).await.unwrap();
}

#[tokio::test]
async fn a_worker_that_ends_none_of_its_long_answers_is_cut_off() {
    const LONG: u32 = 60 << 20;
    let site = site();
    let mut good = Good::at(&site).await;
    let mut rogue = site.rogue().await;
    let (mut pending, mut open) = (Vec::new(), Vec::new());
    for n in 1..=7 {
        // Each alone, and answers to several on one stream.
        pending.push(match n % 2 {
            0 => tokio::spawn(rogue.peer.hand_out(job(n), Message::default())).boxed(),
            _ => {
                let mut batch = rogue.peer.hand_out_batch(vec![(job(n), Message::default())]);
                tokio::spawn(async move { batch.next().await.unwrap().remove(0).1 }).boxed()
            }
        });
        let (mut send, recv) = rogue.stream().await;
        let result = AnswerResult::Ok(Bytes::new());
        let head = AnswerHead { ticket: job(n).ticket, result, timings: Timings::default() };
        let head = encode_cbor(&head, Limits::HEAD).unwrap();
        frame(&mut send, [head.len() as u32, LONG], &[&head[..], &[0; 1000]].concat()).await;
        open.push((send, recv));
        if n < 7 {
            soon(async {
                while rogue.peer.0.reading.now() < n as usize * LONG as usize {
                    tokio::task::yield_now().await;
                }
            })
            .await;
            good.works().await;
        }
    }
    assert!(matches!(rogue.closed().await, Closed::Violation(why) if why.contains("long bodies")));
    assert_eq!(code(&rogue.connection).await, Code::Violation.varint());
    for pending in pending {
        assert_eq!(soon(pending).await.unwrap(), Err(HandOutError::LaneClosed));
    }
    assert_eq!(rogue.peer.0.reading.now(), 0, "what was begun is given up");
    site.counted(Refusal::Violation, 1).await;
    good.works().await;
}

#[tokio::test]
async fn what_is_no_answer_for_practice_ends_the_connection_and_silence_does_not() {
    let site = site();
    let mut good = Good::at(&site).await;
    let ours = AnswerHead {
        ticket: practice::TICKET,
        result: AnswerResult::Ok(Bytes::new()),
        timings: Timings::default(),
    };
    let another = AnswerHead { ticket: job(1).ticket, ..ours.clone() };
    for (head, body, breaks) in [(&ours, 0, false), (&ours, 1, true), (&another, 0, true)] {
        let mut rogue = site.rogue().await;
        let (_, mut stream) = tokio::join!(async { soon(rogue.peer.practise()).await }, async {
            let (mut send, recv) = rogue.stream().await;
            let head = encode_cbor(head, Limits::HEAD).unwrap();
            frame(&mut send, [head.len() as u32, body], &[&head[..], &vec![0; body as usize]].concat()).await;
            (send, recv)
        });
        let _ = stream.0.finish();
        if breaks {
            assert!(matches!(rogue.closed().await, Closed::Violation(why) if why.contains("for practice")));
        } else {
            // None at all is let go of, like a job.
            tokio::join!(async { soon(rogue.peer.practise()).await }, async { drop(rogue.stream().await) });
            assert_eq!(rogue.connection.close_reason(), None);
        }
        good.works().await;
    }
    site.counted(Refusal::Violation, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_with_many_long_answers_at_once_is_not_cut_off() {
    // So many that they are more, all together, than may be under way.
    let (longest, many) = (2 << 20, 80);
    let limits = Limits { body: longest, ..Limits::default() };
    // A machine that has much else to do is not silent for that.
    let dead_after = std::time::Duration::from_secs(20);
    let site = site_with(Config { limits, dead_after, ..Config::default() });
    let (identity, addr) = (site.identity().await, site.listener.local_addr().to_string());
    let connecting = node::connect(&addr, &identity, hello(many), node::Config::default());
    let (accepted, connected) = soon(async { tokio::join!(site.listener.accept(), connecting) }).await;
    let ((peer, _events), (_node, mut jobs)) = (accepted.unwrap(), connected.unwrap());
    let pending: Vec<_> =
        (0..many).map(|n| tokio::spawn(peer.hand_out(job(n.into()), Message::default()))).collect();
    let mut replies = Vec::new();
    while replies.len() < many as usize {
        match soon(jobs.next()).await {
            node::Event::Jobs(jobs) => replies.extend(jobs.into_iter().map(|job| job.reply)),
            other => panic!("{other:?}"),
        }
    }
    let long = Bytes::from(vec![7; longest]);
    for reply in replies {
        reply.send(Ok(Message { head: Bytes::new(), body: long.clone() }), Timings::default());
    }
    for pending in pending {
        assert_eq!(soon(pending).await.unwrap().unwrap().result.unwrap().body, long);
    }
    assert_eq!(peer.0.reading.now(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_never_greet_keep_no_worker_out_and_hold_bounded_places() {
    let site = site_with(Config { max_strangers: 16, ..Config::default() });
    let (first, second) = (site.identity().await, site.identity().await);
    let mut good = Good::join(&site, &first).await;
    let mut held = Vec::new();
    for n in 0..64 {
        // Some stop on the lane, some on the enrolment. One that finds no room is refused, which is fine.
        let tls = match n % 2 {
            0 => first.tls(ALPN_LANE).unwrap(),
            _ => tls::enrolling(site.authority.fingerprint()).unwrap(),
        };
        held.push(site.try_dial(tls).await);
        assert!(site.listener.door.strangers.len() <= 16);
    }
    assert!(site.listener.refusals().of(Refusal::Crowded) >= 48);
    good.works().await;
    // Room is found for one that does greet, however often it must knock.
    let addr = site.listener.local_addr().to_string();
    let knocks = async {
        loop {
            if let Ok(joined) = node::connect(&addr, &second, hello(1), node::Config::default()).await {
                break joined;
            }
        }
    };
    let (accepted, _joined) = soon(async { tokio::join!(site.listener.accept(), knocks) }).await;
    assert_eq!(accepted.unwrap().0.worker(), second.worker());
    good.works().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_forged_and_garbled_packets_hurt_nobody() {
    let site = site_with(Config { max_strangers: 16, ..Config::default() });
    let (first, second) = (site.identity().await, site.identity().await);
    let mut good = Good::join(&site, &first).await;
    let addr = site.listener.local_addr();
    let flood = tokio::task::spawn_blocking(move || {
        let sockets: Vec<_> = (0..64).map(|_| UdpSocket::bind(LOOPBACK).unwrap()).collect();
        let mut random = fastrand::Rng::with_seed(7);
        for n in 0..4000 {
            let mut packet: Vec<u8> = (0..1200).map(|_| random.u8(..)).collect();
            if n % 4 != 0 {
                // The form of a first packet of QUIC version 1, with ids of 8 bytes and no token.
                packet[..6].copy_from_slice(&[0xc3, 0, 0, 0, 1, 8]);
                packet[14] = 8;
                packet[23] = 0;
            }
            // The system may drop it, as a network would.
            let _ = sockets[n % sockets.len()].send_to(&packet, addr);
        }
    });
    while !flood.is_finished() {
        good.works().await;
        assert!(site.listener.door.strangers.len() <= 16);
    }
    flood.await.unwrap();
    let mut late = Good::join(&site, &second).await;
    late.works().await;
    good.works().await;
}

#[tokio::test]
async fn a_server_shows_a_new_certificate_before_its_own_expires() {
    let site = site();
    let identity = site.identity().await;
    let shown = async || {
        let (_endpoint, connection) = site.dial(identity.tls(ALPN_LANE).unwrap()).await;
        let chain = connection.peer_identity().unwrap();
        let chain = chain.downcast::<Vec<rustls::pki_types::CertificateDer<'static>>>().unwrap();
        connection.close(VarInt::from_u32(0), b"");
        chain[0].clone()
    };
    let mut good = Good::join(&site, &identity).await;
    let first = shown().await;
    let door = &site.listener.door;
    door.renew(SystemTime::now());
    assert_eq!(first, shown().await, "it is not due");
    let due = *door.renew_at.lock().unwrap();
    assert!(due > SystemTime::now() + std::time::Duration::from_secs(59 * 24 * 3600));
    door.renew(due);
    assert_ne!(first, shown().await);
    good.works().await;
}
