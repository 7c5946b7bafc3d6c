//! How the queue's ids look on the wire. Written here rather than derived there, so that the bytes of
//! protocol 1 cannot change by a change to `queue`.

use queue::{FlowId, ModelHash, Seq, TaskName};

/// `[flow, seq, part, attempt]`.
pub(crate) mod ticket {
    use super::*;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(crate) fn serialize<S: Serializer>(t: &queue::Ticket, s: S) -> Result<S::Ok, S::Error> {
        (t.flow.get(), t.seq.get(), t.part, t.attempt).serialize(s)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<queue::Ticket, D::Error> {
        let (flow, seq, part, attempt) = <(u64, u64, u16, u32)>::deserialize(d)?;
        Ok(queue::Ticket { flow: FlowId(flow), seq: Seq(seq), part, attempt })
    }
}

/// `[task name, model hash as 32 bytes or null]`.
pub(crate) mod key {
    use super::*;
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
    use serde_bytes::ByteArray;

    pub(crate) fn serialize<S: Serializer>(k: &queue::Key, s: S) -> Result<S::Ok, S::Error> {
        (k.task.as_str(), k.model.map(|m| ByteArray::new(m.0))).serialize(s)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<queue::Key, D::Error> {
        let (task, model) = <(String, Option<ByteArray<32>>)>::deserialize(d)?;
        let task = TaskName::new(&task).map_err(D::Error::custom)?;
        Ok(queue::Key::new(task, model.map(|m| ModelHash(m.into_array()))))
    }
}

/// A [`key`] that may be absent.
pub(crate) mod maybe_key {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    #[serde(transparent)]
    struct There(#[serde(with = "super::key")] queue::Key);

    pub(crate) fn serialize<S: Serializer>(k: &Option<queue::Key>, s: S) -> Result<S::Ok, S::Error> {
        k.clone().map(There).serialize(s)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Option<queue::Key>, D::Error> {
        Ok(Option::<There>::deserialize(d)?.map(|There(key)| key))
    }
}
