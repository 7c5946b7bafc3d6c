//! Who may end the program over HTTP: who has the secret, and nobody else.

mod support;

use framelane_web::{Config, Shutdown};
use support::start;
use tokio_util::sync::CancellationToken;

const PATH: &str = "/api/v1/shutdown";

fn lines(authorization: &str) -> String {
    format!("Host: localhost\r\nContent-Length: 0\r\n{authorization}")
}

#[tokio::test]
async fn the_secret_ends_it_and_nothing_else_does() {
    let asked = CancellationToken::new();
    let shutdown = Some(Shutdown::new("open-sesame", asked.clone()));
    let server = start(Config { shutdown, ..Config::default() });
    for wrong in [
        "",
        "Authorization: Bearer\r\n",
        "Authorization: Bearer \r\n",
        "Authorization: Bearer open-sesam\r\n",
        "Authorization: Bearer open-sesame2\r\n",
        "Authorization: Bearer Open-sesame\r\n",
        "Authorization: Basic open-sesame\r\n",
        "Authorization: open-sesame\r\n",
        // Two of them: which one counts is nobody's guess.
        "Authorization: Bearer wrong\r\nAuthorization: Bearer open-sesame\r\n",
    ] {
        let answer = server.ask("POST", PATH, &lines(wrong)).await;
        assert_eq!((answer.status, answer.error().as_str()), (401, "unauthorized"), "{wrong}");
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
    }
    let right = "Authorization: Bearer open-sesame\r\n";
    let answer = server.ask("GET", PATH, &lines(right)).await;
    assert_eq!((answer.status, answer.header("allow")), (405, Some("POST")));
    // A page of another site, even one that knows it.
    let foreign = format!("{}Origin: http://evil.example\r\n", lines(right));
    assert_eq!(server.ask("POST", PATH, &foreign).await.status, 403);
    assert!(!asked.is_cancelled());

    let answer = server.ask("POST", PATH, &lines(right)).await;
    assert_eq!((answer.status, answer.json()["status"].as_str()), (202, Some("stopping")));
    assert!(asked.is_cancelled());
}

#[tokio::test]
async fn without_a_secret_nobody_is_let_in() {
    let asked = CancellationToken::new();
    for shutdown in [None, Some(Shutdown::new("", asked.clone()))] {
        let server = start(Config { shutdown, ..Config::default() });
        for shown in ["", "Authorization: Bearer \r\n", "Authorization: Bearer x\r\n"] {
            assert_eq!(server.ask("POST", PATH, &lines(shown)).await.status, 401, "{shown}");
        }
    }
    assert!(!asked.is_cancelled());
}
