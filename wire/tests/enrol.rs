//! Tokens and certificates: who gets in, and what the others are told.
#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

mod support;

use std::num::NonZeroU32;
use std::time::Duration;

use framelane_wire::Closed;
use framelane_wire::identity::{
    Authority, AuthorityError, EnrolError, Identity, IdentityError, RenewError, Token, TokenOptions,
};
use framelane_wire::node::{self, ConnectError, DialError};
use framelane_wire::server::{BindError, Config, Event, HandOutError, Listener, Refusal};
use support::{LOOPBACK, Site, hello, soon};

#[tokio::test]
async fn a_token_of_another_process_is_honoured_as_often_as_it_says() {
    let site = Site::new(Config::default());
    // Another handle on the same folder, as a command line has.
    let other = Authority::load_or_create(site.dir.path()).unwrap();
    assert_eq!(other.fingerprint(), site.authority.fingerprint());
    let options = TokenOptions { uses: NonZeroU32::new(2).unwrap(), ..TokenOptions::default() };
    let token: Token = other.token(options).unwrap().to_string().parse().unwrap();
    let addr = site.addr();
    let enrol = |name: &'static str| Identity::enrol(&addr, &token, name);
    let (a, b, c) = soon(async { tokio::join!(enrol("a"), enrol("b"), enrol("c")) }).await;
    let outcomes = [a, b, c];
    assert_eq!(outcomes.iter().filter(|o| o.is_ok()).count(), 2);
    assert!(outcomes.iter().any(|o| matches!(o, Err(EnrolError::UsedUpToken))));
}

#[tokio::test]
async fn wrong_and_late_tokens_are_told_apart() {
    let site = Site::new(Config::default());
    let token =
        site.authority.token(TokenOptions { expires_in: Duration::ZERO, ..TokenOptions::default() }).unwrap();
    let late = soon(Identity::enrol(&site.addr(), &token, "w")).await;
    assert!(matches!(late, Err(EnrolError::ExpiredToken)), "{late:?}");
    // A token of this authority that it does not know any more.
    let token = site.authority.token(TokenOptions::default()).unwrap();
    std::fs::remove_dir_all(site.dir.path().join("tokens")).unwrap();
    let wrong = soon(Identity::enrol(&site.addr(), &token, "w")).await;
    assert!(matches!(wrong, Err(EnrolError::WrongToken)), "{wrong:?}");
}

#[tokio::test]
async fn a_token_of_another_authority_never_leaves_this_machine() {
    let (site, other) = (Site::new(Config::default()), Site::new(Config::default()));
    let token = other.authority.token(TokenOptions::default()).unwrap();
    let wrong = soon(Identity::enrol(&site.addr(), &token, "w")).await;
    assert!(matches!(wrong, Err(EnrolError::WrongAuthority { .. })), "{wrong:?}");
    // It was not shown to the wrong server, and is still good at the right one.
    assert!(soon(Identity::enrol(&other.addr(), &token, "w")).await.is_ok());
}

#[tokio::test]
async fn a_bad_name_costs_no_use() {
    let site = Site::new(Config::default());
    let token = site.authority.token(TokenOptions::default()).unwrap();
    for name in ["", "line\nbreak", &"x".repeat(65)] {
        let refused = soon(Identity::enrol(&site.addr(), &token, name)).await;
        assert!(matches!(refused, Err(EnrolError::BadName(_))));
    }
    let identity = soon(Identity::enrol(&site.addr(), &token, "Küche 1")).await.unwrap();
    assert_eq!(identity.name(), "Küche 1");
    let left = identity.expires().duration_since(std::time::SystemTime::now()).unwrap();
    assert!(left.as_secs().abs_diff(90 * 24 * 3600) < 120, "{left:?}");
}

#[tokio::test]
async fn an_expired_certificate_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::load_or_create(dir.path()).unwrap().certificate_lifetime(Duration::ZERO);
    let listener = Listener::bind(LOOPBACK, authority.clone(), Config::default()).unwrap();
    let addr = listener.local_addr().to_string();
    let token = authority.token(TokenOptions::default()).unwrap();
    let identity = soon(Identity::enrol(&addr, &token, "w")).await.unwrap();
    // Certificates count whole seconds, and the last one still is valid: until it is over, it lets in.
    let refused = soon(async {
        loop {
            let config = node::Config::default();
            match node::connect(&addr, &identity, hello(1), config).await {
                Ok((node, _)) => node.close("too early").await,
                refused => break refused,
            }
        }
    })
    .await;
    assert!(matches!(refused, Err(ConnectError::Expired)), "{refused:?}");
}

