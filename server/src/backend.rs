//! What the HTTP API asks of the server.

use std::sync::Arc;

use dispatch::Coordinator;
use dispatch::lane::View;
use models::Zoo;
use web::api;

use crate::stream::Stream;

/// The server behind the routes.
pub(crate) struct Backend {
    coordinator: Coordinator,
    streams: Vec<Arc<Stream>>,
    zoo: Option<Zoo>,
}

impl Backend {
    pub(crate) fn new(coordinator: Coordinator, streams: Vec<Arc<Stream>>, zoo: Option<Zoo>) -> Self {
        Backend { coordinator, streams, zoo }
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
            kind: if view.label.kind == "quic" { api::WorkerKind::Quic } else { api::WorkerKind::Local },
            remote: view.label.remote.map(|remote| remote.to_string()),
            shared_memory: view.label.shared_memory,
            keys: keys.collect(),
            credit: view.credit,
            outstanding: view.outstanding,
            answered: view.answered,
            state: if view.draining { api::WorkerState::Draining } else { api::WorkerState::Ready },
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
        }
    }

    fn watch(&self, id: &str) -> Option<web::Pictures> {
        self.streams.iter().find(|stream| stream.id() == id).map(|stream| stream.watch())
    }

    fn ready(&self) -> Result<(), String> {
        Ok(())
    }
}
