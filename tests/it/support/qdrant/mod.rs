//! A stand-in for Qdrant: a server of its gRPC protocol inside the test process, with
//! exact search and injected faults.
//!
//! It knows nothing of the crate under test. It supports only what the adapter calls,
//! and refuses everything else with UNIMPLEMENTED. The contract suite of the item store
//! runs over it, and over a real Qdrant (`QDRANT_TEST_URL`).

mod faults;
mod filter;
mod http_only;
mod payload;
mod places;
mod points;
mod query;
mod service;
mod store;
mod update;
mod vectors;

use std::{
    future::Future,
    net::TcpListener,
    sync::{Arc, Mutex},
    thread::JoinHandle,
    time::Duration,
};

use qdrant_client::{
    Payload,
    qdrant::{
        DenseVector, Distance, FieldType, PointId, StrictModeConfig, VectorParams, VectorParamsMap,
        VectorsConfig, collections_server::CollectionsServer, points_server::PointsServer,
        qdrant_server::QdrantServer as HealthServer, vector, vectors_config,
    },
};
use serde_json::Value as Json;
use tokio::sync::oneshot;
use tonic::{
    Code, Status,
    transport::{Server, server::TcpIncoming},
};

use self::{
    faults::{Faults, InjectedFault},
    points::schema,
    service::{Service, State},
    store::{Point, StoredCollection, StoredId},
    vectors::NamedVectors,
};

pub use self::http_only::HttpOnly;

/// A server on a free port of the loopback; stopped when dropped.
pub struct QdrantServer {
    state: Arc<State>,
    port: u16,
    running: Mutex<Option<Running>>,
}

