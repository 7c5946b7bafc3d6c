//! A queue in this process, and workers in Python beside it, in the environment that `make install-package` makes.

// Each test binary uses a part of it.
#![allow(dead_code, unreachable_pub)]

use std::fs::File;
use std::marker::PhantomData;
use std::num::{NonZeroU32, NonZeroUsize};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

pub use dispatch::lane::View;
use dispatch::{Admission, Coordinator, Done, Inlet, Link, Outlet, Prepare, Unprepared, lane};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use queue::{Key, Policy, TaskName};
use tokio::time::timeout;
use wire::Task;
use wire::identity::{Authority, TokenOptions};
use wire::server::{self, Listener};

/// Nothing here should take a fraction of it; it only turns a hang into a failure. A busy machine takes seconds to
/// start Python with numpy in it.
pub const WITHIN: Duration = Duration::from_secs(60);

/// The Python of the environment that the package is installed in.
pub fn python() -> PathBuf {
    let python = std::env::var_os("FRAMELANE_TEST_PYTHON").map(PathBuf::from).unwrap_or_else(|| {
        let test = std::env::current_exe().unwrap();
        test.ancestors().nth(3).expect("tests lie in TARGET/PROFILE/deps").join("python/dev/venv/bin/python")
    });
    assert!(python.exists(), "{} is not there: run `make install-package`", python.display());
    python
}

/// A program of this workspace.
pub fn built(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let program = test.ancestors().nth(2).expect("tests lie in TARGET/PROFILE/deps").join(name);
    assert!(program.exists(), "{} is not there: run `cargo build --workspace --bins`", program.display());
    program
}

/// A file beside these tests.
pub fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name)
}

/// A queue that workers can join.
pub struct Site {
    pub coordinator: Coordinator,
    pub authority: Authority,
    pub addr: String,
    pub listener: Arc<Listener>,
    pub folder: tempfile::TempDir,
}

impl Site {
    pub async fn new() -> Site {
        Site::with(server::Config::default()).await
    }

