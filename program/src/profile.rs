//! Where a program's time goes: a flame graph of all its threads, written when it ends.

use std::path::PathBuf;

#[cfg(all(unix, feature = "profile"))]
mod graph;

/// Whether to profile, for a program's command line.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Profile {
    /// Look a hundred times a second where the processor's time goes, and write a flame graph (SVG) to this file
    /// at the end; to FILE.folded go the stacks as text. On Unix only.
    // Where the program cannot, it is not offered; who names it all the same is told why.
    #[arg(
        long = "profile",
        value_name = "FILE",
        global = true,
        id = "profile",
        hide = cfg!(not(all(unix, feature = "profile")))
    )]
    file: Option<PathBuf>,
}

/// Why there is no profile.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProfileError {
    /// This program cannot.
    #[error("--profile is not in this program: it wants Unix and the feature `profile`")]
    Absent,
    /// The profiler does not start, or gives nothing.
    #[error("--profile: {0}")]
    Profiler(String),
    /// A file cannot be written.
    #[error("--profile {}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
}

/// A profile that is being taken, if one is.
pub struct Profiling {
    #[cfg(all(unix, feature = "profile"))]
    taken: Option<graph::Taken>,
}

impl Profile {
    /// Starts, if that is asked for.
    ///
    /// # Errors
    /// [`ProfileError`].
    #[cfg(all(unix, feature = "profile"))]
    pub fn start(&self) -> Result<Profiling, ProfileError> {
        Ok(Profiling { taken: self.file.as_deref().map(graph::Taken::start).transpose()? })
    }

    /// Starts, if that is asked for.
    ///
    /// # Errors
    /// [`ProfileError::Absent`] if it is.
    #[cfg(not(all(unix, feature = "profile")))]
    pub fn start(&self) -> Result<Profiling, ProfileError> {
        match self.file {
            Some(_) => Err(ProfileError::Absent),
            None => Ok(Profiling {}),
        }
    }
}

impl Profiling {
    /// Ends it and writes the files.
    ///
    /// # Errors
    /// [`ProfileError`].
    pub fn finish(self) -> Result<(), ProfileError> {
        #[cfg(all(unix, feature = "profile"))]
        if let Some(taken) = self.taken {
            taken.finish()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use clap::{Args, Command};

    use super::*;

    #[test]
    fn it_is_offered_where_it_can_be_done() {
        let help = Profile::augment_args(Command::new("program")).render_long_help().to_string();
        assert_eq!(help.contains("--profile"), cfg!(all(unix, feature = "profile")), "{help}");
    }
}
