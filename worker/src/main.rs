//! `framelane-worker`: the worker's command line.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use framelane_worker::{kit, zoo};

/// A Framelane worker: runs models for a server that it dials in to, for all servers behind a broker, or both.
///
/// For a server it needs a token the first time (`framelane workers token` on the server makes one); from then
/// on the identity in its state folder is enough.
#[derive(Debug, Parser)]
#[command(name = "framelane-worker", version)]
struct Config {
    #[command(flatten)]
    worker: kit::Args,
    /// The folder with one folder a model.
    #[arg(long, env = "FRAMELANE_MODELS", value_name = "DIR", default_value = "assets/models")]
    models: PathBuf,
    /// ONNX Runtime's library [default: searched for in the usual places].
    #[arg(long, env = "FRAMELANE_ONNXRUNTIME", value_name = "FILE")]
    onnxruntime: Option<PathBuf>,
}

fn main() -> ExitCode {
    let Config { worker, models, onnxruntime } = Config::parse();
    kit::Program::new(worker)
        .abilities(zoo::ABILITIES)
        .main(move || Ok(zoo::registry(&models, onnxruntime.as_deref())?))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Config::command().debug_assert();
    }
}
