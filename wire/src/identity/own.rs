//! Identities that the holder of the authority's folder gives itself, without asking a server: who has the
//! folder could sign anything.

use std::time::SystemTime;

use rcgen::{CertificateParams, KeyPair};

use super::issue::{Issued, NotIssued, admitted};
use super::{Authority, AuthorityError, Identity, IdentityError, Role, subject};

impl Authority {
    /// The identity of this role that is kept in the authority's folder, made if there is none and replaced
    /// if it is due or was revoked: for commands on the server's own host. Blocks on files.
    ///
    /// # Errors
    /// [`AuthorityError`].
    pub fn own(&self, role: Role) -> Result<Identity, AuthorityError> {
        let path = self.file(&format!("{}.pem", role.name()));
        match Identity::load(&path) {
            Ok(identity) if identity.role() == role && self.is_good(&identity)? => return Ok(identity),
            // One that is damaged is replaced as one that is missing; one that others can read is theirs too.
            Ok(_) | Err(IdentityError::Missing { .. } | IdentityError::Damaged { .. }) => {}
            Err(error) => return Err(AuthorityError::Own(error)),
        }
        let key = KeyPair::generate()?;
        let request = CertificateParams::default().serialize_request(&key)?;
        let name = format!("the {} of this host", role.name());
        let Issued { certificate, .. } = self.issue(role, &name, request.der()).map_err(unissued)?;
        let subject = subject(&certificate)
            .ok_or_else(|| AuthorityError::Certificate("it does not say whose it is".into()))?;
        let identity = Identity {
            subject,
            certificate,
            authority: self.certificate().clone(),
            key: key.serialized_der().to_vec().into(),
        };
        identity.save(&path).map_err(AuthorityError::Own)?;
        Ok(identity)
    }

    /// Whether an identity is this authority's, admitted, and not due to be renewed.
    fn is_good(&self, identity: &Identity) -> Result<bool, AuthorityError> {
        if identity.authority != *self.certificate() || SystemTime::now() >= identity.renew_at() {
            return Ok(false);
        }
        let record = self.register().find(identity.worker());
        Ok(admitted(record.map_err(|source| self.workers_file(source))?).is_ok())
    }
}

fn unissued(why: NotIssued) -> AuthorityError {
    AuthorityError::Certificate(match why {
        NotIssued::BadRequest(why) | NotIssued::Trouble(why) => why,
        NotIssued::Denied(_) | NotIssued::NotAdmitted(_) => "it was denied".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_one_is_given_until_it_is_revoked() {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::load_or_create(dir.path()).unwrap();
        let first = authority.own(Role::Operator).unwrap();
        assert_eq!(first.role(), Role::Operator);
        assert_eq!(authority.own(Role::Operator).unwrap().worker(), first.worker());
        assert_ne!(authority.own(Role::Client).unwrap().worker(), first.worker());
        authority.revoke(first.worker()).unwrap().unwrap();
        let second = authority.own(Role::Operator).unwrap();
        assert_ne!(second.worker(), first.worker());
        // One of another authority is of no use either.
        let other = tempfile::tempdir().unwrap();
        let other = Authority::load_or_create(other.path()).unwrap();
        other.own(Role::Client).unwrap().save(authority.file("client.pem")).unwrap();
        assert_eq!(authority.own(Role::Client).unwrap().authority, *authority.certificate());
    }
}
