//! Tokens and certificates: who gets in, and what the others are told.
#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

mod support;

use std::num::NonZeroU32;
use std::time::Duration;

use framelane_wire::identity::{
    Authority, AuthorityError, EnrolError, Identity, IdentityError, Token, TokenOptions,
};
use framelane_wire::node::{self, ConnectError, DialError};
use framelane_wire::server::{BindError, Config, Listener};
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
