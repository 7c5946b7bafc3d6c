//! How long each stage of detection takes on this machine, on one thread.
//!
//! `cargo run --release -p framelane-models --example detection -- [MODEL_DIR...]`
//!
//! Without arguments the models under `assets/models` are measured. The median of many runs is printed, in
//! milliseconds.

use std::error::Error;
use std::hint::black_box;
use std::path::PathBuf;
use std::time::Instant;

use framelane_models::detect::DetectJob;
use framelane_models::engine::onnx::{Options, Runtime};
use framelane_models::{Detector, Model, Zoo};
use picture::{Colour, Frame, Pts, Size, Stamp, scale, yuv};
use wire::Processor;

const RUNS: usize = 60;

fn main() -> Result<(), Box<dyn Error>> {
    let frame = scene(Size::new(768, 576)?)?;
    let mut models: Vec<Model> =
        std::env::args_os().skip(1).map(|dir| Model::load(&PathBuf::from(dir))).collect::<Result<_, _>>()?;
    if models.is_empty() {
        models = Zoo::open(&PathBuf::from("assets/models"))?.models().to_vec();
    }
    let runtime = Runtime::load(None)?;
    println!("a frame of {}, {RUNS} runs, medians in ms", frame.size());
    for model in models {
        let size = model.manifest.input.size;
        let scaling = median(|| {
            black_box(scale(&frame, size));
            Ok(())
        })?;
        let picture = scale(&frame, size);
        let mut bytes = vec![0u8; size.bgr_len()];
        let to_bytes = median(|| Ok(yuv::to_bgr_u8(&picture.view(), black_box(&mut bytes))?))?;
        let mut floats = vec![0f32; size.bgr_len()];
        let normalise = model.manifest.input.normalise();
        let to_floats = median(|| {
            Ok(yuv::to_planar_f32(&picture.view(), yuv::Order::Bgr, normalise, black_box(&mut floats))?)
        })?;

        let mut detector = Detector::open(&model, &runtime, Options::default())?;
        let mut timings = Vec::with_capacity(RUNS);
        for _ in 0..RUNS {
            detector.process(DetectJob::from(picture.clone()))?;
            timings.push(detector.timings());
        }
        let stage =
            |read: fn(&wire::Timings) -> u64| middle(timings.iter().map(read).collect()) as f64 / 1000.0;
        println!(
            "{} at {size}: scale {scaling:.3}, to u8 {to_bytes:.3}, to f32 {to_floats:.3}, prepare {:.3}, infer \
             {:.2}, decode {:.3}",
            model.manifest.name,
            stage(|t| t.prepare_us),
            stage(|t| t.infer_us),
            stage(|t| t.decode_us),
        );
    }
    Ok(())
}

/// A frame with edges and texture everywhere.
fn scene(size: Size) -> Result<Frame, Box<dyn Error>> {
    let data: Vec<u8> = (0..size.i420_len()).map(|i| (16 + (i * 7 + i / 768 * 13) % 220) as u8).collect();
    Ok(Frame::tight(Stamp::at(Pts::ZERO), size, Colour::BT601_LIMITED, data.into())?)
}

fn median(mut run: impl FnMut() -> Result<(), Box<dyn Error>>) -> Result<f64, Box<dyn Error>> {
    let mut times = Vec::with_capacity(RUNS);
    for _ in 0..RUNS {
        let start = Instant::now();
        run()?;
        times.push(start.elapsed().as_nanos() as u64);
    }
    Ok(middle(times) as f64 / 1e6)
}

fn middle(mut values: Vec<u64>) -> u64 {
    values.sort_unstable();
    values[values.len() / 2]
}
