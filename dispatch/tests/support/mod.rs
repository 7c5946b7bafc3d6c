//! A queue that workers join over real QUIC, workers whose jobs come to the test, and what is logged.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::fmt::{Debug, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use framelane_dispatch::{Config, Coordinator, lane, new};
use queue::Key;
use tokio::time::timeout;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::DefaultGuard;
use tracing::{Event, Level, Metadata, Subscriber};
use wire::identity::{Authority, Identity, Role, Token, TokenOptions};
use wire::node::{self, Hello, HelloKey, Jobs, Node};
use wire::server::{self, Listener};

/// Waits for what must come; a test that would hang fails instead.
pub(crate) async fn soon<F: Future>(future: F) -> F::Output {
    timeout(Duration::from_secs(30), future).await.expect("nothing came within 30 s")
}

/// A queue, and where its workers find it.
pub(crate) struct Site {
    pub(crate) coordinator: Coordinator,
    pub(crate) authority: Authority,
    pub(crate) addr: String,
    pub(crate) listener: Arc<Listener>,
    _folder: tempfile::TempDir,
}

impl Site {
    pub(crate) fn new() -> Self {
        Self::with(Config::default(), server::Config::default(), lane::quic::Config::default())
    }

    pub(crate) fn with(queue: Config, server: server::Config, lanes: lane::quic::Config) -> Self {
        let (coordinator, driver) = new(queue);
        tokio::spawn(driver);
        let folder = tempfile::tempdir().expect("a folder");
        let authority = Authority::load_or_create(folder.path()).expect("an authority");
        let any = "127.0.0.1:0".parse().expect("an address");
        let listener = Arc::new(Listener::bind(any, authority.clone(), server).expect("a free port"));
        let addr = listener.local_addr().to_string();
        tokio::spawn(lane::quic::accept(coordinator.clone(), Arc::clone(&listener), lanes));
        Self { coordinator, authority, addr, listener, _folder: folder }
    }

    pub(crate) fn token(&self, role: Role) -> Token {
        self.authority.token_for(role, TokenOptions::default()).expect("a token")
    }

    /// A worker that has joined, for one key, with these abilities.
    pub(crate) async fn worker(&self, name: &str, key: Key, credit: u32, abilities: &[&str]) -> (Node, Jobs) {
        let (node, jobs) = join(&self.addr, &self.token(Role::Worker), name, key, credit, abilities).await;
        self.until("it has joined", |lanes| lanes.iter().any(|lane| lane.worker == node.worker())).await;
        (node, jobs)
    }

    pub(crate) async fn lanes(&self) -> Vec<lane::View> {
        self.coordinator.lanes().await.expect("the queue runs")
    }

    /// Waits until this holds of the lanes, and gives them.
    pub(crate) async fn until(&self, what: &str, holds: impl Fn(&[lane::View]) -> bool) -> Vec<lane::View> {
        let look = async {
            loop {
                let lanes = self.lanes().await;
                if holds(&lanes) {
                    return lanes;
                }
                tokio::task::yield_now().await;
            }
        };
        timeout(Duration::from_secs(30), look).await.unwrap_or_else(|_| panic!("{what} within 30 s"))
    }
}

/// Enrols and connects a worker; its lane may not have joined the queue yet.
pub(crate) async fn join(
    addr: &str,
    token: &Token,
    name: &str,
    key: Key,
    credit: u32,
    abilities: &[&str],
) -> (Node, Jobs) {
    let identity = soon(Identity::enrol(addr, token, name)).await.expect("enrolled");
    let keys = vec![HelloKey { key, warm: true }];
    let capabilities = abilities.iter().map(|&ability| ability.to_owned()).collect();
    let hello = Hello { name: name.into(), keys, credit, capabilities };
    soon(node::connect(addr, &identity, hello, node::Config::default())).await.expect("connected")
}

/// The warnings of this crate in one thread's log.
#[derive(Clone, Default)]
pub(crate) struct Warnings(Arc<Mutex<Vec<Line>>>);

/// One of them.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Line {
    /// Its field `count`.
    pub(crate) count: u64,
    /// All its fields: `name=value `.
    pub(crate) text: String,
}

impl Warnings {
    /// Gets what this thread logs, on which the whole test must run.
    pub(crate) fn here() -> (Self, DefaultGuard) {
        let warnings = Self::default();
        (warnings.clone(), tracing::subscriber::set_default(warnings))
    }

    pub(crate) fn all(&self) -> Vec<Line> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Subscriber for Warnings {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::WARN && metadata.target().starts_with("framelane_dispatch")
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

impl Visit for Line {
    fn record_u64(&mut self, field: &Field, value: u64) {
        if field.name() == "count" {
            self.count = value;
        }
        self.record_debug(field, &value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.text, "{field}={value:?} ").expect("writing to a string does not fail");
    }
}
