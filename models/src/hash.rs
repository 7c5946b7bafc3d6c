//! Digests, and the canonical form of a manifest that they are taken of.

use std::fmt;
use std::io::{self, Read};

use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use crate::Manifest;

/// A sha256.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// The digest of all that a reader gives.
    pub(crate) fn of(mut reader: impl Read) -> io::Result<Self> {
        let mut hasher = Sha256::new();
        let mut buffer = vec![0; 64 * 1024];
        loop {
            match reader.read(&mut buffer)? {
                0 => return Ok(Self(hasher.finalize().into())),
                n => hasher.update(&buffer[..n]),
            }
        }
    }
}

impl TryFrom<String> for Digest {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong = || format!("'{text}' is not a sha256: 64 hexadecimal digits are expected");
        if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        let mut bytes = [0; 32];
        for (byte, at) in bytes.iter_mut().zip((0..64).step_by(2)) {
            *byte = u8::from_str_radix(&text[at..at + 2], 16).map_err(|_| wrong())?;
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The hash that names a model: everything that its answers depend on, and its name.
///
/// It is taken of the manifest's values and not of its text, so comments, the order of keys and defaults
/// written out change nothing. The ONNX file counts by its content. The form is frozen: two ends of a
/// connection compare these hashes, so a change of it needs a new first line.
pub(crate) fn of_model(manifest: &Manifest, onnx: Digest) -> [u8; 32] {
    let mut form = Form(Sha256::new());
    let (input, output) = (&manifest.input, &manifest.output);
    form.text("framelane model 1");
    form.text(manifest.name.as_str());
    form.text(manifest.task.as_str());
    form.text(manifest.adapter.as_str());
    form.bytes(&onnx.0);
    form.text(input.name.as_str());
    form.bytes(&input.size.width().to_be_bytes());
    form.bytes(&input.size.height().to_be_bytes());
    form.text(input.layout.as_str());
    form.text(match input.order {
        picture::yuv::Order::Bgr => "bgr",
        picture::yuv::Order::Rgb => "rgb",
    });
    form.text(input.dtype.as_str());
    for value in input.mean.iter().chain(&input.std) {
        form.bytes(&value.to_be_bytes());
    }
    form.text(&output.scores);
    form.text(&output.boxes);
    form.bytes(&manifest.threshold.get().to_be_bytes());
    form.bytes(&manifest.nms_iou.get().to_be_bytes());
    for label in manifest.labels.iter() {
        form.text(label);
    }
    form.0.finalize().into()
}

/// Fields with their lengths before them, so that no two lists of fields give the same bytes.
struct Form(Sha256);

impl Form {
    fn bytes(&mut self, value: &[u8]) {
        self.0.update((value.len() as u64).to_be_bytes());
        self.0.update(value);
    }

    fn text(&mut self, value: &str) {
        self.bytes(value.as_bytes());
    }
}
