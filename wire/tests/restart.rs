//! A server that was killed and is back: its workers learn so at once, not after the silence.
#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

mod support;

use std::time::Duration;

use framelane_wire::Closed;
use framelane_wire::identity::{Authority, Identity, TokenOptions};
use framelane_wire::node::{self, Event};
use framelane_wire::server::{Config, Listener};
use support::{LOOPBACK, hello, node_config, soon};
use tokio::runtime::{Builder, Runtime};

/// A server of which nobody would know for long that it is gone.
fn patient() -> Config {
    Config { dead_after: Duration::from_secs(600), heartbeat: Duration::from_millis(50), ..Config::default() }
}

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

#[test]
fn a_worker_learns_at_once_that_its_server_was_started_again() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::load_or_create(dir.path()).unwrap();
    let (first, here) = (runtime(), runtime());
    let listener = {
        let _inside = first.enter();
        Listener::bind(LOOPBACK, authority.clone(), patient()).unwrap()
    };
    let addr = listener.local_addr();
    let mut jobs = here.block_on(async {
        let token = authority.token(TokenOptions::default()).unwrap();
        let identity = soon(Identity::enrol(&addr.to_string(), &token, "w")).await.unwrap();
        let addr = addr.to_string();
        let connecting = node::connect(&addr, &identity, hello(1), node_config());
        let (peer, connected) = soon(async { tokio::join!(listener.accept(), connecting) }).await;
        drop(peer);
        let (node, jobs) = connected.unwrap();
        // It must not be what ends the connection.
        std::mem::forget(node);
        jobs
    });
    // As a SIGKILL would: nobody is left to say goodbye.
    first.shutdown_timeout(Duration::from_secs(5));
    drop(listener);
    here.block_on(async {
        // The port is free once the last task of the dead runtime is gone.
        let again = Authority::load(dir.path()).unwrap();
        let _listener = soon(async {
            loop {
                match Listener::bind(addr, again.clone(), patient()) {
                    Ok(listener) => return listener,
                    Err(_) => tokio::task::yield_now().await,
                }
            }
        })
        .await;
        loop {
            if let Event::Closed(closed) = soon(jobs.next()).await {
                assert!(matches!(closed, Closed::Lost(_)), "{closed:?}");
                return;
            }
        }
    });
}
