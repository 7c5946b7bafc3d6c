//! `framelane doctor`.

use std::path::PathBuf;

use clap::Args;

/// Where to look.
#[derive(Args)]
pub struct Doctor {
    /// ONNX Runtime's library; by default the usual places.
    #[arg(long, env = "FRAMELANE_ONNXRUNTIME", value_name = "FILE")]
    onnxruntime: Option<PathBuf>,
    /// The folder with one folder a model.
    #[arg(long, env = "FRAMELANE_MODELS", default_value = "assets/models", value_name = "DIR")]
    models: PathBuf,
}

impl Doctor {
    /// Prints what was looked at, and fails if anything is missing.
    pub fn run(self) -> anyhow::Result<()> {
        let looked_at: [(&str, anyhow::Result<String>); 3] = [
            ("GStreamer", media::check().map(|()| "all elements are there".to_owned()).map_err(Into::into)),
            (
                "ONNX Runtime",
                models::engine::onnx::Runtime::load(self.onnxruntime.as_deref())
                    .map(|runtime| runtime.library().display().to_string())
                    .map_err(Into::into),
            ),
            (
                "models",
                models::Zoo::open(&self.models)
                    .map(|zoo| format!("{} in {}", zoo.models().len(), self.models.display()))
                    .map_err(Into::into),
            ),
        ];
        let mut wanting = 0;
        for (what, found) in looked_at {
            match found {
                Ok(found) => println!("ok       {what}: {found}"),
                Err(error) => {
                    wanting += 1;
                    println!("missing  {what}: {error:#}");
                }
            }
        }
        anyhow::ensure!(wanting == 0, "{wanting} of 3 need attention");
        Ok(())
    }
}
