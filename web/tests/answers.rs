//! What is answered to whom: paths, errors, hosts, origins.

mod support;

use framelane_web::Config;
use support::start;

#[tokio::test]
async fn the_page_and_its_files_are_there() {
    let server = start(Config::default());
    let page = server.get("/").await;
    assert_eq!(page.status, 200);
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    let html = String::from_utf8(page.body).unwrap();
    assert!(html.contains("<title>Framelane</title>"));
    let linked = html.split('"').filter(|text| text.starts_with("/assets/"));
    for path in linked {
        assert_eq!(server.get(path).await.status, 200, "{path}");
    }
    let script = server.get("/assets/main.js").await;
    assert_eq!(script.header("content-type"), Some("text/javascript; charset=utf-8"));
    assert_eq!(server.get("/assets/nothing.js").await.error(), "no_such_path");
}

#[tokio::test]
async fn streams_workers_and_refusals_are_json() {
    let server = start(Config::default());
    assert_eq!(server.get("/api/v1/streams").await.json()[0]["id"], "door");
    let stream = server.get("/api/v1/streams/door").await.json();
    assert_eq!(stream["state"], "starting");
    assert_eq!(stream["ledger"]["missing"]["no_lane"], 0);
    assert_eq!(server.get("/api/v1/workers").await.json(), serde_json::json!([]));
    let refusals = serde_json::json!([{"reason": "revoked", "connections": 2}]);
    assert_eq!(server.get("/api/v1/refusals").await.json(), refusals);
}

#[tokio::test]
async fn what_is_not_there_says_so_in_json() {
    let server = start(Config::default());
    for (path, error) in [
        ("/api/v1/streams/window", "no_such_stream"),
        ("/streams/window/mjpeg", "no_such_stream"),
        ("/streams/window/snapshot.jpg", "no_such_stream"),
        ("/api/v1/streams/door/more", "no_such_path"),
        ("/api/v1/nothing", "no_such_path"),
        ("/nothing", "no_such_path"),
        ("/../etc/passwd", "no_such_path"),
    ] {
        let answer = server.get(path).await;
        assert_eq!((answer.status, answer.error().as_str()), (404, error), "{path}");
    }
    let message = server.get("/api/v1/streams/window").await.json()["message"].clone();
    assert!(message.as_str().unwrap().contains("there are: door"), "{message}");
}

#[tokio::test]
async fn other_methods_are_refused_where_a_path_is_there() {
    let server = start(Config::default());
    for path in ["/", "/api/v1/streams/door", "/metrics", "/streams/door/mjpeg"] {
        let answer = server.ask("POST", path, "Host: localhost\r\n").await;
        assert_eq!(answer.error(), "method_not_allowed", "{path}");
        assert_eq!(answer.status, 405);
        assert_eq!(answer.header("allow"), Some("GET, HEAD"));
    }
    let answer = server.ask("POST", "/nothing", "Host: localhost\r\n").await;
    assert_eq!(answer.status, 404);
    let answer = server.ask("HEAD", "/api/v1/streams", "Host: localhost\r\n").await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn foreign_hosts_and_pages_are_refused() {
    let server = start(Config { hosts: vec!["cam.example".to_owned()], ..Config::default() });
    for (lines, status, error) in [
        ("Host: evil.example\r\n", 403, "foreign_host"),
        ("", 400, "bad_host"),
        ("Host: localhost\r\nOrigin: http://evil.example\r\n", 403, "foreign_origin"),
        (
            "Host: localhost\r\nSec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: no-cors\r\n",
            403,
            "foreign_origin",
        ),
        ("Host: localhost\r\nContent-Length: 1000000\r\n", 413, "body_too_large"),
    ] {
        for path in ["/", "/api/v1/streams", "/streams/door/mjpeg", "/metrics"] {
            let answer = server.ask("GET", path, lines).await;
            assert_eq!((answer.status, answer.error().as_str()), (status, error), "{path} {lines}");
            assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        }
    }
    let own = format!("Host: {0}\r\nOrigin: http://{0}\r\n", server.address);
    for lines in [own.as_str(), "Host: cam.example\r\n", "Host: LOCALHOST:99\r\n"] {
        assert_eq!(server.ask("GET", "/", lines).await.status, 200, "{lines}");
    }
}

#[tokio::test]
async fn every_answer_carries_the_security_headers() {
    let server = start(Config::default());
    for path in ["/", "/api/v1/streams", "/nothing", "/assets/style.css"] {
        let answer = server.get(path).await;
        let policy = answer.header("content-security-policy").unwrap();
        assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"));
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(answer.header("cross-origin-resource-policy"), Some("same-origin"));
        assert_eq!(answer.header("access-control-allow-origin"), None);
    }
}

#[tokio::test]
async fn health_and_metrics_are_for_machines() {
    let server = start(Config::default());
    assert_eq!(server.get("/healthz").await.json()["status"], "ok");
    let unready = server.get("/readyz").await;
    assert_eq!(unready.status, 503);
    assert_eq!(unready.json()["status"], "no picture yet");
    server.fake.picture(1, 10);
    assert_eq!(server.get("/readyz").await.status, 200);

    let metrics = server.get("/metrics").await;
    let kind = metrics.header("content-type").unwrap();
    assert!(kind.starts_with("application/openmetrics-text; version=1.0.0"), "{kind}");
    let text = String::from_utf8(metrics.body).unwrap();
    assert!(text.contains("framelane_decoded_frames_total{stream=\"door\"} 0"), "{text}");
    assert!(text.ends_with("# EOF\n"));
}

#[tokio::test]
async fn the_queues_are_json() {
    let server = start(Config::default());
    let queues = server.get("/api/v1/queues").await.json();
    assert_eq!(queues, serde_json::json!({ "flows": [], "lanes": [] }));
}
