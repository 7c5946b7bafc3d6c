//! Video in and out: ingest, drawing, encoding, RTSP and JPEG, over GStreamer and OpenCV.
//!
//! A stream's walk through this crate:
//!
//! 1. [`Source::parse`] reads what the user wrote (`rtsp://…`, a file, `test:`), [`ingest::open`] turns it
//!    into an [`Ingest`]: decoded [`picture::Frame`]s in order, with rising times, and counters in which no
//!    frame is ever missing.
//! 2. [`draw::Canvas`] takes one copy of a frame and draws boxes and labels on its YUV planes.
//! 3. [`encode::Encoder`] turns frames into H.264 once, into a [`Ring`] of packets that any number of
//!    [`Reader`]s follow, each at its own pace.
//! 4. [`rtsp::Server`] serves rings to players. [`jpeg::Encoder`] makes single pictures.
//!
//! Pixels stay YUV 4:2:0 (I420) all the way, in the colour that the decoder named.
//!
//! [`check`] says which GStreamer elements are missing and which Debian package brings each; call it once at
//! start. Everything here starts GStreamer itself when it is first needed.
//!
//! ```no_run
//! # extern crate framelane_media as media;
//! # async fn watch() -> Result<(), Box<dyn std::error::Error>> {
//! use media::ingest::{self, Event};
//!
//! media::check()?;
//! let mut ingest = ingest::open("rtsp://camera.local/live".parse()?, ingest::Config::default());
//! loop {
//!     match ingest.next().await {
//!         Event::Frame(frame) => println!("{} {}", frame.pts(), frame.size()),
//!         Event::Trouble(text) => eprintln!("{text} (trying again)"),
//!         Event::Failed(error) => return Err(error.into()),
//!         Event::Ended => return Ok(()),
//!         _ => {}
//!     }
//! }
//! # }
//! ```

mod buffer;
mod colour;
pub mod draw;
pub mod encode;
pub mod ingest;
mod init;
pub mod jpeg;
mod range;
pub mod ring;
pub mod rtsp;
mod source;

pub use ingest::Ingest;
pub use init::{Missing, MissingElement, check};
pub use ring::{Codec, Next, Packet, Reader, Ring};
pub use source::{Source, SourceError, Test};
