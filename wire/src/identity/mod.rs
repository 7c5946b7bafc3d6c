//! Who may connect.
//!
//! The server keeps an [`Authority`], which signs. An operator mints a [`Token`] from it, also in
//! another process: both only read and write files of the authority's folder. Whoever holds the token
//! exchanges it once, by [`Identity::enrol`], for an [`Identity`]: a certificate that names it by an id.
//! From then on both ends show certificates of the same authority. A token is for one [`Role`], and so is
//! what it is exchanged for: a worker's certificate pushes no tasks, and a client's serves none.
//!
//! A certificate is exchanged for a new one, by [`Identity::renew`], while it is still valid. The
//! authority writes down whom it has admitted ([`Authority::workers`]) and can take that back
//! ([`Authority::revoke`]), also in another process than the one that serves.

mod authority;
mod enrol;
mod files;
#[cfg(any(test, feature = "fuzz"))]
mod fuzz;
mod hold;
mod issue;
mod ledger;
mod node;
mod own;
mod register;
mod renew;
mod role;
mod secret;
mod token;

pub(crate) use authority::unix_now;
pub use authority::{Authority, AuthorityError};
pub use enrol::EnrolError;
pub(crate) use enrol::serve as serve_enrolment;
#[cfg(any(test, feature = "fuzz"))]
pub(crate) use fuzz::{fuzz_certificates, fuzz_enrolment, fuzz_token_record, seeds_for_fuzz};
pub use hold::{Hold, HoldError};
pub(crate) use issue::admitted;
pub use node::{Identity, IdentityError};
pub use register::Known;
pub(crate) use register::Record;
pub use renew::RenewError;
pub(crate) use renew::serve as serve_renewal;
pub use role::{NoSuchRole, Role};
pub use secret::{Secret, write_private};
pub use token::{Token, TokenOptions, TokenParseError};

use queue::WorkerId;
use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate};

/// The attribute of a certificate's subject that holds the holder's id: X.520 serialNumber, in hex.
const HOLDER_ID: [u64; 4] = [2, 5, 4, 5];

/// The subject of a certificate that an authority gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Subject {
    pub(crate) worker: WorkerId,
    /// Its organizational unit. Who has another role is no worker although the same authority signed.
    pub(crate) role: Role,
    pub(crate) name: String,
    /// Seconds of the Unix epoch.
    pub(crate) begins: i64,
    /// Seconds of the Unix epoch.
    pub(crate) expires: i64,
}

/// Reads the subject of a certificate whose signature was checked before.
pub(crate) fn subject(certificate: &CertificateDer<'_>) -> Option<Subject> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let oid = x509_parser::oid_registry::OID_X509_SERIALNUMBER;
    let id = certificate.subject().iter_by_oid(&oid).next()?.as_str().ok()?;
    let name = certificate.subject().iter_common_name().next()?.as_str().ok()?;
    let role = certificate.subject().iter_organizational_unit().next()?.as_str().ok()?;
    Some(Subject {
        role: role.parse().ok()?,
        worker: WorkerId(u64::from_str_radix(id, 16).ok()?),
        name: name.to_owned(),
        begins: certificate.validity().not_before.timestamp(),
        expires: certificate.validity().not_after.timestamp(),
    })
}
