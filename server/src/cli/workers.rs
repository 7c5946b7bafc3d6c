//! `framelane workers`.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Subcommand};

/// Workers that dial in.
#[derive(Subcommand)]
pub enum Workers {
    /// Print a token with which a new worker enrols.
    Token(Token),
}

/// What the token allows.
#[derive(Args)]
pub struct Token {
    /// The state folder of the server, which may be running.
    #[arg(long, env = "FRAMELANE_STATE", default_value = "framelane-state", value_name = "DIR")]
    state: PathBuf,
    /// How many workers may enrol with it.
    #[arg(long, default_value = "1", value_name = "N")]
    uses: NonZeroU32,
    /// How long it is good for, in minutes.
    #[arg(long, default_value_t = 60, value_name = "MINUTES", value_parser = clap::value_parser!(u64).range(1..=525_600))]
    minutes: u64,
}

impl Workers {
    /// Does what the subcommand says.
    pub fn run(self) -> anyhow::Result<()> {
        let Workers::Token(token) = self;
        let authority = wire::identity::Authority::load_or_create(&token.state)
            .with_context(|| format!("--state {}", token.state.display()))?;
        let options = wire::identity::TokenOptions {
            expires_in: Duration::from_secs(60 * token.minutes),
            uses: token.uses,
        };
        println!("{}", authority.token(options).context("no token could be made")?);
        Ok(())
    }
}
