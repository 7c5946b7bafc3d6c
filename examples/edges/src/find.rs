//! The side that asks, from the pictures to their edges.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use dispatch::kit::{Config, Pool, Who};
use dispatch::{Admission, Coordinator};
use edges::flow::{Gallery, Source, Sources};
use edges::task::FindEdges;
use queue::{Key, Policy};
use tokio_util::sync::CancellationToken;
use wire::{Factory, Task};

/// Which pictures, and by whom.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// A folder with PNG files, which are taken by name [default: pictures drawn here].
    #[arg(value_name = "DIR")]
    pictures: Option<PathBuf>,
    /// How many pictures are drawn where no folder is given.
    #[arg(long, value_name = "N", default_value_t = 300)]
    drawn: u32,
    /// Write the edges into this folder, each under its picture's name.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    #[command(flatten)]
    who: Who,
}

/// Finds the edges, and says how many there are.
pub(crate) async fn run(
    args: Args,
    processors: BTreeMap<Key, Factory>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let sources = match &args.pictures {
        Some(folder) => files(folder)?,
        None => (0..args.drawn).map(Source::Drawn).collect(),
    };
    if let Some(out) = &args.out {
        std::fs::create_dir_all(out).with_context(|| format!("--out {}", out.display()))?;
    }
    let mut pool = Pool::start(Config::new(args.who, processors))?;
    if let Some(command) = pool.command() {
        println!("{command}");
    }
    tokio::select! {
        () = stop.cancelled() => {}
        joined = pool.joined() => joined?,
    }
    let found = find(pool.coordinator(), sources, args.out, &stop).await;
    pool.stop().await;
    let (gallery, took) = found?;

    let (all, edges) = gallery.pixels;
    let (a_second, share) =
        (gallery.pictures as f64 / took.as_secs_f64(), 100.0 * edges as f64 / all.max(1) as f64);
    let took = took.as_secs_f64();
    println!("{} pictures in {took:.3} s: {a_second:.0} a second; {share:.2} % are edges", gallery.pictures);
    if let Some(error) = gallery.unwritten {
        return Err(error);
    }
    ensure!(gallery.missing.is_empty(), "no edges of {:?}; --log debug says why", gallery.missing);
    Ok(())
}

/// Sends every picture and takes them back in order. A stop ends the sending, and the waiting too where nobody works.
async fn find(
    coordinator: &Coordinator,
    sources: Vec<Source>,
    out: Option<PathBuf>,
    stop: &CancellationToken,
) -> anyhow::Result<(Gallery, Duration)> {
    let (mut inlet, outlet) = coordinator.open(Policy::lossless(), FindEdges::key()?, Sources).await?;
    let gallery = tokio::spawn(outlet.run(Gallery { out, ..Gallery::default() }));
    let begun = Instant::now();
    for source in sources {
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            sent = inlet.send(Admission::now(source)) => {
                sent.map_err(|refused| refused.why)?;
            }
        }
    }
    if stop.is_cancelled() && !coordinator.serves(FindEdges::key()?).await? {
        bail!("stopped, and there is nobody to do what is left");
    }
    inlet.close();
    let (gallery, books) = gallery.await.context("taking the pictures panicked")?;
    let took = begun.elapsed();
    books.context("the queue stopped")?.balances()?;
    Ok((gallery, took))
}

/// The PNG files of a folder, by name.
fn files(folder: &Path) -> anyhow::Result<Vec<Source>> {
    let names = || -> std::io::Result<Vec<PathBuf>> {
        std::fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect()
    };
    let mut paths = names().with_context(|| format!("{} cannot be read", folder.display()))?;
    paths.retain(|path| path.extension().is_some_and(|kind| kind.eq_ignore_ascii_case("png")));
    if paths.is_empty() {
        bail!("there is no PNG file in {}", folder.display());
    }
    paths.sort();
    Ok(paths.into_iter().map(Source::File).collect())
}
