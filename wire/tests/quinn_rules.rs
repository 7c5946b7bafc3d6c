//! What quinn lets both ends observe, and what it does not: the reasons for the rules of protocol 1
//! that cancel, release and credit are messages on the control stream.
#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

mod support;

use std::sync::Arc;

use futures_util::FutureExt;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{ClientConfig, Connection, Endpoint, ReadError, ServerConfig, VarInt};
use rustls::pki_types::PrivateKeyDer;
use support::{LOOPBACK, soon};

/// Two ends of a bare connection; the client allows one stream.
async fn pair() -> (Endpoint, Endpoint, Connection, Connection) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let ring = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let tls = rustls::ServerConfig::builder_with_provider(ring.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let tls = Arc::new(QuicServerConfig::try_from(tls).unwrap());
    let server = Endpoint::server(ServerConfig::with_crypto(tls), LOOPBACK).unwrap();
    let tls = rustls::ClientConfig::builder_with_provider(ring)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
    let mut transport = quinn::TransportConfig::default();
    transport.max_concurrent_bidi_streams(1u32.into());
    config.transport_config(Arc::new(transport));
    let client = Endpoint::client(LOOPBACK).unwrap();
    let address = server.local_addr().unwrap();
    let dial = client.connect_with(config, address, "localhost").unwrap();
    let accept = async { server.accept().await.unwrap().await.unwrap() };
    let (theirs, ours) = soon(async { tokio::join!(dial, accept) }).await;
    (server, client, ours, theirs.unwrap())
}

const CODE: VarInt = VarInt::from_u32(9);

#[tokio::test]
async fn a_stop_is_seen_while_the_answer_is_open() {
    let (_s, _c, server, worker) = pair().await;
    let (mut job, mut answer) = soon(server.open_bi()).await.unwrap();
    job.write_all(b"job").await.unwrap();
    job.finish().unwrap();
    let (reply, mut received) = soon(worker.accept_bi()).await.unwrap();
    assert_eq!(soon(received.read_to_end(10)).await.unwrap(), b"job");
    // All of the job is acknowledged: it can no longer be reset, and the worker would see nothing.
    assert_eq!(soon(job.stopped()).await.unwrap(), None);
    assert!(job.reset(CODE).is_err());
    // The stop of the other half is what arrives.
    answer.stop(CODE).unwrap();
    assert_eq!(soon(reply.stopped()).await.unwrap(), Some(CODE));
}

#[tokio::test]
async fn a_stop_after_the_answer_was_acknowledged_is_never_seen() {
    let (_s, _c, server, worker) = pair().await;
    let (mut job, mut answer) = soon(server.open_bi()).await.unwrap();
    job.write_all(b"job").await.unwrap();
    let (mut reply, _received) = soon(worker.accept_bi()).await.unwrap();
    reply.write_all(b"answer").await.unwrap();
    reply.finish().unwrap();
    // The worker knows that the transport has its answer, and cannot know whether it was wanted.
    assert_eq!(soon(reply.stopped()).await.unwrap(), None);
    // The server has not read it and cancels. Without a control message it would wait in vain for the
    // release, the worker being done with the ticket.
    answer.stop(CODE).unwrap();
    assert_eq!(soon(reply.stopped()).await.unwrap(), None);
}

#[tokio::test]
async fn a_reset_before_the_head_names_no_ticket() {
    let (_s, _c, server, worker) = pair().await;
    let (mut job, _answer) = soon(server.open_bi()).await.unwrap();
    job.reset(CODE).unwrap();
    let (_reply, mut received) = soon(worker.accept_bi()).await.unwrap();
    let read = soon(received.read_chunk(100, true)).await;
    assert_eq!(read.unwrap_err(), ReadError::Reset(CODE));
}

#[tokio::test]
async fn a_stream_comes_back_only_after_both_ends_are_read() {
    let (_s, _c, server, worker) = pair().await;
    let (mut job, mut answer) = soon(server.open_bi()).await.unwrap();
    job.write_all(b"job").await.unwrap();
    job.finish().unwrap();
    let (mut reply, mut received) = soon(worker.accept_bi()).await.unwrap();
    reply.write_all(b"answer").await.unwrap();
    reply.finish().unwrap();
    // The answer is here, so by credit the next job could go out; but not by the stream limit.
    assert_eq!(soon(answer.read_to_end(10)).await.unwrap(), b"answer");
    assert!(server.open_bi().now_or_never().is_none());
    assert_eq!(soon(received.read_to_end(10)).await.unwrap(), b"job");
    soon(server.open_bi()).await.unwrap();
}
