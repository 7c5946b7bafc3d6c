//! What an identity is good for.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What the holder of an identity may do. It is in the token's record, in the certificate, and in the
/// register; none opens another one's door.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Role {
    /// Serves tasks.
    #[default]
    Worker,
    /// Pushes tasks.
    Client,
    /// Looks at a coordinator, and stops it.
    Operator,
}

/// There is no such role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a role is `worker`, `client` or `operator`")]
pub struct NoSuchRole;

impl Role {
    /// Every role.
    pub const ALL: [Self; 3] = [Self::Worker, Self::Client, Self::Operator];

    /// As in certificates, where it is the organizational unit, and on command lines.
    pub fn name(self) -> &'static str {
        match self {
            Self::Worker => "worker",
            Self::Client => "client",
            Self::Operator => "operator",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Role {
    type Err = NoSuchRole;

    fn from_str(name: &str) -> Result<Self, NoSuchRole> {
        Self::ALL.into_iter().find(|role| role.name() == name).ok_or(NoSuchRole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::framing::{decode_cbor, encode_cbor};

    #[test]
    fn a_role_is_the_same_on_the_wire_and_on_a_command_line() {
        for role in Role::ALL {
            assert_eq!(role.name().parse(), Ok(role));
            assert_eq!(decode_cbor::<String>(&encode_cbor(&role, 99).unwrap()).unwrap(), role.name());
        }
        assert_eq!("root".parse::<Role>(), Err(NoSuchRole));
    }
}
