//! The program, started as a person would.

use std::process::{Child, Command, Stdio};

/// The program without configuration from the environment.
pub(crate) fn program() -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_wordcount"));
    program.env_clear().stdin(Stdio::null());
    // Windows opens no sockets without the first, and has no folder for temporary files without the others.
    for kept in ["SystemRoot", "TEMP", "TMP"] {
        program.envs(std::env::var_os(kept).map(|value| (kept, value)));
    }
    program
}

/// Ends it with the test, however that ends.
pub(crate) struct Ended(pub(crate) Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
