//! From GStreamer's error messages to errors that say what to do.

use gst::glib;
use gstreamer as gst;

use super::Error;
use crate::Source;
use gst::prelude::*;

/// Reads an error message of a source's pipeline.
pub(super) fn explain(source: &Source, message: &gst::message::Error) -> Error {
    let element = message.src().map_or_else(|| "gstreamer".into(), |src| src.name().to_string());
    let error = message.error();
    let why = source.redact(&why(&error, message.debug().as_deref()));
    let from = source.to_string();
    let stream = error.kind::<gst::StreamError>();
    let resource = error.kind::<gst::ResourceError>();
    if error.kind::<gst::CoreError>() == Some(gst::CoreError::MissingPlugin)
        || stream == Some(gst::StreamError::CodecNotFound)
    {
        // Such as "Missing decoder: H.264 (High Profile) (video/x-h264, …)", with caps of any length.
        let Some((why, _)) = why.split_once(" (video/").or_else(|| why.split_once(" (image/")) else {
            return Error::NotVideo { from, why: "it holds no video".to_owned() };
        };
        return Error::NoDecoder { from, why: why.to_owned() };
    }
    if source.is_network() {
        return match resource {
            Some(gst::ResourceError::NotAuthorized) => Error::Unauthorized { from, why },
            Some(gst::ResourceError::NotFound) => Error::Refused { from, why },
            Some(
                gst::ResourceError::OpenRead
                | gst::ResourceError::OpenWrite
                | gst::ResourceError::OpenReadWrite,
            ) => Error::Unreachable { from, why },
            _ => Error::Pipeline { from, element, why },
        };
    }
    match stream {
        Some(
            gst::StreamError::TypeNotFound
            | gst::StreamError::WrongType
            | gst::StreamError::Demux
            | gst::StreamError::Format
            | gst::StreamError::Failed,
        ) => Error::NotVideo { from, why },
        _ => Error::Pipeline { from, element, why },
    }
}

/// The message, and the last line of the debug text where it says more.
fn why(error: &glib::Error, debug: Option<&str>) -> String {
    let message = error.message().trim().trim_end_matches('.').to_owned();
    let lines = debug.unwrap_or_default().lines().skip(1).map(str::trim);
    let detail = lines.filter(|line| !line.is_empty()).last();
    match detail.map(|line| line.trim_end_matches('.')) {
        Some(detail) if !detail.contains(&message) && !detail.starts_with("streaming stopped") => {
            format!("{message}: {detail}")
        }
        _ => message,
    }
}
