//! Mistakes in a model's folder and in its surroundings end as errors that say what to do.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![cfg(feature = "onnx")]

mod common;

use std::fs;
use std::path::Path;

use common::{asset, runtime};
use framelane_models::engine::onnx::{LibraryError, Onnx, OpenError, Options, Runtime};
use framelane_models::{Detector, Manifest, Model, Zoo};

const GOOD: &str = r#"
name = "mine"
task = "detect"
adapter = "nanodet"
file = "model.onnx"
labels = "coco"

[input]
name = "images"
width = 416
height = 320
layout = "nhwc"
order = "bgr"
dtype = "u8"
"#;

/// The error of a manifest in which one line was replaced.
fn mistake(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from));
    let text = GOOD.replacen(from, to, 1);
    Manifest::parse(&text, Path::new("zoo/mine/model.toml")).unwrap_err().to_string()
}

#[test]
fn a_manifest_without_mistakes_is_read() {
    let manifest = Manifest::parse(GOOD, Path::new("zoo/mine/model.toml")).unwrap();
    assert_eq!((manifest.threshold.get(), manifest.nms_iou.get()), (0.5, 0.6), "the defaults");
    assert_eq!(manifest.output.boxes, "ltrb");
}

#[test]
fn mistakes_name_the_file_the_line_and_the_nearest_word() {
    for (from, to, expected) in [
        ("labels =", "labls =", "zoo/mine/model.toml:6: unknown field `labls`, expected"),
        ("labels =", "labls =", "did you mean `labels`?"),
        ("width = 416", "with = 416", "model.toml:10: unknown field `with`"),
        ("width = 416", "with = 416", "did you mean `width`?"),
        ("\"nanodet\"", "\"nanodat\"", "model.toml:4: unknown variant `nanodat`, expected `nanodet`"),
        ("\"nanodet\"", "\"nanodat\"", "did you mean `nanodet`?"),
        ("name = \"mine\"", "", "missing field `name`"),
        ("name = \"mine\"", "name = \"My Model\"", "model.toml:2: 'My Model' is not a model's name"),
        ("width = 416", "width = 400", "model.toml:8: the input is 400x320"),
        ("width = 416", "width = 0", "model.toml:10: 0x320 is not a picture size"),
        ("width = 416", "width = -1", "model.toml:10: invalid value: integer `-1`"),
        ("height = 320", "height = 99999999", "model.toml:11: 416x99999999 is not a picture size"),
        ("\"nhwc\"", "\"nchw\"", "dtype \"u8\" goes with layout \"nhwc\""),
        ("dtype = \"u8\"", "dtype = \"u8\"\nmean = [1, 2, 3]", "`mean` and `std` go with dtype \"f32\""),
        ("labels = \"coco\"", "labels = []", "model.toml:6: there are no labels"),
        ("labels = \"coco\"", "labels = 3", "labels are \"coco\", the name of a file"),
        ("labels = \"coco\"", "labels = \"../../etc/passwd\"", "is not the plain name of a file"),
        ("\"model.onnx\"", "\"/etc/passwd\"", "model.toml:5: '/etc/passwd' is not the plain name of a file"),
        ("\"coco\"", "\"coco\"\nthreshold = 7", "model.toml:7: 7 is not between 0 and 1"),
        ("\"coco\"", "\"coco\"\nthreshold = nan", "model.toml:7: NaN is not between 0 and 1"),
        ("\"coco\"", "\"coco\"\nsha256 = \"12\"", "model.toml:7: '12' is not a sha256"),
        ("\"coco\"", "\"coco", "model.toml:6"),
    ] {
        let error = mistake(from, to);
        assert!(error.contains(expected), "{to}\n  gives: {error}\n  not:   {expected}");
    }
    let float = mistake("dtype = \"u8\"", "dtype = \"f32\"\nstd = [1, 0, 1]");
    assert!(float.contains("model.toml:15: `std` is divided by"), "{float}");
}

/// A folder with a manifest and whatever stands for its ONNX file.
fn folder(zoo: &Path, name: &str, manifest: &str, onnx: Option<&[u8]>) {
    let dir = zoo.join(name);
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("model.toml"), manifest).unwrap();
    if let Some(onnx) = onnx {
        fs::write(dir.join("model.onnx"), onnx).unwrap();
    }
}

#[test]
fn bad_models_do_not_keep_good_ones_from_being_used() {
    let dir = tempfile::tempdir().unwrap();
    let zoo = dir.path();
    folder(zoo, "good", GOOD, Some(b"anything"));
    folder(zoo, "missing", &GOOD.replace("mine", "missing"), None);
    folder(zoo, "same", GOOD, Some(b"anything"));
    let digest = format!("\"coco\"\nsha256 = \"{}\"", "ab".repeat(32));
    folder(zoo, "wrong", &GOOD.replace("mine", "wrong").replace("\"coco\"", &digest), Some(b"anything"));
    fs::create_dir(zoo.join("empty")).unwrap();
    fs::write(zoo.join("readme.txt"), "not a model").unwrap();

    let opened = Zoo::open(zoo).unwrap();
    assert_eq!(opened.models().len(), 1);
    let good = opened.get("mine").unwrap();
    assert!(opened.by_hash(&good.hash).is_some());
    let texts: Vec<_> = opened.bad().iter().map(ToString::to_string).collect();
    let [empty, missing, same, wrong] = &texts[..] else { panic!("{texts:?}") };
    assert!(empty.contains("empty/model.toml") && empty.contains("scripts/setup"), "{empty}");
    assert!(missing.contains("missing/model.onnx") && missing.contains("scripts/setup"), "{missing}");
    assert!(same.contains("same/model.toml") && same.contains("rename"), "{same}");
    assert!(wrong.contains("wrong/model.onnx") && wrong.contains(&"ab".repeat(32)), "{wrong}");

    let error = Zoo::open(&zoo.join("nowhere")).unwrap_err().to_string();
    assert!(error.contains("nowhere") && error.contains("--models"), "{error}");
}

