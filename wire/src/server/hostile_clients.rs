//! Clients that mean harm: they are refused and counted, and what they can take is bounded.

use bytes::Bytes;
use futures_util::FutureExt;
use quinn::{Connection, Endpoint, SendStream};

use super::tests::{Site, code, site, site_with, soon};
use super::{Caller, Clients, Config, Pushing, Refusal, Replies, Submits};
use crate::client::{self, ConnectError};
use crate::close::{Closed, Code};
use crate::framing::{Limits, encode_head};
use crate::identity::{Identity, Role, TokenOptions};
use crate::protocol::{ALPN_LANE, Control};
use crate::pushed::{ALPN_CLIENT, ClientHello, ClientWelcome, Pushed, Wishes};
use crate::server::operate::{ALPN_OPERATE, Ask, OperateError, operate};
use crate::stream::{FrameReader, write};

const CLIENTS: Clients =
    Clients { most: 4, tasks: 3, bytes: 0, limits: Limits { head: 1000, body: 100_000 } };

fn open_site() -> Site {
    site_with(Config { clients: Some(CLIENTS), ..Config::default() })
}

fn hello() -> ClientHello {
    ClientHello { name: "rogue".into(), wishes: Wishes::default(), capabilities: vec![] }
}

/// A client that was greeted and now does what a test wants.
struct Rogue {
    _endpoint: Endpoint,
    connection: Connection,
    control: SendStream,
    _welcome: FrameReader,
    tasks: SendStream,
    _answers: FrameReader,
    _caller: Caller,
    submits: Submits,
    _replies: Replies,
}

async fn rogue(site: &Site) -> Rogue {
    let identity = site.authority.own(Role::Client).unwrap();
    let (endpoint, connection) = site.dial(identity.tls(ALPN_CLIENT).unwrap()).await;
    let (mut control, recv) = connection.open_bi().await.unwrap();
    write(&mut control, &hello(), Bytes::new(), Limits::NO_BODY).await.unwrap();
    let mut reader = FrameReader::new(recv);
    soon(reader.read::<ClientWelcome>(Limits::NO_BODY)).await.unwrap().unwrap();
    let (mut tasks, recv) = soon(connection.open_bi()).await.unwrap();
    let empty = Pushed::Submit { key: None, lengths: vec![] };
    write(&mut tasks, &empty, Bytes::new(), Limits::NO_BODY).await.unwrap();
    let (caller, submits, replies) = soon(site.listener.accept_client()).await.unwrap();
    Rogue {
        _endpoint: endpoint,
        connection,
        control,
        _welcome: reader,
        tasks,
        _answers: FrameReader::new(recv),
        _caller: caller,
        submits,
        _replies: replies,
    }
}

fn key() -> Option<queue::Key> {
    Some(queue::Key::task(queue::TaskName::new("t").unwrap()))
}

fn submit(lengths: &[u32], body: usize) -> Vec<u8> {
    let head = Pushed::Submit { key: key(), lengths: lengths.to_vec() };
    let limits = Limits { head: Limits::HEAD, body: usize::MAX };
    let head = encode_head(&head, body, limits).unwrap();
    [&head[..], &vec![0; body.min(1 << 20)]].concat()
}

#[tokio::test]
async fn every_role_opens_its_own_door_and_no_other() {
    let site = open_site();
    let doors = [(ALPN_LANE, Role::Worker), (ALPN_CLIENT, Role::Client), (ALPN_OPERATE, Role::Operator)];
    let mut refused = 0;
    for (alpn, fits) in doors {
        for role in Role::ALL.into_iter().filter(|role| *role != fits) {
            let identity = site.authority.own(role).unwrap();
            let (_endpoint, connection) = site.dial(identity.tls(alpn).unwrap()).await;
            assert_eq!(code(&connection).await, Code::NoCertificate.varint(), "{role} at {fits}'s");
            refused += 1;
            site.counted(Refusal::WrongRole, refused).await;
        }
    }
    let addr = site.listener.local_addr().to_string();
    let worker = site.authority.own(Role::Worker).unwrap();
    let wrong = soon(client::connect(&addr, worker, client::Config::new("w"))).await;
    assert!(matches!(&wrong, Err(ConnectError::Refused(why)) if why.contains("worker")), "{:?}", wrong.err());
    let client = site.authority.own(Role::Client).unwrap();
    let wrong = operate(&addr, &client, Ask::Stop, site.config.greeting);
    assert!(matches!(soon(wrong).await, Err(OperateError::Refused(_))));
}

#[tokio::test]
async fn who_lets_no_clients_in_says_so() {
    let site = site();
    let addr = site.listener.local_addr().to_string();
    let identity = site.authority.own(Role::Client).unwrap();
    let refused = soon(client::connect(&addr, identity, client::Config::new("c"))).await;
    assert!(matches!(refused, Err(ConnectError::NoClients { .. })), "{:?}", refused.err());
}

