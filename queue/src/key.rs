//! What must be done: the name of a task, and the model that does it where there is one.

use std::fmt;
use std::sync::Arc;

/// The longest task name, in bytes. Names travel in the head of every hand-out and in metrics.
const LONGEST: usize = 64;

/// The name of a task: 1 to 64 bytes of `a-z`, `0-9`, `.`, `_` and `-`. Cloning is a reference count.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "String", into = "String"))]
pub struct TaskName(Arc<str>);

/// Why a text is no [`TaskName`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TaskNameError {
    /// It has no bytes, or more than 64.
    #[error("a task name has 1 to {LONGEST} bytes, this one has {0}")]
    Length(usize),
    /// It holds a character that is not allowed.
    #[error("a task name is made of a-z, 0-9, '.', '_' and '-'; {0:?} is none of them")]
    Character(char),
}

impl TaskName {
    /// Checks and makes a name.
    ///
    /// # Errors
    /// When the length or a character is outside what the type allows.
    pub fn new(name: &str) -> Result<Self, TaskNameError> {
        if name.is_empty() || name.len() > LONGEST {
            return Err(TaskNameError::Length(name.len()));
        }
        let allowed = |c: char| matches!(c, 'a'..='z' | '0'..='9' | '.' | '_' | '-');
        match name.chars().find(|&c| !allowed(c)) {
            Some(wrong) => Err(TaskNameError::Character(wrong)),
            None => Ok(Self(name.into())),
        }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TaskName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for TaskName {
    type Err = TaskNameError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::new(name)
    }
}

impl TryFrom<&str> for TaskName {
    type Error = TaskNameError;

    fn try_from(name: &str) -> Result<Self, Self::Error> {
        Self::new(name)
    }
}

impl TryFrom<String> for TaskName {
    type Error = TaskNameError;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        Self::new(&name)
    }
}

impl From<TaskName> for String {
    fn from(name: TaskName) -> Self {
        name.0.as_ref().to_owned()
    }
}

/// The SHA-256 of a model's canonical manifest. Shown as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModelHash(pub [u8; 32]);

/// A text that is not 64 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a model hash is 64 hexadecimal digits")]
pub struct ModelHashError;

impl fmt::Display for ModelHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ModelHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ModelHash({self})")
    }
}

impl std::str::FromStr for ModelHash {
    type Err = ModelHashError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() != 64 || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(ModelHashError);
        }
        let mut hash = [0; 32];
        for (at, byte) in hash.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).map_err(|_| ModelHashError)?;
        }
        Ok(Self(hash))
    }
}

/// What must be done to a part, and so which lanes can do it. Cloning is a reference count: every part of every
/// place has one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Arc<Named>);

/// What a [`Key`] consists of, read through it: `key.task`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename = "Key"))]
pub struct Named {
    /// The task.
    pub task: TaskName,
    /// The model that must do it; `None` for tasks without one.
    pub model: Option<ModelHash>,
}

impl Key {
    /// The key of a task that needs no model.
    #[must_use]
    pub fn task(task: TaskName) -> Self {
        Self::new(task, None)
    }

    /// The key of a task done by one model.
    #[must_use]
    pub fn model(task: TaskName, model: ModelHash) -> Self {
        Self::new(task, Some(model))
    }

    /// Either of them.
    #[must_use]
    pub fn new(task: TaskName, model: Option<ModelHash>) -> Self {
        Self(Arc::new(Named { task, model }))
    }
}

impl std::ops::Deref for Key {
    type Target = Named;

    fn deref(&self) -> &Named {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.model {
            None => write!(f, "{}", self.task),
            Some(model) => write!(f, "{}@{model}", self.task),
        }
    }
}

#[cfg(feature = "serde")]
mod as_message {
    //! Hashes are 32 raw bytes in binary formats and hexadecimal text in those that people read.

    use super::{Key, ModelHash, Named};
    use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};
    use serde::ser::{Serialize, Serializer};
    use std::fmt;
    use std::sync::Arc;

    impl Serialize for Key {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            self.0.serialize(serializer)
        }
    }

    impl<'de> Deserialize<'de> for Key {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            Ok(Self(Arc::new(Named::deserialize(deserializer)?)))
        }
    }

    impl Serialize for ModelHash {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            if serializer.is_human_readable() {
                serializer.collect_str(self)
            } else {
                serializer.serialize_bytes(&self.0)
            }
        }
    }

    impl<'de> Deserialize<'de> for ModelHash {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            if deserializer.is_human_readable() {
                deserializer.deserialize_str(HashVisitor)
            } else {
                deserializer.deserialize_bytes(HashVisitor)
            }
        }
    }

    struct HashVisitor;

    impl<'de> Visitor<'de> for HashVisitor {
        type Value = ModelHash;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a model hash: 32 bytes, or 64 hexadecimal digits")
        }

        fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<ModelHash, E> {
            let hash = bytes.try_into().map_err(|_| E::invalid_length(bytes.len(), &self))?;
            Ok(ModelHash(hash))
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<ModelHash, E> {
            text.parse().map_err(E::custom)
        }

        fn visit_seq<S: SeqAccess<'de>>(self, mut bytes: S) -> Result<ModelHash, S::Error> {
            let mut hash = [0; 32];
            for (at, byte) in hash.iter_mut().enumerate() {
                *byte = bytes.next_element()?.ok_or_else(|| S::Error::invalid_length(at, &self))?;
            }
            match bytes.next_element::<u8>()? {
                None => Ok(ModelHash(hash)),
                Some(_) => Err(S::Error::invalid_length(33, &self)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_when_made() {
        assert!(TaskName::new("detect.v2_int8-x").is_ok());
        assert_eq!(TaskName::new(""), Err(TaskNameError::Length(0)));
        assert_eq!(TaskName::new(&"a".repeat(65)), Err(TaskNameError::Length(65)));
        assert_eq!(TaskName::new("Detect"), Err(TaskNameError::Character('D')));
        assert_eq!(TaskName::new("räder"), Err(TaskNameError::Character('ä')));
    }

    #[test]
    fn hashes_are_read_as_they_are_shown() {
        let hash = ModelHash(std::array::from_fn(|at| at as u8 * 7));
        assert_eq!(hash.to_string().parse(), Ok(hash));
        assert_eq!("00".parse::<ModelHash>(), Err(ModelHashError));
        assert_eq!("é".repeat(32).parse::<ModelHash>(), Err(ModelHashError));
    }

    #[cfg(feature = "serde")]
    #[test]
    fn keys_survive_a_message() {
        let key = Key::model(TaskName::new("detect").unwrap(), ModelHash([7; 32]));
        let text = serde_json::to_string(&key).unwrap();
        assert_eq!(text, format!(r#"{{"task":"detect","model":"{}"}}"#, "07".repeat(32)));
        assert_eq!(serde_json::from_str::<Key>(&text).unwrap(), key);
        assert!(serde_json::from_str::<TaskName>("\"NO\"").is_err());
    }
}
