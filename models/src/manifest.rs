//! `model.toml`: what a model's folder says about its ONNX file.

use std::fs;
use std::io::Read as _;
use std::ops::Range;
use std::path::{Component, Path};

use picture::Size;
use picture::yuv::{Normalise, Order};
use serde::Deserialize;
use toml::Spanned;

use crate::{Digest, Labels, ModelError};

/// A model's manifest, checked.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// What people call the model: 1 to 64 bytes of `[a-z0-9._-]`.
    pub name: String,
    /// What it is for.
    pub task: TaskKind,
    /// Who makes its input and reads its output.
    pub adapter: AdapterKind,
    /// The ONNX file's name inside the model's folder.
    pub file: String,
    /// The ONNX file's sha256, where it is known beforehand.
    pub sha256: Option<Digest>,
    /// The tensor that goes in.
    pub input: Input,
    /// The names of the tensors that come out.
    pub output: Output,
    /// The names of the classes.
    pub labels: Labels,
    /// What scores less is left out. 0.5 unless the manifest says otherwise.
    pub threshold: Fraction,
    /// Of two boxes of one class that overlap by more than this (intersection over union) the lower one is
    /// left out. 0.6 unless the manifest says otherwise.
    pub nms_iou: Fraction,
}

/// What a model is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum TaskKind {
    /// Boxes around things.
    Detect,
}

impl TaskKind {
    /// The name in a manifest, and of the task on the network.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Detect => "detect",
        }
    }
}

/// Who makes a model's input and reads its output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum AdapterKind {
    /// NanoDet with its head in the graph: see [`adapter::nanodet`](crate::adapter::nanodet).
    Nanodet,
}

impl AdapterKind {
    /// The name in a manifest.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Nanodet => "nanodet",
        }
    }
}

/// The tensor that goes into a model, of batch size 1.
#[derive(Clone, Debug, PartialEq)]
pub struct Input {
    /// The tensor's name.
    pub name: String,
    /// The size of a picture.
    pub size: Size,
    /// Where the channels lie.
    pub layout: Layout,
    /// The order of the channels.
    pub order: Order,
    /// The type of a value.
    pub dtype: DType,
    /// Subtracted from values of 0..=255, by channel in `order`.
    pub mean: [f32; 3],
    /// Divided by after that.
    pub std: [f32; 3],
}

impl Input {
    /// What becomes of values of 0..=255 on their way into a float tensor.
    pub fn normalise(&self) -> Normalise {
        Normalise { mean: self.mean, std: self.std }
    }
}

/// Where the channels of a tensor lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// Pixel after pixel: `[1, height, width, 3]`.
    Nhwc,
    /// Plane after plane: `[1, 3, height, width]`.
    Nchw,
}

impl Layout {
    /// The name in a manifest.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Nhwc => "nhwc",
            Self::Nchw => "nchw",
        }
    }
}

/// The type of a tensor's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DType {
    /// 8-bit: pixels as they are, the model normalises them itself.
    U8,
    /// 32-bit float.
    F32,
}

impl DType {
    /// The name in a manifest.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::U8 => "u8",
            Self::F32 => "f32",
        }
    }
}

/// The names of the tensors that come out of a detector.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Output {
    /// One score for each place and class.
    pub scores: String,
    /// One box for each place.
    pub boxes: String,
}

impl Default for Output {
    fn default() -> Self {
        Self { scores: "scores".to_owned(), boxes: "ltrb".to_owned() }
    }
}

/// A number from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Deserialize)]
#[serde(try_from = "f64")]
pub struct Fraction(f32);

impl Fraction {
    /// Checks the number.
    ///
    /// # Errors
    /// It is below 0, above 1 or not a number.
    pub fn new(value: f32) -> Result<Self, String> {
        if (0.0..=1.0).contains(&value) {
            Ok(Self(value))
        } else {
            Err(format!("{value} is not between 0 and 1"))
        }
    }

    /// The number.
    pub fn get(self) -> f32 {
        self.0
    }
}

impl TryFrom<f64> for Fraction {
    type Error = String;

    fn try_from(value: f64) -> Result<Self, String> {
        Self::new(value as f32)
    }
}

/// The manifest as it stands in the file. Checks of single values are in the types, so that the reader's
/// errors point at the value; what takes two values to see is checked with the spans kept here.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    name: Spanned<String>,
    task: TaskKind,
    adapter: AdapterKind,
    file: Spanned<String>,
    sha256: Option<Digest>,
    input: Spanned<RawInput>,
    #[serde(default)]
    output: Output,
    labels: Spanned<RawLabels>,
    threshold: Option<Fraction>,
    nms_iou: Option<Fraction>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawInput {
    name: String,
    width: Spanned<u32>,
    height: Spanned<u32>,
    layout: Layout,
    order: Order,
    dtype: DType,
    mean: Option<[f32; 3]>,
    std: Option<Spanned<[f32; 3]>>,
}

#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "labels are \"coco\", the name of a file with one label a line, or a list of labels"
)]
enum RawLabels {
    Named(String),
    Listed(Vec<String>),
}