#[tokio::test]
async fn a_worker_of_another_authority_does_not_speak_to_this_server() {
    let (site, other) = (Site::new(Config::default()), Site::new(Config::default()));
    let identity = other.enrol().await;
    let refused = soon(node::connect(&site.addr(), &identity, hello(1), node::Config::default())).await;
    let wrong = matches!(refused, Err(ConnectError::Dial(DialError::WrongAuthority { .. })));
    assert!(wrong, "{refused:?}");
}

#[tokio::test]
async fn unreachable_servers_are_told() {
    let site = Site::new(Config::default());
    let identity = site.enrol().await;
    // A port that is bound but never answers.
    let deaf = std::net::UdpSocket::bind(LOOPBACK).unwrap();
    let config = node::Config { greeting: Duration::from_millis(300), ..node::Config::default() };
    let deaf = deaf.local_addr().unwrap().to_string();
    let refused = soon(node::connect(&deaf, &identity, hello(1), config.clone())).await;
    let told = matches!(refused, Err(ConnectError::Dial(DialError::Unreachable { .. })));
    assert!(told, "{refused:?}");
    let refused = soon(node::connect("no-port-here", &identity, hello(1), config)).await;
    assert!(matches!(refused, Err(ConnectError::Dial(DialError::Resolve { .. }))), "{refused:?}");
}

#[tokio::test]
async fn a_taken_port_is_told() {
    let site = Site::new(Config::default());
    let taken = site.listener.local_addr();
    let error = Listener::bind(taken, site.authority.clone(), Config::default()).unwrap_err();
    assert!(matches!(error, BindError::Taken(addr) if addr == taken), "{error}");
}

#[cfg(unix)]
#[test]
fn secrets_are_kept_from_others() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let authority = Authority::load_or_create(&state).unwrap();
    authority.token(TokenOptions::default()).unwrap();
    let file = state.join("authority.pem");
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&file), 0o600);
    assert_eq!(mode(&state), 0o700);
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o644)).unwrap();
    assert!(matches!(Authority::load_or_create(&state), Err(AuthorityError::Exposed { .. })));
}

