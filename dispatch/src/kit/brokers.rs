//! The flags that name brokers, and a lane to each of them.

use std::num::NonZeroU32;

use queue::{Key, WorkerId};
use wire::broker::{Kind, Url};

use super::{Error, processes};
use crate::lane::broker;

/// Brokers with workers behind them, beside those that dial in; for a program's command line.
#[derive(Debug, Clone, Default, clap::Args)]
// A program's own subcommand may have the same name, and groups must not.
#[group(skip)]
pub struct Brokers {
    /// A Redis whose workers work too: redis://[USER:PASSWORD@]HOST[:PORT][/DB], or rediss://. Several by commas or
    /// several flags; in the environment they stay out of `ps`.
    #[arg(long, env = "FRAMELANE_REDIS", value_name = "URL", hide_env_values = true, value_delimiter = ',')]
    #[arg(value_parser = |text: &str| Url::of(Kind::Redis, text))]
    redis: Vec<Url>,
    /// A RabbitMQ whose workers work too: amqp://[USER:PASSWORD@]HOST[:PORT][/VHOST], or amqps://.
    #[arg(long, env = "FRAMELANE_AMQP", value_name = "URL", hide_env_values = true, value_delimiter = ',')]
    #[arg(value_parser = |text: &str| Url::of(Kind::Amqp, text))]
    amqp: Vec<Url>,
    /// How many jobs may be in a broker and in its workers' hands: some more than they do at once, some hundreds where
    /// jobs are very short [default: 64].
    #[arg(long, value_name = "N")]
    broker_credit: Option<NonZeroU32>,
}

impl Brokers {
    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.redis.len() + self.amqp.len()
    }

    /// A lane to each of them, for these keys.
    pub(super) fn lanes(&self, keys: &[Key]) -> Result<Vec<broker::Config>, Error> {
        if keys.is_empty() && self.count() > 0 {
            return Err(Error::NoTask);
        }
        // For people who look into the broker.
        let server = format!("{}-{}", processes::program(), std::process::id());
        // Threads of this process are 0, and workers that dial in have random numbers.
        let lanes = self.redis.iter().chain(&self.amqp).zip(1..).map(|(url, worker)| {
            let lane = broker::Config::new(url.clone(), &server, WorkerId(worker), keys.to_vec());
            broker::Config { credit: self.broker_credit.unwrap_or(lane.credit), ..lane }
        });
        Ok(lanes.collect())
    }
}
