//! The floor: a minimal server of the same shape. It does the same work on the network
//! as `recsys`, but checks nothing, builds no model and ranks nothing. Its throughput is
//! the upper bound of what `recsys` can reach on the machine.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use deadpool_redis::redis::{Client, aio::MultiplexedConnection, cmd, pipe};
use futures_util::future::BoxFuture;
use prost::Message;
use qdrant_client::{
    Qdrant,
    qdrant::{
        Condition, Filter, QueryBatchPointsBuilder, QueryPoints, QueryPointsBuilder,
        r#match::MatchValue,
    },
};
use tonic::{
    Code, Request, Response, Status,
    body::Body,
    codegen::http,
    server::{Grpc, NamedService, UnaryService},
    transport::server::TcpIncoming,
};
use tonic_prost::ProstCodec;
use tower::Service;

use super::fill::{COLLECTION, ITEMS, TAGS, VECTOR_SIZE};

/// Connections to Redis, each shared by many calls.
const CONNECTIONS: usize = 4;
/// Events in a buffer, bytes of an event and of a model: as of the users in `fill`.
const EVENTS: isize = 50;
const EVENT_BYTES: usize = 300;
const MODEL_BYTES: usize = 9_000;
const MODEL_SECONDS: u64 = 600;
const ECHO_BYTES: usize = 100;
/// How many items a query finds by taste, by tags (`NEAREST`) and to explore
/// (`FARTHEST`), as in recsys; ids only.
const NEAREST: u64 = 30;
const FARTHEST: u64 = 10;
const SEEN: usize = 50;

#[derive(Clone, PartialEq, Message)]
pub struct FloorRequest {
    #[prost(string, tag = "1")]
    pub user_id: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct FloorReply {
    #[prost(bytes = "bytes", tag = "1")]
    pub body: Bytes,
}

#[derive(Clone, Copy)]
enum FloorMethod {
    /// gRPC alone.
    Echo,
    /// One GET of the user's model, returned unread.
    Get,
    /// An append of an event, a read of the buffer, and a SET.
    Write,
    /// One GET and one batched query of Qdrant.
    Query,
}

#[derive(Clone)]
pub struct Floor(Arc<FloorInner>);

struct FloorInner {
    redis: Vec<MultiplexedConnection>,
    next: AtomicUsize,
    qdrant: Option<Qdrant>,
}

impl NamedService for Floor {
    const NAME: &'static str = "floor.Floor";
}

impl Floor {
    pub async fn new(redis_url: &str, qdrant_url: Option<&str>) -> Self {
        let client = Client::open(redis_url).expect("a URL of Redis");
        let mut redis = Vec::new();
        for _ in 0..CONNECTIONS {
            redis.push(
                client
                    .get_multiplexed_async_connection()
                    .await
                    .expect("Redis"),
            );
        }
        let qdrant = qdrant_url.map(|url| {
            Qdrant::from_url(url)
                .skip_compatibility_check()
                .build()
                .expect("a URL of Qdrant")
        });
        Self(Arc::new(FloorInner {
            redis,
            next: AtomicUsize::new(0),
            qdrant,
        }))
    }

    pub async fn serve(self, listener: std::net::TcpListener) {
        let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        tonic::transport::Server::builder()
            .add_service(self)
            .serve_with_incoming(incoming)
            .await
            .expect("the floor serves");
    }
}

impl Service<http::Request<Body>> for Floor {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let method = match request.uri().path() {
            "/floor.Floor/Echo" => FloorMethod::Echo,
            "/floor.Floor/Get" => FloorMethod::Get,
            "/floor.Floor/Write" => FloorMethod::Write,
            "/floor.Floor/Query" => FloorMethod::Query,
            other => {
                let status = Status::new(Code::Unimplemented, other.to_owned());
                return Box::pin(async move { Ok(status.into_http()) });
            }
        };
        let call = FloorCall(Arc::clone(&self.0), method);
        Box::pin(async move { Ok(Grpc::new(ProstCodec::default()).unary(call, request).await) })
    }
}

struct FloorCall(Arc<FloorInner>, FloorMethod);

impl UnaryService<FloorRequest> for FloorCall {
    type Response = FloorReply;
    type Future = BoxFuture<'static, Result<Response<FloorReply>, Status>>;

