//! Two ends that have no protocol in common tell each other what they speak, so that both can say which of
//! them is to be upgraded.
//!
//! TLS picks [`ALPN_VERSIONS`](crate::protocol::ALPN_VERSIONS) only when nothing else fits. The client sends
//! [`Speaks`] on a stream, the server answers with its own, and that is all.

use quinn::Connection;
use serde::{Deserialize, Serialize};

use crate::protocol::cut;

/// The longest list that is worth showing to a person.
const MAX_TEXT: usize = 200;

/// What an end speaks, as on the wire.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Speaks {
    speaks: Vec<String>,
}

impl Speaks {
    /// These protocols.
    pub(crate) fn these(alpns: &[&[u8]]) -> Self {
        Self { speaks: alpns.iter().map(|alpn| String::from_utf8_lossy(alpn).into_owned()).collect() }
    }

    /// For people. It came from the other end, so it is shortened and stripped of what a terminal obeys.
    pub(crate) fn text(&self) -> String {
        let mut text = self.speaks.join(", ");
        text.retain(|c| !c.is_control());
        cut(text, MAX_TEXT)
    }
}

/// The protocol that TLS agreed upon.
pub(crate) fn alpn(connection: &Connection) -> Vec<u8> {
    connection
        .handshake_data()
        .and_then(|any| any.downcast::<quinn::crypto::rustls::HandshakeData>().ok())
        .and_then(|data| data.protocol)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_other_end_says_is_fit_for_a_terminal() {
        let speaks = Speaks { speaks: vec!["a\x1b[2J".into(), "b".repeat(500)] };
        let text = speaks.text();
        assert!(text.starts_with("a[2J, bbb") && text.len() == MAX_TEXT, "{text}");
    }
}
