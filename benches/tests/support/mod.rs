//! What the tests from end to end share: the fetched assets, and ffmpeg as a client that is not ours.

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use framelane_bench::camera::stamp;
use framelane_bench::rig::Assets;
use picture::Size;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

/// Longer than any one thing here takes on a busy machine.
pub const WITHIN: Duration = Duration::from_secs(60);

/// The folder that the set-up filled.
pub fn assets_folder() -> PathBuf {
    let path = std::env::var_os("FRAMELANE_ASSETS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets"), PathBuf::from);
    for file in ["clips/vtest.avi", "models/nanodet-int8/model.onnx", "onnxruntime/libonnxruntime.so"] {
        let file = path.join(file);
        assert!(file.exists(), "{} is not there: run scripts/setup test", file.display());
    }
    path.canonicalize().expect("a folder that exists")
}

/// Models and ONNX Runtime.
pub fn assets() -> Assets {
    let folder = assets_folder();
    Assets { models: folder.join("models"), onnxruntime: folder.join("onnxruntime/libonnxruntime.so") }
}

/// The street scene, as an argument.
pub fn vtest() -> String {
    assets_folder().join("clips/vtest.avi").to_str().expect("a path of ordinary letters").to_owned()
}

/// One decoded picture of a stream.
pub struct Seen {
    /// Tight I420.
    pub planes: Vec<u8>,
    /// The number that the camera stamped, where it can be read.
    pub number: Option<u32>,
}

/// ffmpeg, playing a stream.
pub struct Player {
    child: Child,
    pictures: ChildStdout,
    times: tokio::task::JoinHandle<Vec<f64>>,
    size: Size,
}

impl Player {
    /// Plays so many frames of an RTSP URL, each exactly once and as it is.
    pub fn start(url: &str, size: Size, frames: usize) -> Player {
        let frames = frames.to_string();
        let mut child = Command::new("ffmpeg")
            .args(["-hide_banner", "-nostats", "-rtsp_transport", "tcp", "-i", url, "-an", "-vf", "showinfo"])
            .args([
                "-vsync",
                "passthrough",
                "-frames:v",
                &frames,
                "-f",
                "rawvideo",
                "-pix_fmt",
                "yuv420p",
                "-",
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("ffmpeg is installed: run scripts/setup test");
        let pictures = child.stdout.take().expect("stdout is piped");
        let mut said = BufReader::new(child.stderr.take().expect("stderr is piped")).lines();
        let times = tokio::spawn(async move {
            let mut times = Vec::new();
            while let Ok(Some(line)) = said.next_line().await {
                let time = line.split_once("pts_time:").and_then(|(_, rest)| rest.split(' ').next());
                times.extend(time.and_then(|time| time.parse::<f64>().ok()));
            }
            times
        });
        Player { child, pictures, times, size }
    }

    /// The next picture; none after the last.
    pub async fn next(&mut self) -> Option<Seen> {
        let mut planes = vec![0; self.size.i420_len()];
        let read = timeout(WITHIN, self.pictures.read_exact(&mut planes)).await.expect("a picture in time");
        read.ok()?;
        let number = stamp::read(&planes, self.size.width() as usize, self.size);
        Some(Seen { planes, number })
    }

    /// The presentation times of the pictures, in seconds, once it has ended. The first is left out: ffmpeg
    /// gives the first packet of an RTSP stream no time, takes it for that of the second, and passes
    /// only one of the two on.
    pub async fn times(mut self) -> Vec<f64> {
        drop(self.pictures);
        timeout(WITHIN, self.child.wait()).await.expect("ffmpeg ends").expect("its status");
        let mut times = self.times.await.expect("its words are read");
        assert!(!times.is_empty(), "ffmpeg played nothing");
        times.split_off(1)
    }
}

/// What a player saw of the numbers.
#[derive(Debug, PartialEq, Eq)]
pub struct Order {
    /// Pictures whose number could be read; a box hides some.
    pub read: usize,
    /// Numbers that no picture had, between the first and the last.
    pub gaps: u64,
}

/// Checks that numbers only rise, and each comes once.
pub fn order(numbers: &[Option<u32>]) -> Order {
    let read: Vec<(usize, u32)> =
        numbers.iter().enumerate().filter_map(|(place, number)| Some((place, (*number)?))).collect();
    let mut gaps = 0;
    for pair in read.windows(2) {
        let [(place, number), (next_place, next)] = pair else { unreachable!("windows of two") };
        let step = (next_place - place) as u32;
        assert!(*next >= number + step, "number {next} came {step} pictures after {number}: {numbers:?}");
        gaps += u64::from(next - number - step);
    }
    Order { read: read.len(), gaps }
}
