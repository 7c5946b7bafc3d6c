//! The flags that name brokers.

use crate::broker::{Kind, Url, UrlError};

/// Brokers to serve, instead of a server or beside one.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Brokers {
    /// A Redis that servers send jobs to: redis://[USER:PASSWORD@]HOST[:PORT][/DB], or rediss://. Several by
    /// commas or several flags; in the environment they stay out of `ps`.
    #[arg(long, env = "FRAMELANE_REDIS", value_name = "URL", hide_env_values = true, value_delimiter = ',')]
    #[arg(value_parser = redis)]
    redis: Vec<Url>,
    /// A RabbitMQ that servers send jobs to: amqp://[USER:PASSWORD@]HOST[:PORT][/VHOST], or amqps://.
    #[arg(long, env = "FRAMELANE_AMQP", value_name = "URL", hide_env_values = true, value_delimiter = ',')]
    #[arg(value_parser = amqp)]
    amqp: Vec<Url>,
}

impl Brokers {
    pub(super) fn urls(&self) -> impl Iterator<Item = &Url> {
        self.redis.iter().chain(&self.amqp)
    }
}

fn redis(text: &str) -> Result<Url, UrlError> {
    Url::of(Kind::Redis, text)
}

fn amqp(text: &str) -> Result<Url, UrlError> {
    Url::of(Kind::Amqp, text)
}
