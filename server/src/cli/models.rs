//! `framelane models`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// Models on disk.
#[derive(Subcommand)]
pub enum Models {
    /// List the models of a folder, with the hash by which workers know them.
    List(List),
}

/// Where to look.
#[derive(Args)]
pub struct List {
    /// The folder with one folder a model.
    #[arg(long, env = "FRAMELANE_MODELS", default_value = "assets/models", value_name = "DIR")]
    models: PathBuf,
}

impl Models {
    /// Does what the subcommand says.
    pub fn run(self) -> anyhow::Result<()> {
        let Models::List(List { models }) = self;
        let zoo = models::Zoo::open(&models)?;
        for error in zoo.bad() {
            eprintln!("framelane: {error}");
        }
        for model in zoo.models() {
            let input = &model.manifest.input;
            println!("{:<24} {}  {}", model.manifest.name, input.size, model.hash_hex());
        }
        Ok(())
    }
}
