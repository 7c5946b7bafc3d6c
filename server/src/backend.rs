//! What the HTTP API asks of the server.

use std::sync::Arc;

use dispatch::Coordinator;
use dispatch::lane::View;
use models::Zoo;
use web::api;
use wire::server::Listener;

use crate::stream::Stream;

/// The server behind the routes.
pub(crate) struct Backend {
    coordinator: Coordinator,
    streams: Vec<Arc<Stream>>,
    zoo: Option<Zoo>,
    listener: Arc<Listener>,
}

impl Backend {
    pub(crate) fn new(
        coordinator: Coordinator,
        streams: Vec<Arc<Stream>>,
        zoo: Option<Zoo>,
        listener: Arc<Listener>,
    ) -> Self {
        Backend { coordinator, streams, zoo, listener }
    }

    fn refusals(&self) -> Vec<api::Refusal> {
        let refusals = self.listener.refusals();
        let told = refusals.iter().map(|(reason, connections)| {
            let reason = reason.name().to_owned();
            api::Refusal { reason, connections }
        });
        told.collect()
    }

    fn worker(&self, view: View) -> api::Worker {
        let keys = view.keys.iter().map(|lane_key| api::WorkerKey {
            task: lane_key.key.task.to_string(),
            model: lane_key.key.model.map(|hash| {
                match self.zoo.as_ref().and_then(|zoo| zoo.by_hash(&hash.0)) {
                    Some(model) => model.manifest.name.clone(),
                    None => hash.to_string(),
                }
            }),
            warm: lane_key.warm,
        });
        api::Worker {
            id: view.worker.to_string(),
            name: view.label.name,
            kind: match view.label.kind {
                "quic" => api::WorkerKind::Quic,
                "redis" => api::WorkerKind::Redis,
                "amqp" => api::WorkerKind::Amqp,
                _ => api::WorkerKind::Local,
            },
            remote: view.label.remote.map(|remote| remote.to_string()),
            shared_memory: view.label.shared_memory,
            keys: keys.collect(),
            credit: view.credit,
            outstanding: view.outstanding,
            answered: view.answered,
            overlong: view.overlong,
            state: match (view.draining, view.suspected) {
                (true, _) => api::WorkerState::Draining,
                (false, true) => api::WorkerState::Suspected,
                (false, false) => api::WorkerState::Ready,
            },
        }
    }
}

impl web::Backend for Backend {
    async fn snapshot(&self) -> api::Snapshot {
        let flows = self.streams.iter().map(|stream| stream.flow()).collect();
        // A queue that has stopped shows the streams with their closing books and no workers.
        let seen = self.coordinator.snapshot(flows).await.ok();
        let (books, lanes) = seen.map_or((Vec::new(), Vec::new()), |seen| (seen.books, seen.lanes));
        let books = books.into_iter().chain(std::iter::repeat(None));
        let streams = self.streams.iter().zip(books).map(|(stream, books)| stream.view(books.as_ref()));
        api::Snapshot {
            streams: streams.collect(),
            workers: lanes.into_iter().map(|lane| self.worker(lane)).collect(),
            refusals: self.refusals(),
        }
    }

    async fn queues(&self) -> serde_json::Value {
        let dump = self.coordinator.dump().await.ok();
        let mut queues = serde_json::to_value(dump).unwrap_or_default();
        let flows = queues.get_mut("flows").and_then(|flows| flows.as_array_mut());
        for flow in flows.into_iter().flatten() {
            let stream = self.streams.iter().find(|stream| flow["flow"] == stream.flow().get());
            flow["stream"] = stream.map(|stream| stream.id()).into();
        }
        queues
    }

    fn watch(&self, id: &str) -> Option<web::Pictures> {
        self.streams.iter().find(|stream| stream.id() == id).map(|stream| stream.watch())
    }

    fn ready(&self) -> Result<(), String> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use web::Backend as _;
    use wire::identity::{Authority, EnrolError, Identity, TokenOptions};
    use wire::node::{self, Hello};

    use super::*;

    async fn counted(backend: &Backend) -> Vec<(String, u64)> {
        let refusals = backend.snapshot().await.refusals.into_iter();
        let some = refusals.filter(|refusal| refusal.connections > 0);
        some.map(|refusal| (refusal.reason, refusal.connections)).collect()
    }

    #[tokio::test]
    async fn who_is_refused_is_counted_by_reason() {
        let state = tempfile::tempdir().unwrap();
        let authority = Authority::load_or_create(state.path()).unwrap();
        let any = "127.0.0.1:0".parse().unwrap();
        let listener = Listener::bind(any, authority.clone(), wire::server::Config::default()).unwrap();
        let address = listener.local_addr().to_string();
        let (coordinator, driver) = dispatch::new(queue::Config::default());
        let driver = tokio::spawn(driver);
        let backend = Backend::new(coordinator, Vec::new(), None, Arc::new(listener));
        let reasons = backend.snapshot().await.refusals;
        assert_eq!(reasons.len(), wire::server::Refusal::ALL.len(), "those that never occurred too");
        assert_eq!(counted(&backend).await, []);

        let options = TokenOptions { expires_in: Duration::ZERO, ..TokenOptions::default() };
        let late = Identity::enrol(&address, &authority.token(options).unwrap(), "late").await;
        assert!(matches!(late, Err(EnrolError::ExpiredToken)), "{late:?}");
        let token = authority.token(TokenOptions::default()).unwrap();
        let identity = Identity::enrol(&address, &token, "w").await.unwrap();
        authority.revoke(identity.worker()).unwrap().unwrap();
        for _ in 0..2 {
            let hello = Hello { name: "w".into(), keys: vec![], credit: 1, capabilities: vec![] };
            let refused = node::connect(&address, &identity, hello, node::Config::default()).await;
            assert!(matches!(refused, Err(node::ConnectError::Revoked(_))), "{refused:?}");
        }
        // A reply may arrive before its refusal is counted.
        let both = async {
            while counted(&backend).await.len() < 2 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), both).await.expect("counted in time");
        let expected = [("revoked".to_owned(), 2), ("expired_token".to_owned(), 1)];
        assert_eq!(counted(&backend).await, expected);
        drop(backend);
        driver.await.unwrap();
    }
}
