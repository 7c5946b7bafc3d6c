//! The tokens that an authority knows, as files, so that one process can mint what another honours.
//!
//! `tokens/<id>` holds the hash of the secret, the expiry and the number of uses; `tokens/<id>.<n>`
//! exists once use `n` is spent. Creating a file that must not exist is atomic, so a use is spent once,
//! whichever process or thread asks, also across a crash.

use std::fs;
use std::hint::black_box;
use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_bytes::ByteArray;

use super::token::Token;
use super::{Role, files};
use crate::framing::{decode_cbor, encode_cbor};

/// Bounds the files of one token.
pub(super) const MAX_USES: u32 = 1000;
/// Bounds the files of all tokens.
const MAX_TOKENS: usize = 10_000;

#[derive(Serialize, Deserialize)]
pub(super) struct Record {
    digest: ByteArray<32>,
    expires: u64,
    uses: u32,
    /// Absent in tokens of before there were others: a worker's.
    #[serde(default)]
    role: Role,
}

/// The folder of tokens.
#[derive(Debug)]
pub(super) struct Ledger {
    dir: PathBuf,
}

/// Why a token is not honoured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Denied {
    /// No such token, or another secret. One answer for both: which of them it is, is nobody's business.
    Unknown,
    Expired,
    UsedUp,
    /// It is for another role than the one that was asked for; no use is spent.
    OtherRole,
}

impl Ledger {
    pub(super) fn open(dir: PathBuf) -> io::Result<Self> {
        files::private_dir(&dir)?;
        Ok(Self { dir })
    }

    fn path(&self, id: u64) -> PathBuf {
        self.dir.join(format!("{id:016x}"))
    }

    /// Writes a token down. `now` in seconds of the Unix epoch.
    pub(super) fn add(&self, token: &Token, role: Role, uses: u32, now: u64) -> io::Result<()> {
        self.sweep(now)?;
        let record = Record {
            digest: ByteArray::new(Token::digest(token.id, &token.secret)),
            expires: token.expires,
            uses,
            role,
        };
        let record = encode_cbor(&record, 1024).map_err(io::Error::other)?;
        if files::create(&self.path(token.id), &record)? {
            Ok(())
        } else {
            Err(io::Error::new(io::ErrorKind::AlreadyExists, "a token of this id exists"))
        }
    }

    /// Spends one use of a token.
    pub(super) fn spend(
        &self,
        id: u64,
        secret: &[u8],
        role: Role,
        now: u64,
    ) -> io::Result<Result<(), Denied>> {
        let record = match fs::read(self.path(id)) {
            Ok(bytes) => decode_cbor::<Record>(&bytes).map_err(io::Error::other)?,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Err(Denied::Unknown)),
            Err(e) => return Err(e),
        };
        if !same(&record.digest, &Token::digest(id, secret)) {
            return Ok(Err(Denied::Unknown));
        }
        if now >= record.expires {
            return Ok(Err(Denied::Expired));
        }
        if role != record.role {
            return Ok(Err(Denied::OtherRole));
        }
        for n in 0..record.uses.min(MAX_USES) {
            match files::private_new(&self.path(id).with_extension(n.to_string())) {
                Ok(_) => return Ok(Ok(())),
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(e),
            }
        }
        Ok(Err(Denied::UsedUp))
    }

    /// Removes tokens that expired more than a day ago (until then a late worker is told why), and
    /// refuses when too many are left.
    fn sweep(&self, now: u64) -> io::Result<()> {
        let mut tokens = 0;
        for entry in fs::read_dir(&self.dir)? {
            let path = entry?.path();
            if path.extension().is_some() {
                continue;
            }
            let record = fs::read(&path).ok().and_then(|bytes| decode_cbor::<Record>(&bytes).ok());
            let Some(record) = record else { continue };
            if now.saturating_sub(record.expires) > 24 * 3600 && now > record.expires {
                for n in 0..record.uses.min(MAX_USES) {
                    if fs::remove_file(path.with_extension(n.to_string())).is_err() {
                        break; // Uses are spent in order: the rest was not.
                    }
                }
                // Another process may have swept it meanwhile.
                let _ = fs::remove_file(&path);
            } else {
                tokens += 1;
            }
        }
        if tokens >= MAX_TOKENS {
            return Err(io::Error::other(format!("{MAX_TOKENS} tokens are valid already")));
        }
        Ok(())
    }
}

/// Compares in a time that does not depend on where the difference is.
fn same(a: &[u8; 32], b: &[u8; 32]) -> bool {
    black_box(a.iter().zip(b).fold(0u8, |d, (a, b)| black_box(d | (a ^ b)))) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(id: u64, expires: u64) -> Token {
        Token { fingerprint: [0; 32], id, secret: [9; 16], expires }
    }

    #[test]
    fn a_use_is_spent_once_however_many_ask() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(dir.path().join("tokens")).unwrap();
        ledger.add(&token(1, 100), Role::Worker, 3, 0).unwrap();
        let granted: usize = std::thread::scope(|s| {
            let threads: Vec<_> = (0..8)
                .map(|_| {
                    s.spawn(|| {
                        (0..4)
                            .filter(|_| ledger.spend(1, &[9; 16], Role::Worker, 50).unwrap().is_ok())
                            .count()
                    })
                })
                .collect();
            threads.into_iter().map(|t| t.join().unwrap()).sum()
        });
        assert_eq!(granted, 3);
        assert_eq!(ledger.spend(1, &[9; 16], Role::Worker, 50).unwrap(), Err(Denied::UsedUp));
    }

    #[test]
    fn wrong_and_late_are_told_apart_only_for_who_knows_the_secret() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(dir.path().join("tokens")).unwrap();
        ledger.add(&token(1, 100), Role::Worker, 1, 0).unwrap();
        assert_eq!(ledger.spend(2, &[9; 16], Role::Worker, 50).unwrap(), Err(Denied::Unknown));
        assert_eq!(ledger.spend(1, &[8; 16], Role::Worker, 500).unwrap(), Err(Denied::Unknown));
        assert_eq!(ledger.spend(1, &[9; 16], Role::Worker, 100).unwrap(), Err(Denied::Expired));
        assert_eq!(ledger.spend(1, &[9; 16], Role::Worker, 99).unwrap(), Ok(()));
    }

    #[test]
    fn a_token_is_for_one_role_and_keeps_its_use_when_another_is_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(dir.path().join("tokens")).unwrap();
        ledger.add(&token(1, 100), Role::Client, 1, 0).unwrap();
        for role in [Role::Worker, Role::Operator] {
            assert_eq!(ledger.spend(1, &[9; 16], role, 50).unwrap(), Err(Denied::OtherRole));
            assert_eq!(
                ledger.spend(1, &[8; 16], role, 50).unwrap(),
                Err(Denied::Unknown),
                "nobody's business"
            );
        }
        assert_eq!(ledger.spend(1, &[9; 16], Role::Client, 50).unwrap(), Ok(()));
    }

    #[test]
    fn old_tokens_are_swept_and_secrets_are_not_stored() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokens");
        let ledger = Ledger::open(path.clone()).unwrap();
        ledger.add(&token(1, 100), Role::Worker, 2, 0).unwrap();
        ledger.spend(1, &[9; 16], Role::Worker, 50).unwrap().unwrap();
        let stored = fs::read(ledger.path(1)).unwrap();
        assert!(!stored.windows(16).any(|w| w == [9; 16]));
        ledger.add(&token(2, 500_000), Role::Worker, 1, 200_000).unwrap();
        let names: Vec<_> = fs::read_dir(path).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names, ["0000000000000002"]);
    }
}
