//! The walls between the crates: who may depend on whom, and which one crate is the home of each heavy
//! dependency. What makes a dependency easy to add is what makes these worth a test: the queue must not
//! learn about video, and a worker must run where there is no GStreamer and no OpenCV.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, PackageId};

/// For each of our crates those of our crates that it may depend on, optional ones too.
const MAY_USE: &[(&str, &[&str])] = &[
    ("framelane-queue", &[]),
    ("framelane-picture", &[]),
    ("framelane-web", &[]),
    ("framelane-program", &[]),
    ("framelane-wire", &["framelane-queue"]),
    ("framelane-media", &["framelane-picture"]),
    ("framelane-dispatch", &["framelane-queue", "framelane-wire", "framelane-program"]),
    ("framelane-models", &["framelane-wire", "framelane-picture"]),
    // Of the queue the ids alone, as in the wire: a worker orders nothing.
    ("framelane-worker", &["framelane-wire", "framelane-models", "framelane-queue", "framelane-program"]),
    // Examples of tasks: what a user's own crate needs, and no more.
    ("edges", FOR_A_TASK),
    ("wordcount", FOR_A_TASK),
    // A worker whose tasks are in another language.
    ("framelane-python", &["framelane-wire", "framelane-worker", "framelane-queue"]),
    // The only assembler. It names the types of the crates below its parts, so it uses them directly.
    (
        "framelane-server",
        &[
            "framelane-dispatch",
            "framelane-media",
            "framelane-models",
            "framelane-picture",
            "framelane-program",
            "framelane-queue",
            "framelane-web",
            "framelane-wire",
        ],
    ),
];

/// What a crate with a task of its own is made of.
const FOR_A_TASK: &[&str] = &["framelane-dispatch", "framelane-queue", "framelane-wire", "framelane-worker"];

/// What comes with those, and its author need not know of.
const WITH_A_TASK: &str = "framelane-program";

/// The examples of tasks, and what each has of the heavy dependencies.
const TASKS: &[(&str, &[&str])] = &[("edges", &["opencv", "opencv-binding-generator"]), ("wordcount", &[])];

/// Measures everything, so it may use everything; nothing may use it.
const MEASURES_ALL: &str = "framelane-bench";

/// Heavy dependencies, by the start of their name, and the one crate that may depend on them. Tests of other
/// crates may not either: they would build it too.
const HOME: &[(&str, &str)] = &[
    ("gstreamer", "framelane-media"),
    ("glib", "framelane-media"),
    ("opencv", "framelane-media"),
    ("ort", "framelane-models"),
    ("quinn", "framelane-wire"),
    ("rustls", "framelane-wire"),
    ("rcgen", "framelane-wire"),
    ("vm-memory", "framelane-wire"),
    ("ciborium", "framelane-wire"),
    ("redis", "framelane-wire"),
    ("lapin", "framelane-wire"),
    ("pyo3", "framelane-python"),
    ("pprof", "framelane-program"),
    ("tracing-appender", "framelane-program"),
    ("warp", "framelane-web"),
    ("jpeg", "framelane-models"),
    ("zune", "framelane-models"),
];

fn metadata(options: &[&str]) -> Metadata {
    let options = options.iter().map(|&option| option.to_owned());
    MetadataCommand::new()
        .manifest_path(Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml"))
        .other_options(options.collect::<Vec<_>>())
        .exec()
        .expect("cargo metadata of this workspace")
}

/// The home of a dependency, if it is a heavy one: `gstreamer-video` lives with `gstreamer`.
fn home(dependency: &str) -> Option<&'static str> {
    HOME.iter()
        .find(|(heavy, _)| {
            dependency.strip_prefix(heavy).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
        })
        .map(|&(_, home)| home)
}

