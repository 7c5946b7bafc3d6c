//! What a ring holds: encoded pictures, and what a decoder must know of them.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use picture::Pts;

/// One access unit of H.264 as an Annex B byte stream. Cloning copies no data.
#[derive(Clone, Debug)]
pub struct Packet {
    /// The presentation time of the frame that it holds.
    pub pts: Pts,
    /// When the encoder gave it.
    pub encoded_at: Instant,
    /// True where a decoder can start. Then the data holds SPS and PPS too.
    pub key: bool,
    /// The access unit.
    pub data: Bytes,
    /// What a decoder must know before it starts.
    pub codec: Arc<Codec>,
}

/// The codec data of a stream. When it changes, its version rises.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Codec {
    /// Counted from 1.
    pub version: u32,
    /// The sequence parameter set, without a start code.
    pub sps: Bytes,
    /// The picture parameter set, without a start code.
    pub pps: Bytes,
}
