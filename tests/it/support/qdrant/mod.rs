//! A server of Qdrant's protocol inside of the test process.
//!
//! It knows nothing of the crate under test: it answers the messages of the
//! protocol alone, with exact search, as Qdrant documents and does. What it
//! cannot do it refuses with UNIMPLEMENTED.

mod faults;
mod filter;
mod formula;
mod index;
mod payload;
mod points;
mod query;
mod service;
mod store;
mod strict;
mod vectors;
mod wrong_port;

use std::{
    future::Future,
    net::TcpListener,
    sync::{Arc, Mutex},
    thread::JoinHandle,
    time::Duration,
};

use qdrant_client::qdrant::{
    Distance, FieldType, PayloadSchemaInfo, PointId, StrictModeConfig, VectorParams,
    VectorParamsMap, VectorsConfig, collections_server::CollectionsServer,
    points_server::PointsServer, qdrant_server::QdrantServer as HealthServer, vectors_config,
};
use serde_json::Value as Json;
use tokio::sync::oneshot;
use tonic::{
    Code, Status,
    transport::{Server, server::TcpIncoming},
};

use self::{
    faults::{Fault, Faults},
    service::{Service, State},
    store::{Collection, Id, Point},
    vectors::{NamedVectors, Stored},
};

pub use self::wrong_port::HttpOnly;

/// A server on a free port of the loopback; stopped when dropped.
pub struct QdrantServer {
    state: Arc<State>,
    port: u16,
    running: Mutex<Option<Running>>,
}

/// A thread with a runtime of its own: with it end all connections at once,
/// and no test can starve it.
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

    /// Closes the port and drops all connections; what is stored stays.
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

/// What is stored, written and read without a call.
impl QdrantServer {
    /// With one vector that has no name.
    pub fn create_collection(&self, name: &str, size: u64, distance: Distance) {
        let config = vectors_config::Config::Params(params(size, distance));
        self.create(name, config);
    }

    pub fn create_named_collection(&self, name: &str, vectors: &[(&str, u64, Distance)]) {
        let map = vectors
            .iter()
            .map(|(name, size, distance)| ((*name).to_owned(), params(*size, *distance)))
            .collect();
        let config = vectors_config::Config::ParamsMap(VectorParamsMap { map });
        self.create(name, config);
    }

    fn create(&self, name: &str, config: vectors_config::Config) {
        let config = VectorsConfig {
            config: Some(config),
        };
        let collection = Collection::new(Some(config), None, None).unwrap();
        let mut store = self.state.store();
        let before = store.collections.insert(name.to_owned(), collection);
        assert!(before.is_none(), "the collection {name} exists");
    }

    fn with<T>(&self, collection: &str, work: impl FnOnce(&mut Collection) -> T) -> T {
        work(self.state.store().collection(collection).unwrap())
    }

    pub fn create_index(&self, collection: &str, field: &str, of: FieldType) {
        let index = PayloadSchemaInfo {
            data_type: i32::from(of) + 1,
            ..PayloadSchemaInfo::default()
        };
        self.with(collection, |collection| {
            collection.indexes.insert(field.to_owned(), index);
        });
    }

    /// A point with the vector that has no name, or with none.
    pub fn insert(
        &self,
        collection: &str,
        id: impl Into<PointId>,
        payload: Json,
        vector: Option<Vec<f32>>,
    ) {
        let vector = vector.as_deref().map(|vector| ("", vector));
        self.insert_named(collection, id, payload, vector.as_slice());
    }

    pub fn insert_named(
        &self,
        collection: &str,
        id: impl Into<PointId>,
        payload: Json,
        vectors: &[(&str, &[f32])],
    ) {
        let Json::Object(payload) = payload else {
            panic!("a payload is an object")
        };
        let id = Id::read(Some(id.into())).unwrap();
        self.with(collection, |collection| {
            let vectors: NamedVectors = vectors
                .iter()
                .map(|(name, data)| {
                    let data = collection.checked(name, data.to_vec()).unwrap();
                    ((*name).to_owned(), Stored::Dense(data))
                })
                .collect();
            let point = Point {
                payload,
                vectors,
                version: collection.operations,
            };
            collection.points.insert(id, point);
        });
    }

    pub fn points_count(&self, collection: &str) -> usize {
        self.with(collection, |collection| collection.points.len())
    }

