//! The example config is a config: as it stands, and with every commented key switched on.

use framelane_server::config::Config;

const EXAMPLE: &str = include_str!("../../framelane.example.toml");

/// Switches the commented keys on: they are the lines `# key = value`.
fn switched_on() -> String {
    let is_key = |line: &str| {
        let name = line.split(" = ").next().unwrap_or_default();
        line.contains(" = ") && name.chars().all(|c| c.is_ascii_lowercase() || c == '_')
    };
    let line = |line: &str| match line.strip_prefix("# ") {
        Some(rest) if is_key(rest) => format!("{rest}\n"),
        _ => format!("{line}\n"),
    };
    EXAMPLE.lines().map(line).collect()
}

#[test]
fn the_example_is_a_config() {
    let config: Config = toml::from_str(EXAMPLE).expect("the example parses");
    assert_eq!(config.check(), Ok(()));
    assert_eq!(config.streams.len(), 1);
}

#[test]
fn what_is_commented_out_is_the_default() {
    let plain: Config = toml::from_str(EXAMPLE).expect("the example parses");
    let mut all: Config = toml::from_str(&switched_on()).expect("every commented key is a key");
    assert_eq!(all.check(), Ok(()));
    // These have no value by default; the example shows one.
    assert!(all.onnxruntime.take().is_some());
    let stream = all.streams.get_mut("entrance").expect("the example's stream");
    assert!(stream.threshold.take().is_some());
    assert!(stream.model_rate.take().is_some());
    assert!(stream.pin.take().is_some());
    // What it is by default depends on the budget.
    assert!(stream.no_worker.take().is_some());
    let output = &mut stream.output;
    assert!(
        output.width.take().is_some()
            && output.height.take().is_some()
            && output.bitrate_kbps.take().is_some()
    );
    assert_eq!(all, plain);
}

#[test]
fn the_examples_broker_is_one() {
    let (_, broker) = EXAMPLE.split_once("# [[broker]]\n").expect("the example has a broker");
    let keys =
        broker.lines().filter_map(|line| line.strip_prefix("#   ")).filter(|line| line.contains(" = "));
    let text = format!("[[broker]]\n{}\n", keys.collect::<Vec<_>>().join("\n"));
    let config: Config = toml::from_str(&text).expect("its keys are keys");
    assert_eq!(config.check(), Ok(()));
    assert_eq!(config.broker.len(), 1);
    assert_eq!(config.broker[0].credit.get(), 8, "the default");
    assert!(config.broker[0].models.is_some());
    assert!(!format!("{config:?}").contains("PASSWORD"));
}