#[test]
fn one_authority_is_made_however_many_begin() {
    let dir = tempfile::tempdir().unwrap();
    let prints: Vec<_> = std::thread::scope(|s| {
        let threads: Vec<_> = (0..8)
            .map(|_| s.spawn(|| Authority::load_or_create(dir.path()).unwrap().fingerprint()))
            .collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    assert!(prints.iter().all(|print| print == &prints[0]));
}

#[test]
fn broken_files_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let missing = Identity::load(dir.path().join("none.pem"));
    assert!(matches!(missing, Err(IdentityError::Missing { .. })));
    Authority::load_or_create(dir.path()).unwrap();
    let file = dir.path().join("authority.pem");
    // A key with one certificate is an authority, no worker.
    assert!(matches!(Identity::load(&file), Err(IdentityError::Damaged { .. })));
    std::fs::write(&file, "nonsense").unwrap();
    assert!(matches!(Authority::load_or_create(dir.path()), Err(AuthorityError::Damaged { .. })));
}

#[tokio::test]
async fn a_certificate_is_renewed_for_the_same_worker_with_a_new_key() {
    let site = Site::new(Config::default());
    let old = site.enrol().await;
    let new = soon(old.renew(&site.addr())).await.unwrap();
    assert_eq!((new.worker(), new.name()), (old.worker(), old.name()));
    let key = |identity| pem(identity).split("CERTIFICATE").next().unwrap().to_owned();
    assert_ne!(key(&new), key(&old));
    // Both are good until they expire.
    for identity in [&old, &new] {
        let (.., node, _jobs) = site.join(identity, hello(1)).await;
        node.close("enough").await;
    }
    assert_eq!(site.authority.workers().unwrap().len(), 1, "it is no other worker");
}

fn pem(identity: &Identity) -> String {
    let dir = tempfile::tempdir().unwrap();
    identity.save(dir.path().join("i.pem")).unwrap();
    std::fs::read_to_string(dir.path().join("i.pem")).unwrap()
}

#[tokio::test]
async fn a_revoked_worker_neither_connects_nor_renews_and_the_others_do() {
    let site = Site::new(Config::default());
    let (revoked, other) = (site.enrol().await, site.enrol().await);
    // As a command line does it, in another process.
    let operator = Authority::load(site.dir.path()).unwrap();
    assert!(operator.revoke(revoked.worker()).unwrap().unwrap().revoked.is_some());
    assert_eq!(operator.revoke(queue::WorkerId(1)).unwrap(), None);
    let refused = soon(node::connect(&site.addr(), &revoked, hello(1), node::Config::default())).await;
    assert!(matches!(refused, Err(ConnectError::Revoked(_))), "{refused:?}");
    let refused = soon(revoked.renew(&site.addr())).await;
    assert!(matches!(refused, Err(RenewError::NotAdmitted(_))), "{refused:?}");
    let (peer, ..) = site.join(&other, hello(1)).await;
    assert_eq!(peer.worker(), other.worker());
    assert_eq!(site.listener.refusals().of(Refusal::Revoked), 2);
}

#[tokio::test]
async fn a_connected_worker_that_is_revoked_is_let_go_with_what_it_holds() {
    let (site, peer, mut events, _node, mut jobs) = support::pair(Config::default(), 4).await;
    let held = tokio::spawn(peer.hand_out(support::job(1), support::message("", 0)));
    let _job = support::next_job(&mut jobs).await;
    let before = std::time::Instant::now();
    Authority::load(site.dir.path()).unwrap().revoke(peer.worker()).unwrap().unwrap();
    assert_eq!(soon(held).await.unwrap(), Err(HandOutError::LaneClosed));
    assert!(matches!(soon(events.next()).await, Event::Closed(Closed::Revoked(_))));
    assert!(before.elapsed() < Duration::from_secs(2), "{:?}", before.elapsed());
    assert!(matches!(soon(jobs.next()).await, node::Event::Closed(Closed::Revoked(_))));
}

#[tokio::test]
async fn an_operators_drain_reaches_the_worker_and_the_end_says_to_stay_away() {
    let (site, peer, mut events, node, mut jobs) = support::pair(Config::default(), 4).await;
    Authority::load(site.dir.path()).unwrap().drain(peer.worker()).unwrap().unwrap();
    assert!(matches!(soon(jobs.next()).await, node::Event::Drain));
    node.drain();
    assert_eq!(soon(events.next()).await, Event::Drain);
    peer.close("drained");
    assert!(matches!(soon(jobs.next()).await, node::Event::Closed(Closed::SentAway(_))));
    // It was for that time: whoever starts it again gets it back.
    let identity = site.enrol().await;
    let (_peer, mut events, node, _jobs) = site.join(&identity, hello(1)).await;
    node.credit(1);
    assert_eq!(soon(events.next()).await, Event::Credit(1));
}

#[tokio::test]
async fn a_server_that_drains_lets_nobody_in_and_waits_until_all_have_left() {
    let (site, peer, _events, node, mut jobs) = support::pair(Config::default(), 4).await;
    let (identity, addr) = (site.enrol().await, site.addr());
    let worker = async {
        assert!(matches!(soon(jobs.next()).await, node::Event::Drain));
        let late = node::connect(&addr, &identity, hello(1), node::Config::default()).await;
        assert!(matches!(late, Err(ConnectError::Dial(_))), "{late:?}");
        node.close("drained").await;
    };
    soon(async { tokio::join!(site.listener.drain(Duration::from_secs(60)), worker) }).await;
    drop(peer);
}

#[tokio::test]
async fn an_identity_from_before_there_was_a_register_is_told_to_enrol_again() {
    let site = Site::new(Config::default());
    let identity = site.enrol().await;
    // What a state folder of such a version lacks.
    std::fs::remove_dir_all(site.dir.path().join("workers")).unwrap();
    let refused = soon(node::connect(&site.addr(), &identity, hello(1), node::Config::default())).await;
    let refused = refused.expect_err("the server has no record of it");
    assert!(matches!(refused, ConnectError::Revoked(_)), "{refused:?}");
    for part in ["no record", "before the server kept records", "enrol again", "framelane workers token"] {
        assert!(refused.to_string().contains(part), "{part}: {refused}");
    }
    let unrenewed = soon(identity.renew(&site.addr())).await.expect_err("nor is it renewed");
    assert!(unrenewed.to_string().contains("enrol again"), "{unrenewed}");
    assert_eq!(site.listener.refusals().of(Refusal::UnknownWorker), 2);
    assert_eq!(site.listener.refusals().of(Refusal::Revoked), 0);
    // The server that runs now makes the folder when it opens it.
    Authority::load(site.dir.path()).unwrap();
    let anew = site.enrol().await;
    let (peer, ..) = site.join(&anew, hello(1)).await;
    assert_eq!(peer.worker(), anew.worker());
}

#[test]
fn an_authority_that_is_not_there_is_not_made_by_looking() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(Authority::load(dir.path()), Err(AuthorityError::Missing { .. })));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}