#[test]
fn our_crates_depend_on_each_other_one_way() {
    let metadata = metadata(&["--no-deps", "--locked"]);
    let ours: BTreeSet<&str> = metadata.packages.iter().map(|package| package.name.as_str()).collect();
    let table: BTreeMap<&str, &[&str]> = MAY_USE.iter().copied().collect();
    let mut wrong = Vec::new();
    for package in &metadata.packages {
        let name = package.name.as_str();
        if name == MEASURES_ALL {
            continue;
        }
        let Some(may_use) = table.get(name) else {
            wrong.push(format!("{name} is not in the table: decide what it may depend on"));
            continue;
        };
        for dependency in &package.dependencies {
            let to = dependency.name.as_str();
            if dependency.kind != DependencyKind::Development && ours.contains(to) && !may_use.contains(&to) {
                wrong.push(format!("{name} must not depend on {to}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_heavy_dependency_has_one_home() {
    let metadata = metadata(&["--no-deps", "--locked"]);
    let mut wrong = Vec::new();
    let mut seen = BTreeSet::new();
    for package in &metadata.packages {
        for dependency in &package.dependencies {
            match home(&dependency.name) {
                Some(home) if home == package.name.as_str() => drop(seen.insert(home)),
                Some(_)
                    if TASKS.iter().any(|(task, may_have)| {
                        *task == package.name.as_str() && may_have.contains(&dependency.name.as_str())
                    }) => {}
                Some(home) => {
                    wrong.push(format!("{} belongs in {home}, not in {}", dependency.name, package.name))
                }
                None => {}
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let homes: BTreeSet<&str> = HOME.iter().map(|&(_, home)| home).collect();
    assert_eq!(seen, homes, "a home that is empty guards nothing");
}

/// What cargo would build for a crate of its own: unlike the metadata of the workspace, with no feature that
/// only others ask for.
fn tree(package: &str) -> BTreeSet<String> {
    let tree = Command::new(env!("CARGO"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["tree", "--locked", "--package", package, "--edges", "normal,build", "--prefix", "none"])
        .output()
        .expect("cargo tree");
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    let lines = String::from_utf8(tree.stdout).expect("cargo speaks UTF-8");
    lines.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
}

#[test]
fn a_task_of_ones_own_needs_no_video_and_no_models() {
    for &(example, may_have) in TASKS {
        let built = tree(example);
        assert!(FOR_A_TASK.iter().all(|ours| built.contains(*ours)), "{example}: {built:?}");
        let ours = built.iter().filter(|name| name.starts_with("framelane-"));
        let may_be = |name: &str| FOR_A_TASK.contains(&name) || name == WITH_A_TASK;
        let wrong: Vec<_> = ours.filter(|name| !may_be(name)).collect();
        assert!(wrong.is_empty(), "{example} must do without {wrong:?}");
        let heavy = built.iter().filter(|name| home(name).is_some_and(|home| !may_be(home)));
        let wrong: Vec<_> = heavy.filter(|name| !may_have.contains(&name.as_str())).collect();
        assert!(wrong.is_empty(), "{example} must do without {wrong:?}");
    }
}

#[test]
fn nothing_under_the_worker_is_gstreamer_or_opencv() {
    let rustc = Command::new("rustc").arg("-vV").output().expect("rustc -vV");
    let rustc = String::from_utf8(rustc.stdout).expect("rustc speaks UTF-8");
    let host = rustc.lines().find_map(|line| line.strip_prefix("host: ")).expect("rustc names its host");
    // Without the filter cargo would fetch what only other platforms need.
    let metadata = metadata(&["--locked", "--filter-platform", host]);
    let nodes = &metadata.resolve.as_ref().expect("a resolved graph").nodes;
    let below: BTreeMap<&PackageId, Vec<&PackageId>> = nodes
        .iter()
        .map(|node| {
            let built = node
                .deps
                .iter()
                .filter(|dep| dep.dep_kinds.iter().any(|k| k.kind != DependencyKind::Development));
            (&node.id, built.map(|dep| &dep.pkg).collect())
        })
        .collect();
    let names: BTreeMap<&PackageId, &str> =
        metadata.packages.iter().map(|p| (&p.id, p.name.as_str())).collect();

    let worker = metadata.workspace_packages().into_iter().find(|package| package.name == "framelane-worker");
    let mut to_visit = vec![&worker.expect("the worker is in the workspace").id];
    let mut visited = BTreeSet::new();
    while let Some(id) = to_visit.pop() {
        if visited.insert(id) {
            to_visit.extend(&below[id]);
        }
    }
    let visited: BTreeSet<&str> = visited.into_iter().map(|id| names[id]).collect();
    assert!(visited.contains("framelane-wire"), "the walk went nowhere: {visited:?}");
    let wrong: Vec<_> = visited
        .iter()
        .filter(|name| matches!(home(name), Some("framelane-media" | "framelane-web")))
        .collect();
    assert!(wrong.is_empty(), "a worker must do without {wrong:?}");
}

#[test]
fn the_worker_binary_loads_no_gstreamer_and_no_opencv() {
    let ldd = Command::new("ldd").arg(worker_binary()).output().expect("ldd");
    let libraries = String::from_utf8_lossy(&ldd.stdout).into_owned();
    assert!(libraries.contains("libc.so"), "ldd lists the libraries of a program: {libraries}");
    let wrong: Vec<_> = libraries
        .lines()
        .filter(|line| ["gst", "glib", "opencv", "libav"].iter().any(|name| line.contains(name)))
        .collect();
    assert!(wrong.is_empty(), "framelane-worker loads {wrong:#?}");
}

/// The worker that lies beside the folder this test runs from, built now if nobody has built it.
fn worker_binary() -> PathBuf {
    let test = std::env::current_exe().expect("the path of this test");
    let profile_dir = test.parent().and_then(Path::parent).expect("tests lie in TARGET/PROFILE/deps");
    let binary = profile_dir.join("framelane-worker");
    if !binary.exists() {
        let mut build = Command::new(env!("CARGO"));
        build.current_dir(env!("CARGO_MANIFEST_DIR")).args([
            "build",
            "--locked",
            "--package",
            "framelane-worker",
        ]);
        build.arg("--target-dir").arg(profile_dir.parent().expect("a profile lies in the target folder"));
        if profile_dir.ends_with("release") {
            build.arg("--release");
        }
        assert!(build.status().expect("cargo build").success(), "building framelane-worker failed");
    }
    binary
}