    fn call(&mut self, request: Request<FloorRequest>) -> Self::Future {
        let (floor, method) = (Arc::clone(&self.0), self.1);
        let user = request.into_inner().user_id;
        Box::pin(async move {
            let body = match method {
                FloorMethod::Echo => Bytes::from(vec![7; ECHO_BYTES]),
                FloorMethod::Get => floor.model(&user).await?.into(),
                FloorMethod::Write => floor.write(&user).await?,
                FloorMethod::Query => floor.query(&user).await?,
            };
            Ok(Response::new(FloorReply { body }))
        })
    }
}

fn internal(error: impl std::fmt::Display) -> Status {
    Status::internal(error.to_string())
}

impl FloorInner {
    fn connection(&self) -> MultiplexedConnection {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.redis[number % self.redis.len()].clone()
    }

    async fn model(&self, user: &str) -> Result<Vec<u8>, Status> {
        cmd("GET")
            .arg(format!("umodel:{user}"))
            .query_async(&mut self.connection())
            .await
            .map_err(internal)
    }

    async fn write(&self, user: &str) -> Result<Bytes, Status> {
        let key = format!("floor:evt:{user}");
        let number = self.next.load(Ordering::Relaxed);
        let event = format!("{{\"n\":{number},\"pad\":\"{}\"}}", "x".repeat(EVENT_BYTES));
        let mut redis = self.connection();
        let (_, _, buffer): (i64, i64, Vec<Vec<u8>>) = pipe()
            .cmd("ZADD")
            .arg(&key)
            .arg(number as f64)
            .arg(event)
            .cmd("ZREMRANGEBYRANK")
            .arg(&key)
            .arg(0)
            .arg(-EVENTS - 2)
            .cmd("ZRANGE")
            .arg(&key)
            .arg(0)
            .arg(-1)
            .query_async(&mut redis)
            .await
            .map_err(internal)?;
        let () = cmd("SET")
            .arg(format!("floor:umodel:{user}"))
            .arg(vec![b'x'; MODEL_BYTES])
            .arg("EX")
            .arg(MODEL_SECONDS)
            .query_async(&mut redis)
            .await
            .map_err(internal)?;
        Ok(vec![0; buffer.len()].into())
    }

    async fn query(&self, user: &str) -> Result<Bytes, Status> {
        let qdrant = self
            .qdrant
            .as_ref()
            .ok_or_else(|| Status::unavailable("no Qdrant"))?;
        let number = self.model(user).await?.len() + self.next.load(Ordering::Relaxed);
        let near: Vec<f32> = (0..VECTOR_SIZE)
            .map(|place| ((place * 7_919 + number % 16 * 104_729) % 1_000) as f32 / 500.0 - 1.0)
            .collect();
        let far = near.iter().map(|value| -value).collect();
        let tags: Vec<Condition> = vec![Condition::matches(
            "tag_labels",
            MatchValue::from(
                (0..20)
                    .map(|tag| format!("theme:topic {}", (number * 31 + tag * 7) % TAGS))
                    .collect::<Vec<String>>(),
            ),
        )];
        let seen = || {
            let seen = |number: usize| ((number * 97 + number) % ITEMS + 1) as u64;
            Condition::has_id((0..SEEN).map(seen))
        };
        let by_vector = |vector: Vec<f32>, limit: u64| -> QueryPoints {
            QueryPointsBuilder::new(COLLECTION)
                .query(vector)
                .filter(Filter::must_not([seen()]))
                .limit(limit)
                .with_payload(false)
                .with_vectors(false)
                .build()
        };
        let by_tags: QueryPoints = QueryPointsBuilder::new(COLLECTION)
            .filter(Filter {
                must: tags,
                must_not: vec![seen()],
                ..Filter::default()
            })
            .limit(NEAREST)
            .with_payload(false)
            .with_vectors(false)
            .build();
        let queries = vec![by_vector(far, FARTHEST), by_vector(near, NEAREST), by_tags];
        let batch = QueryBatchPointsBuilder::new(COLLECTION, queries);
        let found = qdrant.query_batch(batch).await.map_err(internal)?;
        let found: usize = found.result.iter().map(|batch| batch.result.len()).sum();
        Ok(vec![0; found].into())
    }
}
