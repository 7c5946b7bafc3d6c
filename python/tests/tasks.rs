//! Tasks in Python, asked by Rust: what arrives, what comes back, what fails and how.

// It is test code throughout, which clippy cannot see.
#![allow(clippy::unwrap_used)]
#![cfg(unix)]

mod support;

use std::collections::BTreeMap;
use std::process::Command;

use bytes::Bytes;
use queue::{Policy, Reason, Verdict};
use serde::{Deserialize, Serialize};
use support::{Site, attempts, file};
use wire::{Array, Cbor, DType, Payload, PayloadError};

task!(WordCount, "wordcount", Cbor<String>, Cbor<BTreeMap<String, u64>>);

#[tokio::test(flavor = "multi_thread")]
async fn word_count_in_two_processes_is_complete_and_in_order() {
    let site = Site::new().await;
    let _worker = site.worker("words", "tasks.py", &["2"], 2).await;
    let words = ["the", "quick", "brown", "fox", "jumps", "over", "the", "lazy", "dog"];
    let lines: Vec<String> = (0..2000).map(|n| format!("{} line-{n}", words[n % words.len()])).collect();

    let flow = site.open::<WordCount>(Policy::lossless()).await;
    let (mut inlet, mut outlet) = (flow.inlet, flow.outlet);
    let sending = lines.clone();
    tokio::spawn(async move {
        for line in sending {
            assert!(inlet.send(dispatch::Admission::now(line.into_cbor())).await.is_ok());
        }
    });
    let mut sum = BTreeMap::<String, u64>::new();
    for (number, line) in lines.iter().enumerate() {
        let done = tokio::time::timeout(support::WITHIN, outlet.next()).await.unwrap().unwrap();
        assert_eq!((done.seq.0, &done.item.0), (number as u64, line));
        for (word, count) in done.answer.unwrap().0 {
            *sum.entry(word).or_default() += count;
        }
    }
    assert!(outlet.next().await.is_none());
    outlet.closing_books().unwrap().balances().unwrap();
    assert_eq!(sum.len(), 8 + lines.len());
    assert_eq!(sum["the"], lines.iter().filter(|line| line.starts_with("the ")).count() as u64);
    let lanes = site.lanes().await;
    assert!(lanes.iter().all(|lane| lane.answered > 0), "both processes have worked: {lanes:?}");
    let names: Vec<_> = lanes.iter().map(|lane| lane.label.name.as_str()).collect();
    assert_ne!(names[0], names[1], "they can be told from each other");
    assert_eq!(lanes[0].worker, lanes[1].worker, "and are one worker");
}

trait IntoCbor: Sized {
    fn into_cbor(self) -> Cbor<Self> {
        Cbor(self)
    }
}
impl IntoCbor for String {}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Everything {
    text: String,
    numbers: Vec<i64>,
    big: u64,
    bigger: i128,
    half: f64,
    truth: bool,
    nothing: Option<u8>,
    bytes: Bytes,
    nested: BTreeMap<String, Vec<(u8, String)>>,
}

/// A payload that is neither plain nor an array.
#[derive(Debug, Clone, PartialEq)]
struct Picture(String, Bytes);

impl Payload for Picture {
    type Head = String;
    fn split(self) -> (String, Bytes) {
        (self.0, self.1)
    }
    fn join(head: String, body: Bytes) -> Result<Self, PayloadError> {
        Ok(Picture(head, body))
    }
}

task!(EchoPlain, "echo", Cbor<Everything>, Cbor<Everything>);
task!(EchoArray, "echo", Array, Array);
task!(EchoRaw, "echo", Bytes, Bytes);
task!(EchoBeside, "echo", Picture, Picture);
task!(KindPlain, "kind", Cbor<()>, Cbor<String>);
task!(KindRaw, "kind", Bytes, Cbor<String>);
task!(KindBeside, "kind", Picture, Cbor<String>);
task!(Repr, "repr", Cbor<Everything>, Cbor<String>);