    pub async fn with(config: server::Config) -> Site {
        let (coordinator, driver) = dispatch::new(queue::Config::default());
        tokio::spawn(driver);
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::load_or_create(folder.path().join("server")).unwrap();
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), authority.clone(), config).unwrap();
        let (addr, listener) = (listener.local_addr().to_string(), Arc::new(listener));
        let (accepting, joining) = (Arc::clone(&listener), coordinator.clone());
        tokio::spawn(async move {
            while let Some((peer, events)) = accepting.accept().await {
                tokio::spawn(lane::quic::run(joining.clone(), peer, events, lane::quic::Config::default()));
            }
        });
        Site { coordinator, authority, addr, listener, folder }
    }

    /// Lets one worker in, once.
    pub fn token(&self) -> String {
        let options = TokenOptions { expires_in: Duration::from_secs(600), uses: NonZeroU32::MIN };
        self.authority.token(options).unwrap().to_string()
    }

    /// Starts Python with these arguments, told in the environment where the server is. Each worker has a name, and
    /// with it a state folder and a log of its own.
    pub fn python(&self, name: &str, args: &[&str]) -> Worker {
        Worker::start(&self.folder.path().join(name), args, &self.addr, &self.token())
    }

    /// Starts a program of `workers/` and waits until it has joined, with so many processes.
    pub async fn worker(&self, name: &str, program: &str, args: &[&str], lanes: usize) -> Worker {
        let before = self.lanes().await.len();
        let program = file("workers").join(program);
        let args: Vec<&str> =
            std::iter::once(program.to_str().unwrap()).chain(args.iter().copied()).collect();
        let mut worker = self.python(name, &args);
        self.joined(&mut worker, before + lanes).await;
        worker
    }

    /// Waits until so many lanes serve something, all of it ready.
    pub async fn joined(&self, worker: &mut Worker, count: usize) {
        let ready = |lanes: &[View]| {
            lanes.len() == count && lanes.iter().all(|lane| lane.keys.iter().all(|key| key.warm))
        };
        tokio::select! {
            seen = timeout(WITHIN, self.until(ready)) => assert!(seen.is_ok(), "not in time:\n{}", worker.log()),
            status = worker.ended() => panic!("it ended with {status}:\n{}", worker.log()),
        }
    }

    pub async fn until(&self, holds: impl Fn(&[View]) -> bool) -> Vec<View> {
        let seen = timeout(2 * WITHIN, async {
            loop {
                let lanes = self.lanes().await;
                if holds(&lanes) {
                    return lanes;
                }
                // Nobody tells when a lane comes or goes.
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
        seen.await.expect("it holds in time")
    }

    pub async fn lanes(&self) -> Vec<View> {
        self.coordinator.lanes().await.unwrap()
    }

    pub async fn open<T: Task>(&self, policy: Policy) -> Flow<T>
    where
        T::Job: Clone + Sync,
    {
        let key = Key::task(TaskName::new(T::NAME).unwrap());
        let (inlet, outlet) = self.coordinator.open(policy, key, Same::<T>(PhantomData)).await.unwrap();
        Flow { inlet, outlet: outlet.batched(NonZeroUsize::new(16).unwrap()) }
    }

    /// One job, in a flow that does not give up, and its answer.
    pub async fn ask<T: Task>(&self, job: T::Job) -> T::Answer
    where
        T::Job: Clone + Sync,
    {
        let mut flow = self.open::<T>(Policy::lossless()).await;
        flow.send(job).await;
        flow.next().await.answer.expect("answered")
    }
}

/// Policy of a flow that tries so often.
pub fn attempts(count: u32) -> Policy {
    Policy { attempts: NonZeroU32::new(count), ..Policy::lossless() }
}

/// Jobs go out as they came in.
pub struct Same<T>(PhantomData<fn() -> T>);

impl<T: Task> Prepare for Same<T>
where
    T::Job: Clone + Sync,
{
    type Task = T;
    type Item = T::Job;

    fn prepare(&self, item: &T::Job, _: &Link) -> Result<T::Job, Unprepared> {
        Ok(item.clone())
    }
}

/// Both ends of a flow.
pub struct Flow<T: Task>
where
    T::Job: Clone + Sync,
{
    pub inlet: Inlet<Same<T>>,
    pub outlet: Outlet<Same<T>>,
}

impl<T: Task> Flow<T>
where
    T::Job: Clone + Sync,
{
    pub async fn send(&mut self, job: T::Job) {
        assert!(self.inlet.send(Admission::now(job)).await.is_ok());
    }

    pub async fn next(&mut self) -> Done<Same<T>> {
        timeout(WITHIN, self.outlet.next()).await.expect("in time").expect("a place")
    }
}

/// A process that runs Python, and the log that it writes. It has a process group of its own, which is killed with it.
pub struct Worker {
    process: Child,
    log: PathBuf,
}

impl Worker {
    /// Starts Python with these arguments, told in the environment where the server is, in a folder of its own.
    pub fn start(home: &Path, args: &[&str], server: &str, token: &str) -> Worker {
        std::fs::create_dir_all(home).unwrap();
        let log = home.join("log");
        let process = Command::new(python())
            .args(args)
            .current_dir(home)
            .env("FRAMELANE_SERVER", server)
            .env("FRAMELANE_TOKEN", token)
            .env("PYTHONPATH", file("workers"))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("FRAMELANE_LOG", "info")
            .stdin(Stdio::null())
            .stdout(File::create(home.join("out")).unwrap())
            .stderr(File::create(&log).unwrap())
            .process_group(0)
            .spawn()
            .unwrap();
        Worker { process, log }
    }

    /// Waits until this is what it has printed.
    pub async fn says(&mut self, text: &str) {
        let said = timeout(WITHIN, async {
            while self.out() != text {
                if let Some(status) = self.process.try_wait().unwrap() {
                    panic!("it ended with {status}:\n{}", self.log());
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
        assert!(said.await.is_ok(), "it says nothing:\n{}", self.log());
    }

    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap()).into_owned()
    }

    /// What it printed.
    pub fn out(&self) -> String {
        std::fs::read_to_string(self.log.with_file_name("out")).unwrap()
    }

    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.process.id().try_into().unwrap())
    }

    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap();
    }

    /// As a terminal's Ctrl-C does.
    pub fn signal_group(&self, signal: Signal) {
        killpg(self.pid(), signal).unwrap();
    }

    /// Waits until it has ended by itself.
    pub async fn ended(&mut self) -> ExitStatus {
        let ended = timeout(2 * WITHIN, async {
            loop {
                if let Some(status) = self.process.try_wait().unwrap() {
                    return status;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
        let ended = ended.await;
        ended.unwrap_or_else(|_| panic!("it does not end; the log says:\n{}", self.log()))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It may have ended before. Its children notice by themselves.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Declares a task by its name, its job and its answer.
#[macro_export]
macro_rules! task {
    ($task:ident, $name:literal, $job:ty, $answer:ty) => {
        struct $task;
        impl wire::Task for $task {
            const NAME: &'static str = $name;
            type Job = $job;
            type Answer = $answer;
        }
    };
}
