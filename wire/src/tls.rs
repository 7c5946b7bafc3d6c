//! TLS as protocol 1 wants it: 1.3 only, on ring by name, both ends with certificates of one
//! authority, no resumption. No option skips a check.

use std::sync::Arc;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::version::TLS13;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use sha2::{Digest, Sha256};

use crate::protocol::{ALPN_ENROL, ALPN_LANE};

/// The name in the server's certificate, wherever it runs. Workers check this name and the authority,
/// never a host name: an address may change, and the authority signs nothing else with it.
pub(crate) const SERVER_NAME: &str = "server.framelane.internal";

/// SHA-256 of an authority's certificate.
pub(crate) type Fingerprint = [u8; 32];

pub(crate) fn fingerprint(certificate: &CertificateDer<'_>) -> Fingerprint {
    Sha256::digest(certificate).into()
}

/// Never the process default, which panics once two providers are linked in.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn roots(authority: &CertificateDer<'static>) -> Result<Arc<RootCertStore>, Error> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.clone())?;
    Ok(Arc::new(roots))
}

/// The server's side of both ALPNs. A certificate that is shown is always checked; that one is shown
/// on [`ALPN_LANE`] is checked after the handshake, because TLS asks before it knows the protocol.
pub(crate) fn server(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    authority: &CertificateDer<'static>,
) -> Result<QuicServerConfig, Error> {
    let clients = WebPkiClientVerifier::builder_with_provider(roots(authority)?, provider())
        .allow_unauthenticated()
        .build()
        .map_err(|e| Error::General(e.to_string()))?;
    let mut config = rustls::ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(clients)
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![ALPN_LANE.to_vec(), ALPN_ENROL.to_vec()];
    // A resumed session would outlive the certificate that it began with.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    QuicServerConfig::try_from(config).map_err(|e| Error::General(e.to_string()))
}

/// A worker with its certificate.
pub(crate) fn worker(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    authority: &CertificateDer<'static>,
) -> Result<QuicClientConfig, Error> {
    let server = WebPkiServerVerifier::builder_with_provider(roots(authority)?, provider())
        .build()
        .map_err(|e| Error::General(e.to_string()))?;
    let config = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .with_webpki_verifier(server)
        .with_client_auth_cert(chain, key)?;
    client(config, ALPN_LANE)
}

/// Somebody with a token, who knows no more of the authority than its fingerprint.
pub(crate) fn enrolling(pinned: Fingerprint) -> Result<QuicClientConfig, Error> {
    let verifier = Arc::new(Pinned { fingerprint: pinned, provider: provider() });
    let config = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .dangerous() // "Dangerous" is rustls' word for any verifier that is not its own.
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    client(config, ALPN_ENROL)
}

fn client(mut config: rustls::ClientConfig, alpn: &[u8]) -> Result<QuicClientConfig, Error> {
    config.alpn_protocols = vec![alpn.to_vec()];
    config.resumption = rustls::client::Resumption::disabled();
    QuicClientConfig::try_from(config).map_err(|e| Error::General(e.to_string()))
}

/// Finds the authority with the pinned fingerprint in the chain that the server sent, then lets
/// rustls check the server's certificate against it in full: signature, dates, use and name.
#[derive(Debug)]
struct Pinned {
    fingerprint: Fingerprint,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let authority = intermediates
            .iter()
            .find(|certificate| fingerprint(certificate) == self.fingerprint)
            .ok_or(Error::InvalidCertificate(CertificateError::UnknownIssuer))?;
        WebPkiServerVerifier::builder_with_provider(
            roots(&authority.clone().into_owned())?,
            self.provider.clone(),
        )
        .build()
        .map_err(|e| Error::General(e.to_string()))?
        .verify_server_cert(end_entity, &[], server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 is not spoken here".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
