//! PNG files: any kind in, grey out.

use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::path::Path;

use anyhow::{Context, bail};
use png::{BitDepth, ColorType, Decoder, Encoder, Transformations};

use crate::task::{Picture, Size};

/// The longest side that is read, in pixels: what a file says is not to decide over the memory.
const LONGEST: u32 = 16_384;

/// Reads a picture.
///
/// # Errors
/// It is not there, or is no PNG; the text names it.
pub fn read(path: &Path) -> anyhow::Result<Picture> {
    pixels(path).with_context(|| format!("{} is no picture that can be used", path.display()))
}

fn pixels(path: &Path) -> anyhow::Result<Picture> {
    let mut decoder = Decoder::new(BufReader::new(File::open(path)?));
    decoder.set_transformations(Transformations::normalize_to_color8());
    let mut reader = decoder.read_info()?;
    let (width, height) = reader.info().size();
    if width > LONGEST || height > LONGEST {
        bail!("{width}x{height} is too large");
    }
    let mut bytes = vec![0; reader.output_buffer_size().context("too large")?];
    let info = reader.next_frame(&mut bytes)?;
    let bytes = &bytes[..info.buffer_size()];
    let grey = |of: usize| bytes.chunks_exact(of).map(|pixel| luma(pixel[0], pixel[1], pixel[2])).collect();
    let pixels = match info.color_type {
        ColorType::Grayscale => bytes.to_vec().into(),
        ColorType::GrayscaleAlpha => bytes.chunks_exact(2).map(|pixel| pixel[0]).collect(),
        ColorType::Rgb => grey(3),
        ColorType::Rgba => grey(4),
        ColorType::Indexed => bail!("its palette was not resolved"),
    };
    Ok(Picture { size: Size { width: width.try_into()?, height: height.try_into()? }, pixels })
}

/// How bright a colour is, by BT.601.
fn luma(r: u8, g: u8, b: u8) -> u8 {
    let sum = 299 * u32::from(r) + 587 * u32::from(g) + 114 * u32::from(b);
    // At most 255.
    ((sum + 500) / 1000) as u8
}

/// Writes a picture.
///
/// # Errors
/// The file cannot be written; the text names it.
pub fn write(path: &Path, picture: &Picture) -> anyhow::Result<()> {
    let written = || -> anyhow::Result<()> {
        let Size { width, height } = picture.size;
        let mut encoder = Encoder::new(BufWriter::new(File::create(path)?), width.into(), height.into());
        encoder.set_color(ColorType::Grayscale);
        encoder.set_depth(BitDepth::Eight);
        let mut writer = encoder.write_header()?;
        writer.write_image_data(&picture.pixels)?;
        Ok(writer.finish()?)
    };
    written().with_context(|| format!("{} cannot be written", path.display()))
}