    /// The payload of a point, if there is the point.
    pub fn payload(&self, collection: &str, id: impl Into<PointId>) -> Option<Json> {
        let id = Id::read(Some(id.into())).unwrap();
        self.with(collection, |collection| {
            let point = collection.points.get(&id)?;
            Some(Json::Object(point.payload.clone()))
        })
    }

    pub fn drop_collection(&self, name: &str) {
        let gone = self.state.store().collections.remove(name);
        assert!(gone.is_some(), "there is no collection {name}");
    }

    /// Under another name it is missing, until it has its own back.
    pub fn rename_collection(&self, from: &str, to: &str) {
        let mut store = self.state.store();
        let moved = store.collections.remove(from).expect("a collection");
        store.collections.insert(to.to_owned(), moved);
    }

    pub fn drop_index(&self, collection: &str, field: &str) {
        let gone = self.with(collection, |collection| collection.indexes.remove(field));
        assert!(gone.is_some(), "there is no index of {field}");
    }
}

fn params(size: u64, distance: Distance) -> VectorParams {
    VectorParams {
        size,
        distance: distance.into(),
        ..VectorParams::default()
    }
}

/// What goes wrong, from now on and until it is healed.
impl QdrantServer {
    fn faults(&self, work: impl FnOnce(&mut Faults)) {
        work(&mut self.state.faults());
    }

    /// Ends the faults of calls and their delay; an API key stays wanted, and
    /// strict mode stays on.
    pub fn heal(&self) {
        self.faults(|faults| {
            let api_key = faults.api_key.take();
            *faults = Faults {
                api_key,
                ..Faults::default()
            };
        });
    }

    /// Every call waits so long before anything else.
    pub fn delay(&self, delay: Duration) {
        self.faults(|faults| faults.delay = delay);
    }

    pub fn fail(&self, code: Code, message: &str) {
        let fault = Fault::Status(Status::new(code, message));
        self.faults(|faults| faults.always = Some(fault));
    }

    /// Fails so many calls, and no more.
    pub fn fail_next(&self, calls: usize, code: Code, message: &str) {
        let fault = Fault::Status(Status::new(code, message));
        self.faults(|faults| faults.next.extend(vec![fault; calls]));
    }

    /// Fails the calls of one RPC, such as "QueryBatch".
    pub fn fail_rpc(&self, rpc: &str, code: Code, message: &str) {
        let fault = Fault::Status(Status::new(code, message));
        self.faults(|faults| {
            faults.of_rpc.insert(rpc.to_owned(), fault);
        });
    }

    /// No call is ever answered.
    pub fn hang(&self) {
        self.faults(|faults| faults.always = Some(Fault::Hang));
    }

    /// Every call is answered with a message that has nothing in it.
    pub fn answer_empty(&self) {
        self.faults(|faults| faults.always = Some(Fault::Empty));
    }

    /// Once the next call of an RPC is answered, another program makes a
    /// collection anew, for vectors of this size.
    pub fn make_anew_after(&self, rpc: &str, collection: &str, size: u64) {
        let anew = Some((rpc.to_owned(), collection.to_owned(), size));
        self.faults(|faults| faults.anew = anew);
    }

    /// Answers vectors in the field that servers before 1.16 use.
    pub fn answer_plain_vectors(&self) {
        self.state.store().plain_vectors = true;
    }

    /// Says that it is of this version.
    pub fn answer_version(&self, version: &str) {
        self.state.store().version = Some(version.to_owned());
    }

    pub fn require_api_key(&self, key: &str) {
        self.faults(|faults| faults.api_key = Some(key.to_owned()));
    }

    pub fn strict(&self, collection: &str, config: StrictModeConfig) {
        strict::supported(&config).unwrap();
        self.with(collection, |collection| collection.strict = Some(config));
    }
}

/// What was called since the start, or since the last reset.
impl QdrantServer {
    /// By the RPC's name; those of collections are called "GetCollection",
    /// "CreateCollection", and so on, since points have a "Get" too.
    pub fn calls(&self, rpc: &str) -> usize {
        self.state.calls().count(rpc)
    }

    pub fn all_calls(&self) -> usize {
        self.state.calls().total()
    }

    pub fn reset_calls(&self) {
        *self.state.calls() = faults::Calls::default();
    }

    /// The requests of an RPC, oldest first; `Q` is its message.
    pub fn requests<Q: Clone + 'static>(&self, rpc: &str) -> Vec<Q> {
        self.state.calls().requests(rpc)
    }
}