#[derive(Debug, PartialEq, Deserialize, Serialize)]
struct Numbers {
    float: f32,
    int: i64,
    truth: bool,
    tuple: (u8, Bytes),
}
task!(NumbersOfNumpy, "numbers", Cbor<()>, Cbor<Numbers>);
task!(BigEndian, "big-endian", Cbor<()>, Array);

#[tokio::test(flavor = "multi_thread")]
async fn values_come_back_as_they_went() {
    let site = Site::new().await;
    let _worker = site.worker("values", "tasks.py", &["1"], 1).await;
    let all = Everything {
        text: "größer ≥ 1\n".into(),
        numbers: vec![0, -1, i64::MIN, i64::MAX],
        big: u64::MAX,
        bigger: i128::MIN / 4,
        half: 0.1,
        truth: true,
        nothing: None,
        bytes: Bytes::from_static(b"\x00\xff"),
        nested: BTreeMap::from([("a".into(), vec![(1, "b".into())])]),
    };
    assert_eq!(site.ask::<EchoPlain>(Cbor(all.clone())).await.0, all);
    let told = site.ask::<Repr>(Cbor(all)).await.0;
    let start = "{'text': 'größer ≥ 1\\n', 'numbers': [0, -1, -9223372036854775808, 9223372036854775807], ";
    assert!(told.starts_with(start), "{told}");
    assert!(told.ends_with("'bytes': b'\\x00\\xff', 'nested': {'a': [[1, 'b']]}}"), "{told}");

    let raw = Bytes::from(vec![7; 100_000]);
    assert_eq!(site.ask::<EchoRaw>(raw.clone()).await, raw);
    let beside = Picture("what it is".into(), raw);
    assert_eq!(site.ask::<EchoBeside>(beside.clone()).await, beside);
    assert_eq!(site.ask::<KindPlain>(Cbor(())).await.0, "NoneType");
    assert_eq!(site.ask::<KindRaw>(Bytes::from_static(b"x")).await.0, "memoryview");
    assert_eq!(site.ask::<KindBeside>(beside).await.0, "Beside");

    for dtype in DType::ALL {
        let body: Bytes = (0..6 * dtype.size()).map(|n| u8::try_from(n % 2).unwrap()).collect();
        for shape in [&[2, 3][..], &[6], &[1, 6, 1]] {
            let array = Array::new(dtype, shape, body.clone()).unwrap();
            assert_eq!(site.ask::<EchoArray>(array.clone()).await, array);
        }
    }
    let single = Array::of(&[], &[2.5f64]).unwrap();
    assert_eq!(site.ask::<EchoArray>(single.clone()).await, single);
    let empty = Array::of::<f32>(&[3, 0], &[]).unwrap();
    assert_eq!(site.ask::<EchoArray>(empty.clone()).await, empty);

    let numbers = site.ask::<NumbersOfNumpy>(Cbor(())).await.0;
    assert_eq!(numbers, Numbers { float: 0.5, int: -3, truth: true, tuple: (1, Bytes::from_static(b"two")) });
    let turned = site.ask::<BigEndian>(Cbor(())).await;
    assert_eq!((turned.shape(), turned.to_vec::<u32>().unwrap()), (&[2, 2][..], vec![0, 2, 3, 5]));
}

