//! ONNX Runtime's library is found once for the process. A test file of its own, for that reason.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![cfg(feature = "onnx")]

mod common;

use common::asset;
use framelane_models::engine::onnx::{LibraryError, Runtime};

#[test]
fn failures_leave_the_way_free_and_a_second_load_gives_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("missing.so");
    let error = Runtime::load(Some(&missing)).unwrap_err();
    assert!(matches!(&error, LibraryError::NotFound { tried } if tried.len() == 1), "{error}");
    assert!(error.to_string().contains("Run scripts/setup, or pass its path with --onnxruntime"), "{error}");

    let text = dir.path().join("text.so");
    std::fs::write(&text, "no library").unwrap();
    let error = Runtime::load(Some(&text)).unwrap_err();
    assert!(matches!(error, LibraryError::Load { .. }), "{error}");
    assert!(error.to_string().contains("text.so"), "{error}");

    let name = format!("{}onnxruntime{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    let library = asset("onnxruntime").join(name);
    let runtime = Runtime::load(Some(&library)).unwrap();
    assert!(runtime.library().is_absolute());
    assert_eq!(Runtime::load(Some(&library)).unwrap().library(), runtime.library());
    let error = Runtime::load(Some(&text)).unwrap_err();
    assert!(matches!(error, LibraryError::Another { .. }), "{error}");
}
