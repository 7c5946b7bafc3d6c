//! TLS as protocol 1 wants it: 1.3 only, on ring by name, both ends with certificates of one
//! authority, no resumption. No option skips a check.

use std::sync::{Arc, PoisonError, RwLock};

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::version::TLS13;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use sha2::{Digest, Sha256};

use crate::protocol::{ALPN_ENROL, ALPN_VERSIONS};

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

/// What the server shows. It can be replaced while the server runs; handshakes under way are not touched.
#[derive(Debug)]
pub(crate) struct Shown(RwLock<Arc<CertifiedKey>>);

impl Shown {
    pub(crate) fn new(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Arc<Self>, Error> {
        Ok(Arc::new(Self(RwLock::new(certified(chain, key)?))))
    }

    pub(crate) fn replace(
        &self,
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<(), Error> {
        let new = certified(chain, key)?;
        // Replaced whole, so a poisoned lock holds a good value.
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = new;
        Ok(())
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.read().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

fn certified(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Arc<CertifiedKey>, Error> {
    CertifiedKey::from_der(chain, key, &provider()).map(Arc::new)
}

/// The server's side of its protocols, the first of which that the client offers is taken. A certificate
/// that is shown is always checked; that one is shown is checked after the handshake, because TLS asks
/// before it knows the protocol.
pub(crate) fn server(
    shown: Arc<Shown>,
    authority: &CertificateDer<'static>,
    alpns: &[&[u8]],
) -> Result<QuicServerConfig, Error> {
    let clients = WebPkiClientVerifier::builder_with_provider(roots(authority)?, provider())
        .allow_unauthenticated()
        .build()
        .map_err(|e| Error::General(e.to_string()))?;
    let mut config = rustls::ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(clients)
        .with_cert_resolver(shown);
    config.alpn_protocols = alpns.iter().copied().chain([ALPN_VERSIONS]).map(<[u8]>::to_vec).collect();
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
    alpn: &[u8],
) -> Result<QuicClientConfig, Error> {
    let server = WebPkiServerVerifier::builder_with_provider(roots(authority)?, provider())
        .build()
        .map_err(|e| Error::General(e.to_string()))?;
    let config = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .with_webpki_verifier(server)
        .with_client_auth_cert(chain, key)?;
    client(config, alpn)
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
    // The second is taken by a server that does not speak the first, and lets both say so.
    config.alpn_protocols = vec![alpn.to_vec(), ALPN_VERSIONS.to_vec()];
    config.resumption = rustls::client::Resumption::disabled();
    QuicClientConfig::try_from(config).map_err(|e| Error::General(e.to_string()))
}

/// A worker that offers no protocol that this version knows, not even to compare versions.
#[cfg(test)]
pub(crate) fn nothing_in_common_for_tests(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    authority: &CertificateDer<'static>,
) -> QuicClientConfig {
    let mut config = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_root_certificates(roots(authority).unwrap())
        .with_client_auth_cert(chain, key)
        .unwrap();
    config.alpn_protocols = vec![b"framelane-lane/9".to_vec()];
    QuicClientConfig::try_from(config).unwrap()
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
