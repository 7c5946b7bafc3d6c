//! Who may come: tokens, and the list of those who were let in.

use std::num::NonZeroU32;
use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::bail;
use clap::Args;
use framelane_dispatch::kit::State;
use queue::WorkerId;
use wire::identity::{Authority, Role, TokenOptions};

use crate::say;

/// `token`.
#[derive(Debug, Args)]
pub(crate) struct MakeToken {
    #[command(flatten)]
    state: State,
    /// What it lets its holder do: `worker` serves tasks, `client` pushes them, `operator` asks and stops.
    #[arg(long)]
    role: Role,
    /// How many may enrol with it.
    #[arg(long, default_value = "1")]
    uses: NonZeroU32,
    /// For how long.
    #[arg(long, default_value_t = 60)]
    minutes: u32,
}

impl MakeToken {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let expires_in = Duration::from_secs(60 * u64::from(self.minutes));
        let options = TokenOptions { expires_in, uses: self.uses };
        // Tokens may be made before the coordinator is started for the first time.
        let authority = Authority::load_or_create(&self.state.folder)?;
        Ok(say(authority.token_for(self.role, options)?)?)
    }
}

/// `revoke`.
#[derive(Debug, Args)]
pub(crate) struct Revoke {
    #[command(flatten)]
    state: State,
    /// The id, as `list` shows it.
    id: String,
}

impl Revoke {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let id = self.id.strip_prefix('w').unwrap_or(&self.id).parse::<u64>();
        let known = match id {
            Ok(id) => crate::authority(&self.state.folder)?.revoke(WorkerId(id))?,
            Err(_) => None,
        };
        match known {
            Some(known) => {
                say(format_args!("{} {} ({}) is let in no more", known.role, known.id, known.name))?;
            }
            None => bail!("there is nobody with the id {}; `list` shows all", self.id),
        }
        Ok(())
    }
}

/// `list`.
pub(crate) fn list(state: &Path) -> anyhow::Result<()> {
    let all = crate::authority(state)?.known()?;
    say(format_args!("{:<22} {:<9} {:<24} EXPIRES IN", "ID", "ROLE", "NAME"))?;
    for known in all {
        let left = known.expires.duration_since(SystemTime::now());
        let left = match (known.revoked, left) {
            (Some(_), _) => "revoked".to_owned(),
            (None, Ok(left)) => format!("{} days", left.as_secs() / (24 * 3600)),
            (None, Err(_)) => "expired".to_owned(),
        };
        let (id, role, name) = (known.id.to_string(), known.role.name(), known.name);
        say(format_args!("{id:<22} {role:<9} {name:<24} {left}"))?;
    }
    Ok(())
}
