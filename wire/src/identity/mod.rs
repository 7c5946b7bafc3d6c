//! Who may connect.
//!
//! The server keeps an [`Authority`], which signs. An operator mints a [`Token`] from it, also in
//! another process: both only read and write files of the authority's folder. Whoever holds the token
//! exchanges it once, by [`Identity::enrol`], for an [`Identity`]: a certificate that names it by a
//! worker id. From then on both ends show certificates of the same authority.

mod authority;
mod enrol;
mod files;
mod ledger;
mod node;
mod token;

pub use authority::{Authority, AuthorityError};
pub use enrol::EnrolError;
pub(crate) use enrol::serve as serve_enrolment;
pub use node::{Identity, IdentityError};
pub use token::{Token, TokenOptions, TokenParseError};

use queue::WorkerId;
use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate};

/// The attribute of a certificate's subject that holds the worker's id: X.520 serialNumber, in hex.
const WORKER_ID: [u64; 4] = [2, 5, 4, 5];

/// The subject of a worker's certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Subject {
    pub(crate) worker: WorkerId,
    pub(crate) name: String,
    /// Seconds of the Unix epoch.
    pub(crate) expires: i64,
}

/// Reads the subject of a certificate whose signature was checked before.
pub(crate) fn subject(certificate: &CertificateDer<'_>) -> Option<Subject> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let oid = x509_parser::oid_registry::OID_X509_SERIALNUMBER;
    let id = certificate.subject().iter_by_oid(&oid).next()?.as_str().ok()?;
    let name = certificate.subject().iter_common_name().next()?.as_str().ok()?;
    Some(Subject {
        worker: WorkerId(u64::from_str_radix(id, 16).ok()?),
        name: name.to_owned(),
        expires: certificate.validity().not_after.timestamp(),
    })
}
