//! A model that is asked about some frames only: the others leave in order, and the ledger says so.

mod support;

use framelane_bench::rig::Server;
use support::assets;

#[tokio::test(flavor = "multi_thread")]
async fn frames_beyond_the_models_rate_are_not_asked_and_all_leave() {
    let folder = tempfile::tempdir().expect("a folder");
    // Without a worker what is asked about is missing at once: so the two can be told apart and nothing is late.
    let stream = |id: &str, rate: &str| {
        format!("[streams.{id}]\nsource = \"test:160x120@25\"\nmodel = \"nanodet-int8\"\n{rate}\n")
    };
    let half = "model_rate = \"12500/1001\"";
    let streams = stream("fifth", "model_rate = 5") + &stream("half", half) + &stream("all", "");
    let (server, api) = Server::start(folder.path(), &streams, &assets(), [""; 0]).await.expect("a server");
    for (id, share) in [("fifth", 0.2), ("half", 0.5 / 1.001), ("all", 1.0)] {
        let enough = |stream: &web::api::Stream| stream.ledger.admitted >= 100;
        let ledger = api.wait_for(id, "a hundred frames", enough).await.expect("frames").ledger;
        assert!(ledger.balances(), "{id}: {ledger:?}");
        let (asked, settled) = (ledger.missing.total(), ledger.not_asked + ledger.missing.total());
        assert_eq!((ledger.missing.no_lane, ledger.answered), (asked, 0), "{id}: {ledger:?}");
        // Frames that the source skipped on a busy machine leave slots without one.
        let expected = settled as f64 * share;
        let slack = 2.0 + (ledger.skipped + ledger.refused) as f64;
        assert!(
            (asked as f64 - expected).abs() <= slack,
            "{id}: {asked} of {settled}, not {expected}: {ledger:?}"
        );
    }
    server.end().await.expect("the server ends");
}
