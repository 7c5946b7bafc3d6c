//! Piece two, the side that asks: where a picture comes from, and what becomes of its edges.

use std::path::PathBuf;

use dispatch::{Done, Finish, Held, Link, Prepare, Unprepared};
use tokio::task::block_in_place;

use crate::task::{FindEdges, Picture};
use crate::{drawn, file};

/// A picture to be.
#[derive(Debug)]
pub enum Source {
    /// A PNG file.
    File(PathBuf),
    /// The frame of this number of a film that is drawn here.
    Drawn(u32),
}

/// Reads or draws a picture when a worker has room for it, and not before.
pub struct Sources;

impl Prepare for Sources {
    type Task = FindEdges;
    type Item = Source;

    fn prepare(&self, source: &Source, _: &Link) -> Result<Picture, Unprepared> {
        // It takes some milliseconds, in which others need this thread.
        block_in_place(|| match source {
            Source::Drawn(number) => Ok(drawn::picture(*number)),
            Source::File(path) => file::read(path).map_err(|error| Unprepared(error.to_string())),
        })
    }
}

/// Takes the pictures in order and writes them, if it is told where.
#[derive(Debug, Default)]
pub struct Gallery {
    /// The folder.
    pub out: Option<PathBuf>,
    /// Pictures that came.
    pub pictures: u64,
    /// Their pixels, and those of them that are edges.
    pub pixels: (u64, u64),
    /// Those that did not come.
    pub missing: Vec<Held<Sources>>,
    /// Why one could not be written, the first time.
    pub unwritten: Option<anyhow::Error>,
}

impl Finish for Gallery {
    type Prepare = Sources;

    async fn finish(&mut self, done: Done<Sources>) {
        let Some(picture) = done.answer else { return self.missing.push(done.item) };
        self.pictures += 1;
        self.pixels.0 += picture.pixels.len() as u64;
        self.pixels.1 += picture.pixels.iter().filter(|&&pixel| pixel > 0).count() as u64;
        if let Some(out) = &self.out {
            let path = out.join(match &*done.item {
                Source::File(path) => path.file_name().unwrap_or(path.as_os_str()).to_owned(),
                Source::Drawn(number) => format!("{number:05}.png").into(),
            });
            if let Err(error) = block_in_place(|| file::write(&path, &picture)) {
                self.unwritten.get_or_insert(error);
            }
        }
    }
}
