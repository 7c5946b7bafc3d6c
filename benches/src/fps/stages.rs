//! What one frame costs in each stage, measured alone with every core busy on that stage.

use std::hint::black_box;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use anyhow::Context;
use media::draw::{Canvas, Labelled};
use media::encode::{self, Encoder};
use media::ingest::{self, Event, Pace};
use models::detect::{Detect, DetectJob, Detections};
use models::engine::onnx;
use models::{Detector, Model};
use picture::{Frame, Rate};
use wire::{Processor, Task};

use super::Args;

/// One stage's cost.
pub(super) struct Stage {
    pub(super) name: &'static str,
    /// Milliseconds of the whole machine for one frame: the time of all cores together, divided by
    /// the frames they did.
    pub(super) ms: f64,
}

/// Frames that the stages after decoding work on; enough that every stage takes some hundred
/// milliseconds, few enough to keep them all in memory.
const FRAMES: usize = 128;

pub(super) async fn measure(args: &Args) -> anyhow::Result<Vec<Stage>> {
    let cores = thread::available_parallelism().context("how many cores are there?")?.get();
    let model = Model::load(&args.assets.models.join(&args.model))?;
    let runtime = onnx::Runtime::load(Some(&args.assets.onnxruntime))?;

    let (decode_ms, frames) = decode(args, cores).await?;
    let frames = Arc::new(frames);
    let input = model.manifest.input.size;
    let mut detectors = Vec::new();
    for _ in 0..cores {
        detectors.push(Detector::open(&model, &runtime, onnx::Options::default())?);
    }
    let letterbox_ms = on_all_cores(vec![(); cores], |()| {
        for frame in frames.iter() {
            black_box(picture::scale(frame, input));
        }
        Ok(frames.len())
    })?;
    let infer_ms = on_all_cores(detectors, |mut detector| {
        for frame in frames.iter() {
            black_box(detect(&mut detector, frame, input)?);
        }
        Ok(frames.len())
    })?
    // The detector is timed with a letterbox of its own, which is a stage by itself.
        - letterbox_ms;
    let mut detector = Detector::open(&model, &runtime, onnx::Options::default())?;
    let found =
        frames.iter().map(|frame| detect(&mut detector, frame, input)).collect::<Result<Vec<_>, _>>()?;
    let draw_ms = on_all_cores(vec![(); cores], |()| {
        for (frame, found) in frames.iter().zip(&found) {
            let boxes: Vec<Labelled<'_>> = found
                .boxes
                .iter()
                .map(|found| Labelled {
                    rect: found.rect,
                    label: model.manifest.labels.name(found.class),
                    score: found.score,
                    colour: found.class.into(),
                })
                .collect();
            let mut canvas = Canvas::new(frame);
            canvas.boxes(&boxes)?;
            black_box(canvas.into_frame());
        }
        Ok(frames.len())
    })?;
    let encode_ms = encode(&frames, cores).await?;
    Ok(vec![
        Stage { name: "decode", ms: decode_ms },
        Stage { name: "letterbox", ms: letterbox_ms },
        Stage { name: "infer", ms: infer_ms },
        Stage { name: "draw", ms: draw_ms },
        Stage { name: "encode", ms: encode_ms },
    ])
}

fn detect(
    detector: &mut Detector,
    frame: &Frame,
    input: picture::Size,
) -> anyhow::Result<<Detect as Task>::Answer> {
    let answer: Result<Detections, _> = detector.process(DetectJob::from(picture::scale(frame, input)));
    Ok(answer?)
}

/// Runs `work` once for each seat, each on a thread of its own, and gives milliseconds a frame.
fn on_all_cores<S: Send>(
    seats: Vec<S>,
    work: impl Fn(S) -> anyhow::Result<usize> + Sync,
) -> anyhow::Result<f64> {
    let begin = Instant::now();
    let frames = thread::scope(|scope| {
        let threads: Vec<_> = seats.into_iter().map(|seat| scope.spawn(|| work(seat))).collect();
        let mut frames = 0;
        for thread in threads {
            frames += thread.join().map_err(|_| anyhow::anyhow!("a measuring thread panicked"))??;
        }
        Ok::<_, anyhow::Error>(frames)
    })?;
    anyhow::ensure!(frames > 0, "no frames to measure with");
    Ok(begin.elapsed().as_secs_f64() * 1e3 / frames as f64)
}

/// Decodes the clip on all cores, each on its own, and keeps the first frames.
async fn decode(args: &Args, cores: usize) -> anyhow::Result<(f64, Vec<Frame>)> {
    let source = media::Source::parse(&args.clip.to_string_lossy())?;
    let begin = Instant::now();
    let readers: Vec<_> = (0..cores)
        .map(|reader| {
            let source = source.clone();
            tokio::spawn(async move {
                let mut config = ingest::Config::default();
                config.pace = Pace::Fast;
                config.decoder_threads = 1;
                let mut ingest = ingest::open(source, config);
                let (mut count, mut kept) = (0, Vec::new());
                loop {
                    match ingest.next().await {
                        Event::Frame(frame) => {
                            count += 1;
                            if reader == 0 && kept.len() < FRAMES {
                                kept.push(frame);
                            }
                        }
                        Event::Failed(error) => return Err(error.into()),
                        Event::Ended => return Ok::<_, anyhow::Error>((count, kept)),
                        _ => {}
                    }
                }
            })
        })
        .collect();
    let (mut frames, mut first) = (0, Vec::new());
    for reader in readers {
        let (count, kept) = reader.await??;
        frames += count;
        if !kept.is_empty() {
            first = kept;
        }
    }
    anyhow::ensure!(frames > 0, "{} has no frames", args.clip.display());
    Ok((begin.elapsed().as_secs_f64() * 1e3 / f64::from(frames), first))
}

/// Encodes the frames on all cores, each on its own.
async fn encode(frames: &Arc<Vec<Frame>>, cores: usize) -> anyhow::Result<f64> {
    let size = frames.first().context("no frames to encode")?.size();
    let begin = Instant::now();
    let encoders: Vec<_> = (0..cores)
        .map(|_| {
            let frames = Arc::clone(frames);
            tokio::spawn(async move {
                let (encoder, _ring) = Encoder::start(encode::Config::new(size, Rate::new(30, 1)?))?;
                for frame in frames.iter() {
                    encoder.push(frame.clone()).await?;
                }
                encoder.finish().await?;
                Ok::<_, anyhow::Error>(frames.len())
            })
        })
        .collect();
    let mut done = 0;
    for encoder in encoders {
        done += encoder.await??;
    }
    Ok(begin.elapsed().as_secs_f64() * 1e3 / done as f64)
}
