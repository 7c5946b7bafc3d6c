//! From a TLS connection to a greeted worker.

use bytes::Bytes;
use quinn::{Connection, SendStream};
use rustls::pki_types::CertificateDer;

use super::Config;
use crate::close::Code;
use crate::control::{Beat, PRIORITY, broken};
use crate::framing::Limits;
use crate::identity::{Subject, subject};
use crate::protocol::{Hello, MAX_KEYS, Welcome, name_is_good};
use crate::stream::{FrameReader, write};

pub(super) struct Greeted {
    pub(super) subject: Subject,
    pub(super) hello: Hello,
    pub(super) send: SendStream,
    pub(super) reader: FrameReader,
    pub(super) beat: Beat,
}

/// Greets a worker, or says with which code and text to turn it away.
pub(super) async fn greet(connection: &Connection, config: &Config) -> Result<Greeted, (Code, String)> {
    let certificates = connection
        .peer_identity()
        .and_then(|any| any.downcast::<Vec<CertificateDer<'static>>>().ok())
        .ok_or((Code::NoCertificate, "a worker must show a certificate".to_owned()))?;
    let subject = certificates
        .first()
        .and_then(subject)
        .ok_or((Code::NoCertificate, "the certificate names no worker".to_owned()))?;
    let violation = |e: String| (Code::Violation, e);
    let (mut send, recv) = connection.accept_bi().await.map_err(|e| violation(e.to_string()))?;
    let _ = send.set_priority(PRIORITY);
    let mut reader = FrameReader::new(recv);
    let mut hello = match reader.read::<Hello>(Limits::NO_BODY).await {
        Ok(Some((hello, _))) => hello,
        Ok(None) => return Err(violation("no greeting".into())),
        Err(e) => return Err(violation(broken(e).to_string())),
    };
    if !name_is_good(&hello.name) || hello.keys.len() > MAX_KEYS {
        return Err(violation("a name has 1 to 64 bytes, and there are at most 1024 keys".into()));
    }
    hello.credit = hello.credit.min(config.max_credit);
    hello.capabilities.retain(|ability| config.capabilities.contains(ability));
    let beat = Beat { every: config.heartbeat, dead_after: config.heartbeat * config.missed.max(1) };
    let millis = |d: std::time::Duration| u32::try_from(d.as_millis()).unwrap_or(u32::MAX);
    let welcome = Welcome {
        worker: subject.worker.get(),
        max_credit: config.max_credit,
        heartbeat_ms: millis(beat.every),
        dead_after_ms: millis(beat.dead_after),
        capabilities: hello.capabilities.clone(),
    };
    write(&mut send, &welcome, Bytes::new(), Limits::NO_BODY).await.map_err(|e| violation(e.to_string()))?;
    Ok(Greeted { subject, hello, send, reader, beat })
}

/// The protocol that TLS agreed upon.
pub(super) fn alpn(connection: &Connection) -> Vec<u8> {
    connection
        .handshake_data()
        .and_then(|any| any.downcast::<quinn::crypto::rustls::HandshakeData>().ok())
        .and_then(|data| data.protocol)
        .unwrap_or_default()
}