#[derive(Debug, PartialEq, Deserialize, Serialize)]
struct Look {
    #[serde(rename = "type")]
    kind: String,
    dtype: String,
    shape: Vec<usize>,
    owns: bool,
    writeable: bool,
    base: String,
    same_address: bool,
    first: u8,
    sum: u64,
}
task!(LookAt, "look", Array, Cbor<Look>);
task!(Invert, "invert", Array, Array);

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_reaches_numpy_without_a_copy() {
    let site = Site::new().await;
    let _worker = site.worker("pictures", "tasks.py", &["1"], 1).await;
    let sharing = site.lanes().await[0].label.shared_memory;
    assert_eq!(sharing, cfg!(target_os = "linux"), "frames come through memory where they can");
    // One that comes over QUIC, and one that comes through memory.
    for (height, width) in [(4, 5), (640, 640)] {
        let pixels: Vec<u8> = (0..height * width * 3).map(|n| (n % 251 + 3) as u8).collect();
        let picture = Array::of(&[height, width, 3], &pixels).unwrap();
        let seen = site.ask::<LookAt>(picture.clone()).await.0;
        let expected = Look {
            kind: "ndarray".into(),
            dtype: "uint8".into(),
            shape: vec![height, width, 3],
            owns: false,
            writeable: false,
            base: "Body".into(),
            same_address: true,
            first: 3,
            sum: pixels.iter().map(|&pixel| u64::from(pixel)).sum(),
        };
        assert_eq!(seen, expected);

        let inverted = site.ask::<Invert>(picture).await;
        assert_eq!(inverted.shape(), [width, height, 3]);
        let inverted = inverted.to_vec::<u8>().unwrap();
        // Row 1, column 2 of the picture is row 2, column 1 of its mirror image.
        assert_eq!(inverted[(2 * height + 1) * 3], 255 - pixels[(width + 2) * 3]);
    }
}

task!(Infer, "infer", Array, Array);

#[tokio::test(flavor = "multi_thread")]
async fn a_model_runs_in_onnxruntime() {
    let site = Site::new().await;
    let model = site.folder.path().join("line.onnx");
    let tools = file("../../assets/.venv/bin/python");
    let made = Command::new(tools).arg(file("workers/make_model.py")).arg(&model).status().unwrap();
    assert!(made.success());
    let _worker = site.worker("model", "onnx_task.py", &[model.to_str().unwrap()], 1).await;
    let answer = site.ask::<Infer>(Array::of(&[4], &[1.0f32, -2.0, 0.25, -0.5]).unwrap()).await;
    assert_eq!(answer.to_vec::<f32>().unwrap(), [3.0, 0.0, 1.5, 0.0]);
}

task!(Fails, "fails", Cbor<String>, Cbor<()>);
task!(BadJob, "bad", Cbor<String>, Cbor<()>);
task!(Calls, "calls", Cbor<()>, Cbor<u32>);
task!(Quit, "quit", Cbor<()>, Cbor<()>);

#[tokio::test(flavor = "multi_thread")]
async fn an_exception_is_a_failure_that_is_tried_again_and_bad_is_not() {
    let site = Site::new().await;
    let worker = site.worker("failing", "tasks.py", &["1"], 1).await;
    let mut fails = site.open::<Fails>(attempts(3)).await;
    fails.send(Cbor("this".into())).await;
    assert_eq!(fails.next().await.verdict, Verdict::Missing(Reason::Failed));
    assert_eq!(site.ask::<Calls>(Cbor(())).await.0, 3, "one call for each attempt");
    let mut bad = site.open::<BadJob>(attempts(3)).await;
    bad.send(Cbor("that".into())).await;
    assert_eq!(bad.next().await.verdict, Verdict::Missing(Reason::Failed));
    assert_eq!(site.ask::<Calls>(Cbor(())).await.0, 4, "a bad job is not tried again");

    let log = worker.log();
    for part in ["task fails failed", "Traceback", "in fails", "ValueError: no luck with this"] {
        assert!(log.contains(part), "{part} is not in the log:\n{log}");
    }
    assert!(log.contains("task bad: bad job: nobody can do that"), "{log}");
    assert_eq!(
        log.matches("Traceback").count(),
        1,
        "a task that fails all the time does not fill the log:\n{log}"
    );

    let mut quit = site.open::<Quit>(attempts(1)).await;
    quit.send(Cbor(())).await;
    assert_eq!(quit.next().await.verdict, Verdict::Missing(Reason::Failed));
    assert_eq!(
        site.ask::<KindPlain>(Cbor(())).await.0,
        "NoneType",
        "sys.exit in a task ends nothing but its job"
    );
}

