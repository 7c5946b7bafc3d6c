//! The decoders of identities, for [`crate::fuzz`].
#![allow(clippy::unwrap_used, reason = "it is run by tests and by a developer's command")]

use std::path::Path;

use rcgen::{CertificateParams, CertificateSigningRequestParams, KeyPair};
use rustls::pki_types::{CertificateDer, CertificateSigningRequestDer};

use super::{Authority, Record, Role, TokenOptions, enrol, files, ledger, renew, subject};
use crate::framing::decode_cbor;
use crate::fuzz::Seed;

pub(crate) fn fuzz_enrolment(bytes: &[u8]) {
    let _ = decode_cbor::<enrol::Request>(bytes);
    let _ = decode_cbor::<enrol::Reply>(bytes);
    let _ = decode_cbor::<renew::Request>(bytes);
}

/// Requests, which strangers send, and certificates, whose subjects are read.
pub(crate) fn fuzz_certificates(bytes: &[u8]) {
    let _ = CertificateSigningRequestParams::from_der(&CertificateSigningRequestDer::from(bytes));
    let _ = subject(&CertificateDer::from(bytes));
}

pub(crate) fn fuzz_token_record(bytes: &[u8]) {
    let _ = decode_cbor::<ledger::Record>(bytes);
}

pub(crate) fn seeds_for_fuzz(scratch: &Path) -> Vec<Seed> {
    let authority = Authority::load_or_create(scratch).unwrap();
    let token = authority.token(TokenOptions::default()).unwrap();
    let request = CertificateParams::default().serialize_request(&KeyPair::generate().unwrap()).unwrap();
    let request = request.der();
    let worker = authority.enrol((token.id, &token.secret), Role::Worker, "w", request).unwrap();
    let (known, leaf) = (authority.register().find(worker.worker).unwrap().unwrap(), worker.certificate);
    let record = Record { revoked: Some(4), drains: 5, ..known };
    let tokens = std::fs::read_dir(scratch.join("tokens")).unwrap();
    // One is the token, the other its use, which is empty.
    let tokens = tokens.map(|entry| std::fs::read(entry.unwrap().path()).unwrap()).find(|t| !t.is_empty());
    let pem = files::pem("PRIVATE KEY", b"no key") + &files::pem("CERTIFICATE", &leaf).repeat(2);
    vec![
        ("enrol", "request", enrol::seed(&token, request)),
        ("certificate", "request", request.to_vec()),
        ("certificate", "leaf", leaf.to_vec()),
        ("token", "whole", token.to_string().into_bytes()),
        ("record", "worker", crate::fuzz_seeds::cbor(&record)),
        ("record", "token", tokens.unwrap()),
        ("identity", "whole", pem.into_bytes()),
    ]
}
