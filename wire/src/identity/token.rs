//! The token: what an operator hands to a worker so that it can enrol.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

use crate::tls::Fingerprint;

/// Tells a token from other secrets, and its form from later ones.
const PREFIX: &str = "fl1_";
/// fingerprint 32, id 8, secret 16, expiry 8, checksum 4.
const LEN: usize = 68;
const SECRET: usize = 16;

/// How long a token can be used, and how often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenOptions {
    /// From now. Default one hour.
    pub expires_in: Duration,
    /// How many workers, or others of the token's role, can enrol with it; at most 1000. Default 1.
    pub uses: NonZeroU32,
}

impl Default for TokenOptions {
    fn default() -> Self {
        Self { expires_in: Duration::from_secs(3600), uses: NonZeroU32::MIN }
    }
}

/// A secret that lets its holder enrol, and the fingerprint of the authority that will answer, so
/// that it can be told from an impostor.
///
/// `Display` gives the whole secret, in the form `fl1_…` that [`FromStr`] reads; `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    pub(crate) fingerprint: Fingerprint,
    pub(crate) id: u64,
    pub(crate) secret: [u8; SECRET],
    /// Seconds of the Unix epoch.
    pub(crate) expires: u64,
}

/// Why a text is no token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenParseError {
    /// It does not begin as tokens do.
    #[error("a token begins with \"fl1_\"; make one with `framelane workers token`")]
    NotAToken,
    /// It was cut or changed on its way.
    #[error("the token is damaged: copy it again, whole and without spaces")]
    Damaged,
}

impl Token {
    /// When it can no longer be used.
    pub fn expires(&self) -> SystemTime {
        UNIX_EPOCH.checked_add(Duration::from_secs(self.expires)).unwrap_or(UNIX_EPOCH)
    }

    /// What is stored of the secret. It is random and long, so a plain hash cannot be turned back.
    pub(super) fn digest(id: u64, secret: &[u8]) -> [u8; 32] {
        Sha256::new()
            .chain_update(b"framelane token 1")
            .chain_update(id.to_be_bytes())
            .chain_update(secret)
            .finalize()
            .into()
    }
}

/// Catches a token that was cut or mistyped before it is sent anywhere; it protects nothing else.
fn checksum(bytes: &[u8]) -> [u8; 4] {
    let [a, b, c, d, ..] = <[u8; 32]>::from(Sha256::digest(bytes));
    [a, b, c, d]
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = Vec::with_capacity(LEN);
        bytes.extend_from_slice(&self.fingerprint);
        bytes.extend_from_slice(&self.id.to_be_bytes());
        bytes.extend_from_slice(&self.secret);
        bytes.extend_from_slice(&self.expires.to_be_bytes());
        bytes.extend_from_slice(&checksum(&bytes));
        write!(f, "{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl FromStr for Token {
    type Err = TokenParseError;

    fn from_str(text: &str) -> Result<Self, TokenParseError> {
        use TokenParseError::Damaged;
        let text = text.trim().strip_prefix(PREFIX).ok_or(TokenParseError::NotAToken)?;
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| Damaged)?;
        let (content, sum) = bytes.split_last_chunk::<4>().ok_or(Damaged)?;
        if bytes.len() != LEN || checksum(content) != *sum {
            return Err(Damaged);
        }
        let (fingerprint, rest) = content.split_first_chunk::<32>().ok_or(Damaged)?;
        let (id, rest) = rest.split_first_chunk::<8>().ok_or(Damaged)?;
        let (secret, rest) = rest.split_first_chunk::<SECRET>().ok_or(Damaged)?;
        let (expires, _) = rest.split_first_chunk::<8>().ok_or(Damaged)?;
        Ok(Self {
            fingerprint: *fingerprint,
            id: u64::from_be_bytes(*id),
            secret: *secret,
            expires: u64::from_be_bytes(*expires),
        })
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("id", &self.id).field("expires", &self.expires).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> Token {
        Token { fingerprint: [1; 32], id: 2, secret: [3; SECRET], expires: 4 }
    }

    #[test]
    fn a_token_survives_being_written() {
        let text = token().to_string();
        assert!(text.starts_with("fl1_AQEB"), "{text}");
        assert_eq!(format!(" {text}\n").parse(), Ok(token()));
    }

    #[test]
    fn a_damaged_token_is_told() {
        let text = token().to_string();
        assert_eq!(text[..text.len() - 1].parse::<Token>(), Err(TokenParseError::Damaged));
        assert_eq!(text.replacen('A', "B", 1).parse::<Token>(), Err(TokenParseError::Damaged));
        assert_eq!("".parse::<Token>(), Err(TokenParseError::NotAToken));
        assert_eq!("fl1_".parse::<Token>(), Err(TokenParseError::Damaged));
    }

    #[test]
    fn debug_hides_the_secret() {
        let text = format!("{:?}", token());
        assert!(!text.contains('3'), "{text}");
    }
}
