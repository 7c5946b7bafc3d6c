//! How a client gets in, and in again: what a token is used for, and what its error texts promise.
#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

mod support;

use std::path::PathBuf;
use std::time::Duration;

use framelane_wire::client::{Ask, Config, ConnectError, EntryError, OperateError, Seat};
use framelane_wire::identity::{EnrolError, Identity, Role, Token, TokenOptions};
use framelane_wire::node::DialError;
use framelane_wire::server::{self, Clients};
use queue::WorkerId;
use support::{Site, soon};

fn site() -> Site {
    Site::new(server::Config { clients: Some(Clients::default()), ..server::Config::default() })
}

fn token(site: &Site, role: Role) -> Token {
    site.authority.token_for(role, TokenOptions::default()).unwrap()
}

fn path(site: &Site) -> PathBuf {
    site.dir.path().join("client.pem")
}

fn seat(site: &Site, token: Option<Token>) -> Seat {
    Seat::new(site.addr(), "c", path(site)).token(token)
}

async fn enter(seat: &Seat) -> Result<WorkerId, EntryError> {
    let config = Config { reconnect: false, ..Config::new("c") };
    soon(seat.connect(config)).await.map(|(raw, _)| raw.client())
}

#[tokio::test]
async fn a_revoked_client_enrols_again_with_a_new_token() {
    let site = site();
    let first = enter(&seat(&site, Some(token(&site, Role::Client)))).await.unwrap();
    site.authority.revoke(first).unwrap();

    let refused = enter(&seat(&site, None)).await.unwrap_err();
    assert!(matches!(refused, EntryError::Connect(ConnectError::Revoked(_))), "{refused:?}");
    assert!(refused.needs_token() && refused.to_string().contains("enrol again with a new token"));

    let second = enter(&seat(&site, Some(token(&site, Role::Client)))).await.unwrap();
    assert_ne!(first, second);
    // It was kept, so the next time needs no token.
    assert_eq!(enter(&seat(&site, None)).await.unwrap(), second);
}

#[tokio::test]
async fn a_token_that_was_used_up_says_so_beside_the_reason_and_the_file_stays() {
    let site = site();
    let used = token(&site, Role::Client);
    let first = enter(&seat(&site, Some(used.clone()))).await.unwrap();
    site.authority.revoke(first).unwrap();
    let refused = enter(&seat(&site, Some(used))).await.unwrap_err();
    assert!(matches!(refused, EntryError::NotAgain { source: EnrolError::UsedUpToken, .. }), "{refused:?}");
    let text = refused.to_string();
    assert!(refused.needs_token() && text.contains("revoked") && text.contains("used up"), "{text}");
    assert_eq!(Identity::load(path(&site)).unwrap().worker(), first);
}

#[tokio::test]
async fn a_folder_that_was_made_anew_lets_in_with_a_token_of_its_own() {
    let (old, new) = (site(), site());
    let first = token(&old, Role::Client);
    enter(&seat(&old, Some(first.clone()))).await.unwrap();
    let there = |token| Seat::new(new.addr(), "c", path(&old)).token(token);

    let refused = enter(&there(None)).await.unwrap_err();
    let other = matches!(refused, EntryError::Connect(ConnectError::Dial(DialError::WrongAuthority { .. })));
    assert!(other && refused.needs_token(), "{refused:?}");
    let refused = enter(&there(Some(first))).await.unwrap_err();
    let other = matches!(refused, EntryError::NotAgain { source: EnrolError::WrongAuthority { .. }, .. });
    assert!(other && refused.needs_token(), "{refused:?}");

    let known = enter(&there(Some(token(&new, Role::Client)))).await.unwrap();
    assert_eq!(enter(&there(None)).await.unwrap(), known);
}

#[tokio::test]
async fn an_operator_enrols_again_too() {
    let site = site();
    let ask = async |token| {
        let seat = Seat::new(site.addr(), "o", path(&site)).role(Role::Operator).token(token);
        soon(seat.operate(Ask::Status, Duration::from_secs(20))).await
    };
    let answered = async {
        for _ in 0..2 {
            site.listener.operation().await.unwrap().reply.send("well".into()).unwrap();
        }
    };
    let asked = async {
        assert_eq!(ask(Some(token(&site, Role::Operator))).await.unwrap(), "well");
        site.authority.revoke(Identity::load(path(&site)).unwrap().worker()).unwrap();
        let refused = ask(None).await.unwrap_err();
        assert!(matches!(refused, EntryError::Operate(OperateError::Refused(_))), "{refused:?}");
        assert!(refused.needs_token());
        assert_eq!(ask(Some(token(&site, Role::Operator))).await.unwrap(), "well");
    };
    soon(async { tokio::join!(answered, asked) }).await;
}

#[tokio::test]
async fn trouble_of_the_network_needs_no_token_and_uses_none() {
    let site = site();
    let first = enter(&seat(&site, Some(token(&site, Role::Client)))).await.unwrap();
    // A port that is bound but never answers.
    let deaf = std::net::UdpSocket::bind(support::LOOPBACK).unwrap();
    let config = Config { greeting: Duration::from_millis(300), ..Config::new("c") };
    let away = Seat::new(deaf.local_addr().unwrap().to_string(), "c", path(&site));
    let away = away.token(Some(token(&site, Role::Client)));
    let refused = soon(away.connect(config)).await.unwrap_err();
    let silent = matches!(refused, EntryError::Connect(ConnectError::Dial(DialError::Unreachable { .. })));
    assert!(silent && !refused.needs_token(), "{refused:?}");
    assert_eq!(Identity::load(path(&site)).unwrap().worker(), first);
}

#[tokio::test]
async fn who_has_no_token_or_another_ones_is_told_which() {
    let site = site();
    let missing = enter(&seat(&site, None)).await.unwrap_err();
    assert!(missing.needs_token() && missing.to_string().contains("token --role client"), "{missing}");
    let workers = enter(&seat(&site, Some(token(&site, Role::Worker)))).await.unwrap_err();
    assert!(matches!(workers, EntryError::Enrol(EnrolError::OtherRole(Role::Client))), "{workers:?}");
    assert!(workers.needs_token());

    // A file is not taken from another role, whatever token there is.
    enter(&seat(&site, Some(token(&site, Role::Client)))).await.unwrap();
    let operator = seat(&site, Some(token(&site, Role::Operator))).role(Role::Operator);
    let taken = soon(operator.operate(Ask::Status, Duration::from_secs(20))).await.unwrap_err();
    assert!(matches!(taken, EntryError::OtherRole { has: Role::Client, .. }), "{taken:?}");
    assert_eq!(Identity::load(path(&site)).unwrap().role(), Role::Client);
}