/// Longer manifests and label files are taken for a mistake, such as a model under the wrong name.
const MAX_TEXT: u64 = 1 << 20;

impl Manifest {
    /// The name of the file in a model's folder.
    pub const FILE: &str = "model.toml";

    /// Reads the manifest of a model's folder, and its labels where they are in a file of their own.
    ///
    /// # Errors
    /// A file that cannot be read; any mistake in the manifest, with its line.
    pub fn load(dir: &Path) -> Result<Self, ModelError> {
        let path = dir.join(Self::FILE);
        let text = read(
            &path,
            "A model is a folder with a model.toml and an ONNX file; scripts/setup fetches some.",
        )?;
        Self::parse(&text, &path)
    }

    /// Reads a manifest that stands, or would stand, at `path`.
    ///
    /// # Errors
    /// As [`Manifest::load`].
    pub fn parse(text: &str, path: &Path) -> Result<Self, ModelError> {
        let raw: Raw = toml::from_str(text).map_err(|error| ModelError::toml(path, text, &error))?;
        let wrong = |at: Range<usize>, what: String| ModelError::manifest(path, text, Some(at), what);

        let name = raw.name.get_ref();
        let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte);
        if name.is_empty() || name.len() > 64 || !name.bytes().all(fits) {
            let what = format!("'{name}' is not a model's name: 1 to 64 of a-z 0-9 . _ - are");
            return Err(wrong(raw.name.span(), what));
        }
        let file = inside(raw.file.get_ref()).map_err(|what| wrong(raw.file.span(), what))?;
        let labels = match raw.labels.get_ref() {
            RawLabels::Named(name) if name == "coco" => Labels::coco(),
            RawLabels::Named(name) => {
                let name = inside(name).map_err(|what| wrong(raw.labels.span(), what))?;
                let hint =
                    "`labels` is \"coco\", a file beside the manifest with one label a line, or a list.";
                let text = read(&path.with_file_name(name), hint)?;
                Labels::new(text.lines().map(str::to_owned)).map_err(|what| wrong(raw.labels.span(), what))?
            }
            RawLabels::Listed(names) => {
                Labels::new(names.iter().cloned()).map_err(|what| wrong(raw.labels.span(), what))?
            }
        };
        let input_at = raw.input.span();
        let input = raw
            .input
            .into_inner()
            .check()
            .map_err(|(at, what)| wrong(at.unwrap_or(input_at.clone()), what))?;
        let manifest = Self {
            name: name.clone(),
            task: raw.task,
            adapter: raw.adapter,
            file,
            sha256: raw.sha256,
            input,
            output: raw.output,
            labels,
            threshold: raw.threshold.unwrap_or(Fraction(0.5)),
            nms_iou: raw.nms_iou.unwrap_or(Fraction(0.6)),
        };
        crate::adapter::check(&manifest).map_err(|what| wrong(input_at, what))?;
        Ok(manifest)
    }
}

impl RawInput {
    fn check(self) -> Result<Input, (Option<Range<usize>>, String)> {
        let (width, height) = (*self.width.get_ref(), *self.height.get_ref());
        let size = Size::new(width, height).map_err(|error| {
            let wrong = if Size::new(width, 1).is_err() { self.width.span() } else { self.height.span() };
            (Some(wrong), error.to_string())
        })?;
        if self.dtype == DType::U8 && (self.mean.is_some() || self.std.is_some()) {
            return Err((
                None,
                "`mean` and `std` go with dtype \"f32\": a u8 model normalises its input itself".into(),
            ));
        }
        if let Some(std) =
            self.std.as_ref().filter(|std| std.get_ref().iter().any(|&value| !value.is_normal()))
        {
            return Err((
                Some(std.span()),
                "`std` is divided by: 0 and infinite values cannot be".to_owned(),
            ));
        }
        let finite = self.mean.is_none_or(|mean| mean.iter().all(|value| value.is_finite()));
        if !finite {
            return Err((None, "`mean` must be three finite numbers".to_owned()));
        }
        Ok(Input {
            name: self.name,
            size,
            layout: self.layout,
            order: self.order,
            dtype: self.dtype,
            mean: self.mean.unwrap_or(Normalise::NONE.mean),
            std: self.std.map_or(Normalise::NONE.std, Spanned::into_inner),
        })
    }
}

/// A file name that cannot lead out of the model's folder: models may come from elsewhere.
fn inside(name: &str) -> Result<String, String> {
    let mut parts = Path::new(name).components();
    match (parts.next(), parts.next()) {
        (Some(Component::Normal(_)), None) => Ok(name.to_owned()),
        _ => Err(format!("'{name}' is not the plain name of a file beside the manifest")),
    }
}

fn read(path: &Path, hint: &'static str) -> Result<String, ModelError> {
    let failed = |source| ModelError::Read { path: path.to_owned(), source, hint };
    let mut text = String::new();
    let read =
        fs::File::open(path).map_err(failed)?.take(MAX_TEXT + 1).read_to_string(&mut text).map_err(failed)?;
    if read as u64 > MAX_TEXT {
        return Err(failed(std::io::Error::other(format!("it is longer than {MAX_TEXT} bytes"))));
    }
    Ok(text)
}
