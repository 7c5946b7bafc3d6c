//! Why a source does not give frames.

use std::path::PathBuf;

use crate::init::Missing;

/// Why a source does not give frames. Each text names the file, address or element and says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file is not there.
    #[error("the video file {} does not exist: check the path", path.display())]
    NoFile {
        /// The path that was given.
        path: PathBuf,
    },
    /// The path is not a file.
    #[error("{} is not a file: give the path of one video file", path.display())]
    NotAFile {
        /// The path that was given.
        path: PathBuf,
    },
    /// The file is there and cannot be opened.
    #[error("the video file {} cannot be opened ({source}): check its permissions", path.display())]
    Unreadable {
        /// The path that was given.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The source holds no video that is understood.
    #[error("{from} is not a video that can be read ({why}): check it with `ffprobe`")]
    NotVideo {
        /// The source.
        from: String,
        /// What was found instead.
        why: String,
    },
    /// There is no decoder for it.
    #[error("no decoder is installed for {from} ({why}): install the Debian package gstreamer1.0-libav")]
    NoDecoder {
        /// The source.
        from: String,
        /// What would have to be decoded.
        why: String,
    },
    /// Nothing answers at the address.
    #[error("{from} cannot be reached ({why}): check that the camera is on, and its host and port")]
    Unreachable {
        /// The source.
        from: String,
        /// What the system said.
        why: String,
    },
    /// The camera asks who is there.
    #[error(
        "{from} asks for another user or password ({why}): write rtsp://USER:PASSWORD@HOST/PATH, with \
         special characters percent-encoded"
    )]
    Unauthorized {
        /// The source.
        from: String,
        /// What the camera said.
        why: String,
    },
    /// The camera does not know the path.
    #[error("{from} was refused by the camera ({why}): check the path after the host")]
    Refused {
        /// The source.
        from: String,
        /// What the camera said.
        why: String,
    },
    /// The connection ended.
    #[error("{from} ended the stream")]
    Ended {
        /// The source.
        from: String,
    },
    /// Nothing came for too long.
    #[error("{from} gave no frame for {} s: check that it is on and can be reached", after.as_secs_f32())]
    Stalled {
        /// The source.
        from: String,
        /// How long was waited.
        after: std::time::Duration,
    },
    /// An element of GStreamer failed in another way.
    #[error("{from} cannot be read: {element}: {why}")]
    Pipeline {
        /// The source.
        from: String,
        /// The element that failed.
        element: String,
        /// What it said.
        why: String,
    },
    /// GStreamer is not complete.
    #[error(transparent)]
    Missing(#[from] Missing),
}
