//! A server and a worker on loopback.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use framelane_wire::identity::{Authority, Identity, TokenOptions};
use framelane_wire::node::{self, Hello, HelloKey, Jobs, Node};
use framelane_wire::server::{self, Events, HandOut, Listener, Peer};
use framelane_wire::{Cbor, Message, Timings, encode};
use queue::{FlowId, Key, Seq, TaskName, Ticket};

pub(crate) const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// Waits for what must come; a test that would hang fails instead.
pub(crate) async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("nothing came within 20 s")
}

pub(crate) struct Site {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) authority: Authority,
    pub(crate) listener: Listener,
}

/// Whether bodies go through shared memory: the tests of the lane run both ways.
pub(crate) fn shared() -> bool {
    env!("CARGO_CRATE_NAME") == "lane_shared"
}

pub(crate) fn node_config() -> node::Config {
    node::Config { shared_memory: shared(), ..node::Config::default() }
}

impl Site {
    pub(crate) fn new(config: server::Config) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::load_or_create(dir.path()).unwrap();
        let listener = Listener::bind(LOOPBACK, authority.clone(), config).unwrap();
        Self { dir, authority, listener }
    }

    pub(crate) fn addr(&self) -> String {
        self.listener.local_addr().to_string()
    }

    pub(crate) async fn enrol(&self) -> Identity {
        let token = self.authority.token(TokenOptions::default()).unwrap();
        soon(Identity::enrol(&self.addr(), &token, "worker")).await.unwrap()
    }

    pub(crate) async fn join(&self, identity: &Identity, hello: Hello) -> (Peer, Events, Node, Jobs) {
        let addr = self.addr();
        let (server, worker) = soon(async {
            tokio::join!(self.listener.accept(), node::connect(&addr, identity, hello, node_config()))
        })
        .await;
        let ((peer, events), (node, jobs)) = (server.unwrap(), worker.unwrap());
        assert_eq!((peer.shares_memory(), node.shares_memory()), (shared(), shared()));
        (peer, events, node, jobs)
    }
}

/// A site with one worker of this credit.
pub(crate) async fn pair(config: server::Config, credit: u32) -> (Site, Peer, Events, Node, Jobs) {
    let site = Site::new(config);
    let identity = site.enrol().await;
    let (peer, events, node, jobs) = site.join(&identity, hello(credit)).await;
    (site, peer, events, node, jobs)
}

pub(crate) fn key() -> Key {
    Key::task(TaskName::new("echo").unwrap())
}

pub(crate) fn hello(credit: u32) -> Hello {
    let keys = vec![HelloKey { key: key(), warm: true }];
    Hello { name: "test".into(), keys, credit, capabilities: vec![] }
}

pub(crate) fn ticket(seq: u64) -> Ticket {
    Ticket { flow: FlowId(1), seq: Seq(seq), part: 0, attempt: 1 }
}

pub(crate) fn job(seq: u64) -> HandOut {
    HandOut { ticket: ticket(seq), key: key(), budget_left: Some(Duration::from_secs(1)) }
}

pub(crate) fn message(text: &str, body: usize) -> Message {
    let head = encode(Cbor(text.to_owned())).unwrap().head;
    Message { head, body: Bytes::from(vec![7; body]) }
}

/// The next event must be one job.
pub(crate) async fn next_job(jobs: &mut Jobs) -> (Ticket, Message, node::Reply) {
    let node::Job { ticket, message, reply, .. } = one_job(jobs).await;
    (ticket, message, reply)
}

/// The next event must be one job, whole.
pub(crate) async fn one_job(jobs: &mut Jobs) -> node::Job {
    match soon(jobs.next()).await {
        node::Event::Jobs(mut jobs) if jobs.len() == 1 => jobs.remove(0),
        other => panic!("a job was expected, not {other:?}"),
    }
}

/// Answers every job with itself until the connection ends.
pub(crate) async fn echo(mut jobs: Jobs) {
    loop {
        match jobs.next().await {
            node::Event::Jobs(jobs) => {
                for node::Job { message, reply, .. } in jobs {
                    let _ = reply.answer(Ok(message), Timings::default()).await;
                }
            }
            node::Event::Closed(_) => return,
            _ => {}
        }
    }
}