/// A task on a thread with a runtime of its own: a busy test cannot starve it, and all
/// its connections end with it.
struct Running {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    fn new(work: impl Future<Output = ()> + Send + 'static) -> Self {
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            runtime.enable_all().build().unwrap().block_on(async {
                tokio::select! {
                    _ = stopped => {}
                    () = work => {}
                }
            });
        });
        Self {
            stop: Some(stop),
            thread: Some(thread),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn bind(port: u16) -> (TcpListener, u16) {
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

fn serve(listener: TcpListener, service: Service) -> Running {
    Running::new(async move {
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        let points = PointsServer::new(service.clone()).max_decoding_message_size(64 << 20);
        Server::builder()
            .add_service(HealthServer::new(service.clone()))
            .add_service(CollectionsServer::new(service))
            .add_service(points)
            .serve_with_incoming(incoming)
            .await
            .unwrap();
    })
}

/// The server itself.
impl QdrantServer {
    pub async fn start() -> Self {
        let state = Arc::new(State::default());
        let (listener, port) = bind(0);
        let running = serve(listener, Service(state.clone()));
        Self {
            state,
            port,
            running: Mutex::new(Some(running)),
        }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Closes the port and drops all connections; the collections stay.
    pub fn stop(&self) {
        self.running.lock().unwrap().take();
    }

    /// Listens on the same port again.
    pub fn restart(&self) {
        self.stop();
        let (listener, _) = bind(self.port);
        let running = serve(listener, Service(self.state.clone()));
        *self.running.lock().unwrap() = Some(running);
    }
}

/// Collections, read and written without a call.
impl QdrantServer {
    /// With one unnamed vector.
    pub fn create_collection(&self, name: &str, size: u64, distance: Distance) {
        self.create(name, vectors_config::Config::Params(params(size, distance)));
    }

    pub fn create_named_collection(&self, name: &str, vectors: &[(&str, u64, Distance)]) {
        let vectors = vectors.iter();
        let map =
            vectors.map(|(name, size, distance)| ((*name).to_owned(), params(*size, *distance)));
        let map = VectorParamsMap { map: map.collect() };
        self.create(name, vectors_config::Config::ParamsMap(map));
    }

    fn create(&self, name: &str, config: vectors_config::Config) {
        let config = VectorsConfig {
            config: Some(config),
        };
        let collection = StoredCollection::new(config, None).unwrap();
        let mut store = self.state.store();
        let replaced = store.collections.insert(name.to_owned(), collection);
        assert!(replaced.is_none(), "the collection {name} exists");
    }

    fn with<T>(&self, collection: &str, work: impl FnOnce(&mut StoredCollection) -> T) -> T {
        work(self.state.store().collection(collection).unwrap())
    }

    pub fn create_index(&self, collection: &str, field: &str, kind: FieldType) {
        self.with(collection, |collection| {
            collection.indexes.insert(field.to_owned(), schema(kind));
        });
    }

    pub fn drop_index(&self, collection: &str, field: &str) {
        let dropped = self.with(collection, |collection| collection.indexes.remove(field));
        assert!(dropped.is_some(), "there is no index of {field}");
    }

    /// A point with the unnamed vector, or with none.
    pub fn insert(
        &self,
        collection: &str,
        id: impl Into<PointId>,
        payload: Json,
        vector: Option<Vec<f32>>,
    ) {
        let id = StoredId::read(Some(id.into())).unwrap();
        let payload = Payload::try_from(payload).unwrap().into();
        self.with(collection, |collection| {
            let mut vectors = NamedVectors::new();
            if let Some(vector) = vector {
                let data = collection.dense("", vector).unwrap();
                vectors.insert(String::new(), vector::Vector::Dense(DenseVector { data }));
            }
            let point = Point { payload, vectors };
            collection.points.insert_all([(id, point)]);
        });
    }

    pub fn points_count(&self, collection: &str) -> usize {
        self.with(collection, |collection| collection.points.len())
    }

    /// The payload of a point, if the point exists.
    pub fn payload(&self, collection: &str, id: impl Into<PointId>) -> Option<Json> {
        let id = StoredId::read(Some(id.into())).unwrap();
        self.with(collection, |collection| {
            let point = collection.points.get(&id)?;
            Some(Payload::from(point.payload.clone()).into())
        })
    }

    pub fn drop_collection(&self, name: &str) {
        let dropped = self.state.store().collections.remove(name);
        assert!(dropped.is_some(), "there is no collection {name}");
    }

    #[allow(dead_code, reason = "only the soak test uses it")]
    pub fn rename_collection(&self, from: &str, to: &str) {
        let mut store = self.state.store();
        let moved = store.collections.remove(from).expect("a collection");
        store.collections.insert(to.to_owned(), moved);
    }
}

fn params(size: u64, distance: Distance) -> VectorParams {
    VectorParams {
        size,
        distance: distance.into(),
        ..VectorParams::default()
    }
}

/// Faults, which last until they are healed.
impl QdrantServer {
    fn faults(&self, work: impl FnOnce(&mut Faults)) {
        work(&mut self.state.faults());
    }

    /// Ends the faults and the delay of calls. A required API key and strict mode stay.
    pub fn heal(&self) {
        self.faults(|faults| {
            let api_key = faults.api_key.take();
            *faults = Faults {
                api_key,
                ..Faults::default()
            };
        });
    }

    /// Delays every call.
    pub fn delay(&self, delay: Duration) {
        self.faults(|faults| faults.delay = delay);
    }

    /// Fails every call.
    pub fn fail(&self, code: Code, message: &str) {
        let fault = InjectedFault::Status(Status::new(code, message));
        self.faults(|faults| faults.always = Some(fault));
    }

    /// Fails this many calls.
    pub fn fail_next(&self, calls: usize, code: Code, message: &str) {
        let fault = InjectedFault::Status(Status::new(code, message));
        self.faults(|faults| faults.next.extend(vec![fault; calls]));
    }

    /// Fails the calls of one RPC, such as "QueryBatch".
    pub fn fail_rpc(&self, rpc: &str, code: Code, message: &str) {
        let fault = InjectedFault::Status(Status::new(code, message));
        self.faults(|faults| {
            faults.by_rpc.insert(rpc.to_owned(), fault);
        });
    }

    /// Answers no call.
    pub fn hang(&self) {
        self.faults(|faults| faults.always = Some(InjectedFault::Hang));
    }

    /// After the next call of an RPC, replaces a collection by an empty one for vectors
    /// of this size.
    pub fn recreate_after(&self, rpc: &str, collection: &str, size: u64) {
        let recreate = Some((rpc.to_owned(), collection.to_owned(), size));
        self.faults(|faults| faults.recreate = recreate);
    }

    /// Sends vectors in the fields that servers before 1.16 use.
    pub fn answer_plain_vectors(&self) {
        self.state.store().plain_vectors = true;
    }

    /// Reports this version.
    pub fn answer_version(&self, version: &str) {
        self.state.store().version = Some(version.to_owned());
    }

    pub fn require_api_key(&self, key: &str) {
        self.faults(|faults| faults.api_key = Some(key.to_owned()));
    }

    /// Sets strict mode. Only `unindexed_filtering_retrieve` is enforced.
    pub fn strict(&self, collection: &str, config: StrictModeConfig) {
        self.with(collection, |collection| collection.strict = Some(config));
    }
}

/// The calls since the start or the last reset.
impl QdrantServer {
    /// By the name of the RPC, with "Collection" for those of collections:
    /// "GetCollection", since points have a "Get" too.
    pub fn calls(&self, rpc: &str) -> usize {
        self.state.calls().count(rpc)
    }

    pub fn all_calls(&self) -> usize {
        self.state.calls().total()
    }

    pub fn reset_calls(&self) {
        *self.state.calls() = faults::CallLog::default();
    }

    /// The requests of an RPC, oldest first; `Q` is its message.
    pub fn requests<Q: Clone + 'static>(&self, rpc: &str) -> Vec<Q> {
        self.state.calls().requests(rpc)
    }
}
