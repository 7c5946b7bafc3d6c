//! A broker as the config names it.

use std::num::NonZeroU32;

use serde::Deserialize;
use wire::broker::Url;

/// A Redis or a RabbitMQ whose workers serve this server, and others that share them.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Broker {
    /// Where it is: `redis://`, `rediss://`, `amqp://` or `amqps://`. A password in it is shown nowhere.
    pub url: Url,
    /// How many frames may be there at a time. Default 8.
    #[serde(default = "credit")]
    pub credit: NonZeroU32,
    /// The models that its workers are asked for, by the names of their folders. Default: all that streams use.
    pub models: Option<Vec<String>>,
}

fn credit() -> NonZeroU32 {
    const CREDIT: NonZeroU32 = NonZeroU32::new(8).expect("8 is not 0");
    CREDIT
}