#[test]
fn the_hash_is_of_values_and_content() {
    let dir = tempfile::tempdir().unwrap();
    let load = |name: &str, manifest: &str, onnx: &[u8]| {
        folder(dir.path(), name, manifest, Some(onnx));
        Model::load(&dir.path().join(name)).unwrap().hash_hex()
    };
    let plain = load("a", GOOD, b"onnx");
    // Golden: both ends of a connection must agree on it, also when they are of different versions.
    assert_eq!(plain, "723ca7da43bc4c0848f97ebeb48c9bd188b189da112e136bcfc27429b540114f");
    assert_eq!(load("b", &format!("# a comment\n{GOOD}[output]\nboxes = \"ltrb\"\n"), b"onnx"), plain);
    assert_ne!(load("c", GOOD, b"other"), plain);
    assert_ne!(load("d", &GOOD.replace("\"coco\"", "\"coco\"\nthreshold = 0.4"), b"onnx"), plain);
    assert_ne!(load("e", &GOOD.replace("\"coco\"", "[\"ab\", \"c\"]"), b"onnx"), plain);
    assert_ne!(
        load("f", &GOOD.replace("\"coco\"", "[\"ab\", \"c\"]"), b"onnx"),
        load("g", &GOOD.replace("\"coco\"", "[\"a\", \"bc\"]"), b"onnx")
    );
}

#[test]
fn labels_may_lie_in_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let manifest = GOOD.replace("\"coco\"", "\"names.txt\"");
    folder(dir.path(), "mine", &manifest, Some(b"anything"));
    let mine = dir.path().join("mine");
    let error = Model::load(&mine).unwrap_err().to_string();
    assert!(error.contains("names.txt") && error.contains("one label a line"), "{error}");
    fs::write(mine.join("names.txt"), "cat\ndog\n").unwrap();
    assert_eq!(Model::load(&mine).unwrap().manifest.labels.name(1), "dog");
}

#[test]
fn a_file_that_is_not_onnx_is_named() {
    let dir = tempfile::tempdir().unwrap();
    folder(dir.path(), "mine", GOOD, Some(b"This is a text and no model.\n"));
    let model = Model::load(&dir.path().join("mine")).unwrap();
    let error = Detector::open(&model, &runtime(), Options::default()).err().unwrap().to_string();
    assert!(error.contains("mine/model.onnx is not an ONNX model"), "{error}");
    assert!(error.contains("'mine'") && error.contains("scripts/setup"), "{error}");
}

#[test]
fn a_model_that_is_not_what_its_manifest_says_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let onnx = fs::read(asset("models/nanodet/model.onnx")).unwrap();
    let mut number = 0;
    let mut mismatch = |from: &str, to: &str| {
        number += 1;
        let name = format!("m{number}");
        folder(dir.path(), &name, &GOOD.replacen(from, to, 1), Some(&onnx));
        let model = Model::load(&dir.path().join(name)).unwrap();
        match Onnx::open(&model, &runtime(), Options::default()) {
            Err(error @ OpenError::Mismatch { .. }) => error.to_string(),
            Err(error) => panic!("{error}"),
            Ok(_) => panic!("it was opened"),
        }
    };
    let error = mismatch("name = \"images\"", "name = \"image\"");
    assert!(error.contains("its input is named 'images', the manifest says 'image'"), "{error}");
    let error = mismatch(
        "layout = \"nhwc\"\norder = \"bgr\"\ndtype = \"u8\"",
        "layout = \"nchw\"\norder = \"bgr\"\ndtype = \"f32\"",
    );
    assert!(error.contains("takes") && error.contains("the manifest says f32"), "{error}");
    let error = mismatch("[input]", "[output]\nscores = \"score\"\n[input]");
    assert!(error.contains("no output 'score'") && error.contains("scores, ltrb"), "{error}");

    // A wrong number of labels shows in the trial run.
    folder(dir.path(), "labels", &GOOD.replace("\"coco\"", "[\"a\", \"b\"]"), Some(&onnx));
    let model = Model::load(&dir.path().join("labels")).unwrap();
    let error = Detector::open(&model, &runtime(), Options::default()).err().unwrap().to_string();
    assert!(error.contains("trial run") && error.contains("2730, 80"), "{error}");
}

#[test]
fn a_library_that_cannot_be_used_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let nowhere = dir.path().join("libonnxruntime.so");
    // Another test of this process may have loaded the right one first; both answers name the file.
    let error = Runtime::load(Some(&nowhere)).unwrap_err();
    let text = error.to_string();
    assert!(text.contains(&nowhere.display().to_string()), "{text}");
    if matches!(error, LibraryError::NotFound { .. }) {
        assert!(text.contains("scripts/setup") && text.contains("--onnxruntime"), "{text}");
        assert!(text.contains("ORT_DYLIB_PATH"), "{text}");
    }
}
