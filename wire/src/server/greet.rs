//! From a TLS connection to a greeted worker, or client.

use std::sync::Arc;

use bytes::Bytes;
use quinn::{Connection, SendStream};
use rustls::pki_types::CertificateDer;

use super::door::Turned;
use super::tally::Refusal;
use super::{Clients, Config};
use crate::close::Code;
use crate::control::{Beat, PRIORITY, broken};
use crate::framing::Limits;
use crate::identity::{Authority, Record, Role, Subject, admitted, subject};
use crate::memory::{self, Arena};
use crate::practice;
use crate::protocol::{Hello, MAX_KEYS, SHARED_MEMORY, Taken, Welcome, name_is_good};
use crate::pushed::{ClientHello, ClientWelcome};
use crate::stream::{FrameReader, write};
use crate::transport;

pub(super) struct Greeted {
    pub(super) subject: Subject,
    pub(super) record: Record,
    pub(super) hello: Hello,
    pub(super) send: SendStream,
    pub(super) reader: FrameReader,
    pub(super) beat: Beat,
    /// What it shares with this server.
    pub(super) memory: Option<Arc<Arena>>,
}

/// Who a connection is, if it is somebody's of a fitting role that is still admitted, and what is known of
/// it.
pub(super) async fn admit(
    connection: &Connection,
    authority: &Authority,
    fits: &[Role],
) -> Result<(Subject, Record), Turned> {
    let certificates = connection
        .peer_identity()
        .and_then(|any| any.downcast::<Vec<CertificateDer<'static>>>().ok())
        .ok_or_else(|| {
            let why = "who comes for this must show a certificate";
            Turned::new(Refusal::NoCertificate, Code::NoCertificate, why)
        })?;
    let subject = certificates.first().and_then(subject).ok_or_else(|| {
        Turned::new(Refusal::BadCertificate, Code::NoCertificate, "the certificate does not say whose it is")
    })?;
    if !fits.contains(&subject.role) {
        let why = format!("this is not for a {}", subject.role);
        return Err(Turned::new(Refusal::WrongRole, Code::NoCertificate, why));
    }
    let (worker, authority) = (subject.worker, authority.clone());
    let found = tokio::task::spawn_blocking(move || authority.register().find(worker)).await;
    match found.map_err(std::io::Error::other).and_then(|found| found) {
        Ok(record) => match admitted(record) {
            Ok(record) => Ok((subject, record)),
            Err(outside) => Err(Turned::new(outside.refusal(), Code::Revoked, outside.to_string())),
        },
        Err(error) => {
            tracing::error!(%worker, %error, "the record of a worker cannot be read");
            Err(Turned::new(Refusal::Trouble, Code::Done, "the server is in trouble, see its log"))
        }
    }
}

/// Greets a worker. `no_memory` learns of those who come for its shared memory and may not have it.
pub(super) async fn greet(
    connection: &Connection,
    config: &Config,
    authority: &Authority,
    no_memory: impl Fn(&str),
) -> Result<Greeted, Turned> {
    let (subject, record) = admit(connection, authority, &[Role::Worker]).await?;
    let violation = |e: String| Turned::new(Refusal::Violation, Code::Violation, e);
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
    let sharing = hello.capabilities.iter().any(|ability| ability == SHARED_MEMORY);
    let offer = if sharing { offer(connection, config) } else { None };
    hello
        .capabilities
        .retain(|ability| ability == practice::ABILITY || config.capabilities.contains(ability));
    let mut capabilities = hello.capabilities.clone();
    capabilities.extend(offer.is_some().then(|| SHARED_MEMORY.to_owned()));
    let beat = Beat { every: config.heartbeat, dead_after: config.dead_after };
    let millis = |d: std::time::Duration| u32::try_from(d.as_millis()).unwrap_or(u32::MAX);
    let welcome = Welcome {
        worker: subject.worker.get(),
        max_credit: config.max_credit,
        heartbeat_ms: millis(beat.every),
        dead_after_ms: millis(beat.dead_after),
        capabilities,
        memory: offer.as_ref().map(memory::Offer::told),
    };
    write(&mut send, &welcome, Bytes::new(), Limits::NO_BODY).await.map_err(|e| violation(e.to_string()))?;
    let memory = match offer {
        Some(offer) => settle(offer, &mut reader, no_memory).await.map_err(violation)?,
        None => None,
    };
    Ok(Greeted { subject, record, hello, send, reader, beat, memory })
}

pub(super) struct GreetedClient {
    pub(super) subject: Subject,
    pub(super) record: Record,
    pub(super) hello: ClientHello,
    pub(super) allowed: Clients,
    pub(super) control: (SendStream, FrameReader),
    pub(super) tasks: (SendStream, FrameReader),
    pub(super) beat: Beat,
}

/// Greets a client.
pub(super) async fn greet_client(
    connection: &Connection,
    config: &Config,
    authority: &Authority,
) -> Result<GreetedClient, Turned> {
    let (subject, record) = admit(connection, authority, &[Role::Client]).await?;
    let violation = |e: String| Turned::new(Refusal::Violation, Code::Violation, e);
    let Some(allowed) = config.clients else { return Err(violation("no clients are let in".into())) };
    let (mut send, recv) = connection.accept_bi().await.map_err(|e| violation(e.to_string()))?;
    let _ = send.set_priority(PRIORITY);
    let mut reader = FrameReader::new(recv);
    let mut hello = match reader.read::<ClientHello>(Limits::NO_BODY).await {
        Ok(Some((hello, _))) => hello,
        Ok(None) => return Err(violation("no greeting".into())),
        Err(e) => return Err(violation(broken(e).to_string())),
    };
    if !name_is_good(&hello.name) {
        return Err(violation("a name has 1 to 64 bytes".into()));
    }
    hello.capabilities.retain(|ability| config.capabilities.contains(ability));
    let beat = Beat { every: config.heartbeat, dead_after: config.dead_after };
    let u32_of = |n: u128| u32::try_from(n).unwrap_or(u32::MAX);
    let welcome = ClientWelcome {
        client: subject.worker.get(),
        tasks: allowed.tasks,
        bytes: allowed.bytes(),
        head: u32_of(allowed.limits.head as u128),
        body: u32_of(allowed.limits.body as u128),
        heartbeat_ms: u32_of(beat.every.as_millis()),
        dead_after_ms: u32_of(beat.dead_after.as_millis()),
        capabilities: hello.capabilities.clone(),
    };
    // Room for the stream of its tasks, and for what they bring.
    connection.set_max_concurrent_bi_streams(2u32.into());
    connection.set_receive_window(transport::receive(config.windows, 4));
    write(&mut send, &welcome, Bytes::new(), Limits::NO_BODY).await.map_err(|e| violation(e.to_string()))?;
    let (answers, submits) = connection.accept_bi().await.map_err(|e| violation(e.to_string()))?;
    let (control, tasks) = ((send, reader), (answers, FrameReader::new(submits)));
    Ok(GreetedClient { subject, record, hello, allowed, control, tasks, beat })
}

/// Memory for a worker that dialled in from this host.
fn offer(connection: &Connection, config: &Config) -> Option<memory::Offer> {
    let remote = connection.remote_address().ip().to_canonical();
    let here = connection.local_ip().map(|ip| ip.to_canonical());
    if !remote.is_loopback() && Some(remote) != here {
        return None;
    }
    // What the credit can have outstanding is all that is ever used.
    let most = (config.limits.body as u64).saturating_mul(config.max_credit.into());
    let size = config.shared_memory.min(most).min(memory::MOST) / memory::PAGE * memory::PAGE;
    if size == 0 {
        return None;
    }
    memory::Offer::new(size)
        .inspect_err(|error| tracing::warn!(%error, "no memory can be shared with a worker on this host"))
        .ok()
}

/// Hands the memory over, or learns that the worker cannot take it.
async fn settle(
    offer: memory::Offer,
    reader: &mut FrameReader,
    refused: impl Fn(&str),
) -> Result<Option<Arc<Arena>>, String> {
    let mut handed = false;
    let hand_over = async {
        let handing = offer.hand_over(refused).await;
        handed = handing.inspect_err(|error| tracing::debug!(%error, "no hand-over")).is_ok();
        std::future::pending::<()>().await;
    };
    let taken = tokio::select! {
        taken = reader.read::<Taken>(Limits::NO_BODY) => taken,
        () = hand_over => Ok(None),
    };
    match taken {
        Ok(Some((Taken { memory: true }, _))) if handed => Ok(Some(offer.arena())),
        Ok(Some((Taken { memory: true }, _))) => Err("it has memory that was not handed over".into()),
        Ok(Some((Taken { memory: false }, _))) => Ok(None),
        Ok(None) => Err("no word about the memory".into()),
        Err(e) => Err(broken(e).to_string()),
    }
}
