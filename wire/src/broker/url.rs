//! Where a broker is. The address may hold a password, so nothing but the client ever sees it whole.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, de};

/// Which broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// Redis Streams.
    Redis,
    /// RabbitMQ, or another that speaks AMQP 0-9-1 as it does.
    Amqp,
}

impl Kind {
    /// `redis` or `amqp`.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Redis => "redis",
            Kind::Amqp => "amqp",
        }
    }
}

/// `redis://[[USER]:PASSWORD@]HOST[:PORT][/DB]`, `amqp://[USER:PASSWORD@]HOST[:PORT][/VHOST]`, or the same
/// with `rediss` or `amqps` for TLS. Shown without user and password.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Url {
    kind: Kind,
    text: String,
}

/// A text that is no broker's address. It does not repeat the text, which may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UrlError {
    /// Another scheme, or none.
    #[error("a broker's address begins with redis://, rediss://, amqp:// or amqps://")]
    Scheme,
    /// There is no host.
    #[error("a broker's address names a host, such as {0}://127.0.0.1")]
    Host(&'static str),
    /// The client cannot read it.
    #[error("a broker's address that cannot be read: {0}")]
    Unreadable(String),
    /// It is another broker's.
    #[error("that is an address for {0}")]
    Kind(&'static str),
    /// This program cannot speak to it.
    #[error("this program was built without {0}: use one with the feature `{0}`")]
    NotBuilt(&'static str),
}

impl Url {
    /// Reads the address of a broker of this kind; for a flag that is named after it.
    ///
    /// # Errors
    /// [`UrlError`]; it does not repeat the text.
    pub fn of(kind: Kind, text: &str) -> Result<Url, UrlError> {
        let url: Url = text.parse()?;
        match url.kind == kind {
            true => Ok(url),
            false => Err(UrlError::Kind(url.kind.name())),
        }
    }

    /// Which broker it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// All of it, for the client.
    pub(crate) fn secret(&self) -> &str {
        &self.text
    }

    /// A client's words about it, without user and password.
    pub(crate) fn clean(&self, words: impl fmt::Display) -> String {
        let mut words = words.to_string();
        if let Some((user, password)) = self.userinfo().map(|info| info.split_once(':').unwrap_or((info, "")))
        {
            for secret in [password, user].into_iter().filter(|secret| secret.len() > 2) {
                words = words.replace(secret, "***");
            }
        }
        words
    }

    fn userinfo(&self) -> Option<&str> {
        let (_, rest) = self.text.split_once("://")?;
        let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
        // A password may hold an @ that should have been escaped: the last one counts, as for the clients.
        authority.rsplit_once('@').map(|(info, _)| info)
    }
}

impl FromStr for Url {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let (scheme, rest) = text.split_once("://").ok_or(UrlError::Scheme)?;
        let (kind, tls) = match scheme {
            "redis" => (Kind::Redis, false),
            "rediss" => (Kind::Redis, true),
            "amqp" => (Kind::Amqp, false),
            "amqps" => (Kind::Amqp, true),
            _ => return Err(UrlError::Scheme),
        };
        let built = match kind {
            Kind::Redis => cfg!(feature = "redis"),
            Kind::Amqp => cfg!(feature = "amqp"),
        };
        if !built {
            return Err(UrlError::NotBuilt(kind.name()));
        }
        if tls && !cfg!(feature = "broker-tls") {
            return Err(UrlError::NotBuilt("broker-tls"));
        }
        let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        if host.is_empty() || host.starts_with(':') {
            return Err(UrlError::Host(kind.name()));
        }
        let url = Url { kind, text: text.to_owned() };
        let read = match kind {
            #[cfg(feature = "redis")]
            Kind::Redis => super::redis::check(&url),
            #[cfg(feature = "amqp")]
            Kind::Amqp => super::amqp::check(&url),
            #[allow(unreachable_patterns, reason = "unless one of the two is left out")]
            _ => Ok(()),
        };
        read.map_err(|why| UrlError::Unreadable(url.clean(why)))?;
        Ok(url)
    }
}

impl<'de> Deserialize<'de> for Url {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(de::Error::custom)
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(info) = self.userinfo() else { return f.write_str(&self.text) };
        let (scheme, rest) = self.text.split_once("://").unwrap_or(("", &self.text));
        write!(f, "{scheme}://***{}", &rest[info.len()..])
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Url({self})")
    }
}

#[cfg(all(test, feature = "redis", feature = "amqp"))]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_never_shown() {
        for text in [
            "redis://:hunter22@db.example:6379/1",
            "amqp://frame:hunter22@mq.example/%2f",
            "redis://user:p@ss/hunter22@h",
        ] {
            let Ok(url) = text.parse::<Url>() else { continue };
            for shown in [url.to_string(), format!("{url:?}"), url.clean(format!("no route to {text}"))] {
                assert!(!shown.contains("hunter22"), "{shown}");
            }
        }
        let url: Url = "redis://:hunter22@db.example:6379/1".parse().unwrap();
        assert_eq!(url.to_string(), "redis://***@db.example:6379/1");
        assert_eq!("redis://db:1".parse::<Url>().unwrap().to_string(), "redis://db:1");
    }

    #[test]
    fn what_is_no_address_is_refused_without_being_repeated() {
        for (text, wanted) in [
            ("hunter22", UrlError::Scheme),
            ("http://hunter22", UrlError::Scheme),
            ("redis://", UrlError::Host("redis")),
            ("amqp://u:hunter22@:5672", UrlError::Host("amqp")),
        ] {
            assert_eq!(text.parse::<Url>(), Err(wanted));
        }
        let error = "redis://:hunter22@h:notaport".parse::<Url>().unwrap_err().to_string();
        assert!(!error.contains("hunter22"), "{error}");
    }
}