task!(Other, "fails", Cbor<String>, Cbor<String>);

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_in_one_worker_is_done_by_another() {
    let site = Site::new().await;
    let failing = site.worker("failing", "tasks.py", &["1"], 1).await;
    let _good = site.worker("good", "good.py", &[], 1).await;
    let mut flow = site.open::<Other>(Policy::lossless()).await;
    for number in 0..40 {
        flow.send(Cbor(number.to_string())).await;
    }
    for number in 0..40 {
        assert_eq!(flow.next().await.answer.unwrap().0, format!("done {number}"));
    }
    assert!(failing.log().contains("no luck with"), "the failing one had its turns");
}

task!(Wrong, "wrong", Cbor<String>, Cbor<()>);

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_type_is_a_failure_that_says_which() {
    let site = Site::new().await;
    let worker = site.worker("wrong", "tasks.py", &["1", "loud"], 1).await;
    for (which, said) in [
        ("set", "a value of type set cannot travel"),
        ("object", "a value of type Odd cannot travel"),
        ("nested", "a numpy array travels alone"),
        ("names", "an array of str"),
        ("key", "a value of type Odd cannot travel"),
        ("huge", "an int has at most 127 bits here"),
        ("long", "a plain value has at most 65536 bytes"),
        ("endless", "lists and dicts lie more than 100 deep in each other"),
    ] {
        let mut flow = site.open::<Wrong>(attempts(1)).await;
        flow.send(Cbor(which.into())).await;
        assert_eq!(flow.next().await.verdict, Verdict::Missing(Reason::Failed), "{which}");
        let log = worker.log();
        assert!(log.contains(said), "{which}: {said} is not in the log:\n{log}");
    }
    assert_eq!(site.ask::<KindPlain>(Cbor(())).await.0, "NoneType", "it goes on");
}

task!(Many, "many", Cbor<u64>, Cbor<u64>);
task!(Sizes, "sizes", Cbor<()>, Cbor<Vec<usize>>);

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_comes_as_a_list_and_each_job_has_its_own_answer() {
    let site = Site::new().await;
    let worker = site.worker("batches", "tasks.py", &["1", "loud"], 1).await;
    let mut flow = site.open::<Many>(Policy::lossless()).await;
    for number in 0..200 {
        flow.send(Cbor(number)).await;
    }
    for number in 0..200 {
        let done = flow.next().await;
        match number % 2 {
            0 => assert_eq!(done.answer.unwrap().0, number * 10),
            _ => assert_eq!(done.verdict, Verdict::Missing(Reason::Failed)),
        }
    }
    let sizes = site.ask::<Sizes>(Cbor(())).await.0;
    assert_eq!(sizes.iter().sum::<usize>(), 200);
    assert!(sizes.iter().all(|&size| size <= 8) && sizes.iter().any(|&size| size > 1), "{sizes:?}");
    for (wrong, said) in [(1000, "where a list of 1 answers was due"), (1001, "0 answers to 1 jobs")] {
        let mut flow = site.open::<Many>(attempts(1)).await;
        flow.send(Cbor(wrong)).await;
        assert_eq!(flow.next().await.verdict, Verdict::Missing(Reason::Failed));
        assert!(worker.log().contains(said), "{}", worker.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ten_lines_of_the_guide_work() {
    let guide = std::fs::read_to_string(file("../../docs/python.md")).unwrap();
    let program = guide.split("```python\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    assert!(program.lines().filter(|line| !line.is_empty()).count() <= 10, "ten lines:\n{program}");
    let site = Site::new().await;
    let there = program.replace("127.0.0.1:4433", &site.addr).replace("fl1_…", &site.token());
    assert!(there.contains(&site.addr) && !there.contains('…'), "{there}");
    let path = site.folder.path().join("guide.py");
    std::fs::write(&path, there).unwrap();
    let mut worker = site.python("guide", &[path.to_str().unwrap()]);
    site.joined(&mut worker, 2).await;
    let counts = site.ask::<WordCount>(Cbor("to be or not to be".into())).await.0;
    assert_eq!(counts["to"], 2);
    assert_eq!(counts.len(), 4);
    worker.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(worker.ended().await.code(), Some(0), "{}", worker.log());
}