#[tokio::test]
async fn what_breaks_the_protocol_ends_the_connection_and_is_counted() {
    let site = open_site();
    let headless = [&[0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0][..], &[0; 100]].concat();
    let garbage = [&[0, 0, 0, 4, 0, 0, 0, 0][..], b"\xff\xff\xff\xff"].concat();
    let cancel = encode_head(&Pushed::Cancel { tasks: vec![0] }, 9, Limits::default()).unwrap();
    let no_key =
        encode_head(&Pushed::Submit { key: None, lengths: vec![0, 1] }, 1, Limits::default()).unwrap();
    let all = [
        ("a head longer than any", headless),
        ("no CBOR", garbage),
        ("an odd number of lengths", submit(&[1, 2, 3], 6)),
        ("lengths of more than the body", submit(&[1, 2], 2)),
        ("lengths of less than the body", submit(&[1, 2], 4)),
        ("lengths that overflow", submit(&[u32::MAX; 6], 4)),
        ("a body longer than any", submit(&[0, u32::MAX], u32::MAX as usize)),
        ("a head of a task that is too long", submit(&[1001, 0], 1001)),
        ("a body of a task that is too long", submit(&[0, 100_001], 100_001)),
        ("more tasks than the window", submit(&[1, 0, 1, 0, 1, 0, 1, 0], 4)),
        ("several long ones together", submit(&[0, 10_000, 0, 10_000], 20_000)),
        ("more bytes than the window", [submit(&[0, 100_000], 100_000), submit(&[0, 3_100], 3_100)].concat()),
        ("a cancel with a body", [&cancel[..], &[0; 9]].concat()),
        ("tasks about nothing", [&no_key[..], &[0]].concat()),
    ];
    for (n, (what, bytes)) in all.into_iter().enumerate() {
        let mut rogue = rogue(&site).await;
        // It may be cut off while it still writes.
        let _ = rogue.tasks.write_all(&bytes).await;
        let closed = soon(async {
            loop {
                if let Err(closed) = rogue.submits.next().await {
                    break closed;
                }
            }
        });
        let closed = closed.await;
        assert!(matches!(closed, Closed::Violation(_)), "{what}: {closed}");
        assert_eq!(code(&rogue.connection).await, Code::Violation.varint(), "{what}");
        site.counted(Refusal::Violation, n as u64 + 1).await;
    }
}

#[tokio::test]
async fn a_client_has_nothing_to_say_on_the_control_stream() {
    let site = open_site();
    for message in [Control::Drain, Control::Credit { n: 9 }, Control::Keys { keys: vec![] }] {
        let mut rogue = rogue(&site).await;
        write(&mut rogue.control, &message, Bytes::new(), Limits::NO_BODY).await.unwrap();
        assert_eq!(code(&rogue.connection).await, Code::Violation.varint());
    }
    site.counted(Refusal::Violation, 3).await;
}

#[tokio::test]
async fn a_client_has_two_streams_and_no_more_and_one_of_its_places() {
    let site = open_site();
    let first = rogue(&site).await;
    for _ in 0..1000 {
        assert!(first.connection.open_bi().now_or_never().is_none());
        assert!(first.connection.open_uni().now_or_never().is_none());
    }
    let _others = [rogue(&site).await, rogue(&site).await, rogue(&site).await];
    let addr = site.listener.local_addr().to_string();
    let identity = site.authority.own(Role::Client).unwrap();
    let full = soon(client::connect(&addr, identity, client::Config::new("fifth"))).await;
    assert!(matches!(full, Err(ConnectError::Busy(_))), "{:?}", full.err());
    site.counted(Refusal::Full, 1).await;
}

#[tokio::test]
async fn one_that_never_opens_its_task_stream_is_let_go() {
    let greeting = std::time::Duration::from_secs(1);
    let site = site_with(Config { clients: Some(CLIENTS), greeting, ..Config::default() });
    let identity = site.authority.own(Role::Client).unwrap();
    let (_endpoint, connection) = site.dial(identity.tls(ALPN_CLIENT).unwrap()).await;
    let (mut control, _recv) = connection.open_bi().await.unwrap();
    write(&mut control, &hello(), Bytes::new(), Limits::NO_BODY).await.unwrap();
    assert_eq!(code(&connection).await, Code::NoHello.varint());
    site.counted(Refusal::Slow, 1).await;
}

#[tokio::test]
async fn cancels_of_what_is_not_there_are_told_and_harm_nobody() {
    let site = open_site();
    let mut rogue = rogue(&site).await;
    let cancel = Pushed::Cancel { tasks: vec![0, 99, u64::MAX] };
    write(&mut rogue.tasks, &cancel, Bytes::new(), Limits::NO_BODY).await.unwrap();
    rogue.tasks.write_all(&submit(&[1, 0], 1)).await.unwrap();
    rogue.tasks.finish().unwrap();
    assert_eq!(soon(rogue.submits.next()).await, Ok(Pushing::Cancel(vec![0, 99, u64::MAX])));
    assert!(matches!(soon(rogue.submits.next()).await, Ok(Pushing::Tasks(_, tasks)) if tasks.len() == 1));
    assert_eq!(soon(rogue.submits.next()).await, Ok(Pushing::End));
    assert_eq!(soon(rogue.submits.next()).await, Ok(Pushing::End));
}

#[tokio::test]
async fn a_revoked_client_is_cut_off_and_does_not_come_back() {
    let site = open_site();
    let addr = site.listener.local_addr().to_string();
    let token = site.authority.token_for(Role::Client, TokenOptions::default()).unwrap();
    let identity = soon(Identity::enrol_as(Role::Client, &addr, &token, "c")).await.unwrap();
    let id = identity.worker();
    let (raw, _answers) = soon(client::connect(&addr, identity, client::Config::new("c"))).await.unwrap();
    let served = soon(site.listener.accept_client()).await.unwrap();
    site.authority.revoke(id).unwrap().unwrap();
    assert!(matches!(soon(served.0.closed()).await, Closed::Revoked(_)));
    soon(async {
        while raw.ended().is_none() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(matches!(raw.ended(), Some(Closed::Revoked(_))), "though it connects again by itself");
    site.counted(Refusal::Revoked, 1).await;
}
