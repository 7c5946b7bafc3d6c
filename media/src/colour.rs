//! GStreamer's caps and our [`Size`], [`Colour`] and [`Rate`], both ways.

use gstreamer as gst;
use gstreamer_video as gst_video;
use picture::{Colour, Matrix, Range, Rate, Siting, Size};

/// What the caps say about colour. What they leave open is read as players do: up to 576 lines is BT.601,
/// above is BT.709, limited range.
pub(crate) fn from_info(info: &gst_video::VideoInfo) -> Colour {
    let default = if info.height() > 576 { Colour::BT709_LIMITED } else { Colour::BT601_LIMITED };
    let colorimetry = info.colorimetry();
    let matrix = match colorimetry.matrix() {
        gst_video::VideoColorMatrix::Bt601 | gst_video::VideoColorMatrix::Fcc => Matrix::Bt601,
        gst_video::VideoColorMatrix::Bt709 | gst_video::VideoColorMatrix::Smpte240m => Matrix::Bt709,
        _ => default.matrix,
    };
    let range = match colorimetry.range() {
        gst_video::VideoColorRange::Range0_255 => Range::Full,
        _ => Range::Limited,
    };
    let site = info.chroma_site();
    let siting = if site == gst_video::VideoChromaSite::JPEG {
        Siting::Centre
    } else if site == gst_video::VideoChromaSite::DV || site == gst_video::VideoChromaSite::COSITED {
        Siting::TopLeft
    } else {
        default.siting
    };
    Colour { matrix, range, siting }
}

/// The info of an I420 frame.
pub(crate) fn to_info(size: Size, colour: Colour, rate: Option<Rate>) -> gst_video::VideoInfo {
    let range = match colour.range {
        Range::Limited => gst_video::VideoColorRange::Range16_235,
        Range::Full => gst_video::VideoColorRange::Range0_255,
    };
    let colorimetry = match colour.matrix {
        Matrix::Bt601 => gst_video::VideoColorimetry::new(
            range,
            gst_video::VideoColorMatrix::Bt601,
            gst_video::VideoTransferFunction::Bt601,
            gst_video::VideoColorPrimaries::Smpte170m,
        ),
        Matrix::Bt709 => gst_video::VideoColorimetry::new(
            range,
            gst_video::VideoColorMatrix::Bt709,
            gst_video::VideoTransferFunction::Bt709,
            gst_video::VideoColorPrimaries::Bt709,
        ),
    };
    let site = match colour.siting {
        Siting::Left => gst_video::VideoChromaSite::MPEG2,
        Siting::Centre => gst_video::VideoChromaSite::JPEG,
        Siting::TopLeft => gst_video::VideoChromaSite::COSITED,
    };
    // A frame rate of 0/1 means "variable" in caps.
    let fps = rate.map_or(gst::Fraction::new(0, 1), fraction);
    gst_video::VideoInfo::builder(gst_video::VideoFormat::I420, size.width(), size.height())
        .colorimetry(&colorimetry)
        .chroma_site(site)
        .fps(fps)
        .par(gst::Fraction::new(1, 1))
        .build()
        .expect("a checked size makes valid I420 info")
}

/// The rate as GStreamer's fraction; rates beyond its 31 bits are no frame rates of ours.
pub(crate) fn fraction(rate: Rate) -> gst::Fraction {
    let part = |n: u32| i32::try_from(n).unwrap_or(i32::MAX);
    gst::Fraction::new(part(rate.num()), part(rate.den()))
}
