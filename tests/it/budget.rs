//! The budget of memory: while clients of each kind try to exhaust it, it holds, and the
//! calls of another tenant do not fail.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use bytes::Bytes;
use recsys::proto::{
    BatchIngestEventsRequest, GetItemsRequest, InteractionEvent, Item, RecommendRequest,
    UpsertItemsRequest, catalog_service_client::CatalogServiceClient,
    recommender_service_client::RecommenderServiceClient,
};
use tokio::task::JoinSet;
use tonic::transport::Channel;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_request::MessageRequest,
};

use crate::support::{
    http::{gzip, send},
    raw_http2,
    server::{connect, liked, named},
    tenants::{Tenants, with_headers},
    watched::Watched,
};

const BUDGET: usize = 64 << 20;
/// What the process may use besides the budget: its code, catalogue, caches and what the
/// allocator keeps.
const OTHER_BYTES: usize = 192 << 20;

struct Attack {
    served: Watched,
    webhook: std::net::SocketAddr,
    /// A key of the tenant that attacks.
    key: String,
}

impl Attack {
    fn address(&self) -> std::net::SocketAddr {
        self.served.served.address.parse().unwrap()
    }

    /// Sends a request on as many connections at once. Its result does not matter.
    async fn at_once<F>(&self, connections: usize, call: impl Fn(Channel, String) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut calls = JoinSet::new();
        for _ in 0..connections {
            let channel = connect(self.address()).await;
            calls.spawn(call(channel, self.key.clone()));
        }
        calls.join_all().await;
    }

    async fn tiny_events(&self) {
        self.at_once(6, async |channel, key| {
            let events = vec![InteractionEvent::default(); 2 << 20];
            let request = with_headers(&[("x-api-key", &key)], BatchIngestEventsRequest { events });
            let mut client = RecommenderServiceClient::new(channel);
            let status = client.batch_ingest_events(request).await;
            assert!(status.is_err());
        })
        .await;
    }

    async fn wide_events(&self) {
        self.at_once(6, async |channel, key| {
            let event = InteractionEvent {
                impressions: vec![String::new(); 1 << 20],
                ..liked("u", "2001")
            };
            let events = vec![event];
            let request = with_headers(&[("x-api-key", &key)], BatchIngestEventsRequest { events });
            let mut client = RecommenderServiceClient::new(channel);
            let _ = client.batch_ingest_events(request).await;
        })
        .await;
    }

    async fn tiny_items(&self) {
        self.at_once(3, async |channel, key| {
            let items = vec![Item::default(); 8 << 20];
            let request = with_headers(&[("x-api-key", &key)], UpsertItemsRequest { items });
            let mut client = CatalogServiceClient::new(channel);
            assert!(client.upsert_items(request).await.is_err());
        })
        .await;
    }

    async fn tiny_ids(&self) {
        self.at_once(6, async |channel, key| {
            let content_ids = vec![String::new(); 1 << 20];
            let request = with_headers(&[("x-api-key", &key)], GetItemsRequest { content_ids });
            let mut client = CatalogServiceClient::new(channel);
            assert!(client.get_items(request).await.is_err());
        })
        .await;
    }

    async fn large_replies(&self) {
        let ids: Vec<String> = (0..50).map(|index| format!("large{index}")).collect();
        for id in &ids {
            let items = vec![Item {
                content_id: id.clone(),
                text: "x".repeat(250 << 10),
                ..Item::default()
            }];
            let request = with_headers(&[("x-api-key", &self.key)], UpsertItemsRequest { items });
            let mut client = CatalogServiceClient::new(connect(self.address()).await);
            client.upsert_items(request).await.unwrap();
        }
        self.at_once(12, |channel, key| {
            let content_ids = ids.clone();
            async move {
                let request = with_headers(&[("x-api-key", &key)], GetItemsRequest { content_ids });
                let client = CatalogServiceClient::new(channel);
                let _ = client
                    .max_decoding_message_size(usize::MAX)
                    .get_items(request)
                    .await;
            }
        })
        .await;
    }

    async fn compressed_deliveries(&self) {
        let wide = format!("{{\"messageId\":\"1\",\"a\":[{}0]}}", "[],".repeat(19_000));
        let body = gzip(format!("[{}{wide}]", format!("{wide},").repeat(60)).as_bytes());
        let headers = [
            ("content-type", "application/json"),
            ("content-encoding", "gzip"),
            ("x-api-key", self.key.as_str()),
        ];
        let path = "/v1/webhooks/rudderstack";
        let send = || send(self.webhook, "POST", path, &headers, &body);
        tokio::join!(send(), send(), send(), send());
    }

    /// Replies of reflection that are never read.
    async fn unread_reflection(&self) {
        let symbol = "recsys.v1.RecommenderService".to_owned();
        let request = raw_http2::frame(&ServerReflectionRequest {
            host: String::new(),
            message_request: Some(MessageRequest::FileContainingSymbol(symbol)),
        });
        let requests = Bytes::from(request.repeat(10));
        let path = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
        let mut held = Vec::new();
        for _ in 0..20 {
            let (mut client, ended) = raw_http2::connect(self.address(), 0).await;
            for _ in 0..50 {
                let Ok(ready) = client.clone().ready().await else {
                    break;
                };
                client = ready;
                let (reply, mut body) = raw_http2::start_at(&mut client, path);
                let _ = body.send_data(requests.clone(), false);
                held.push((reply, body));
            }
            held.truncate(2_000);
            drop(ended);
        }
        self.assert_bounded("unread reflection");
    }

    async fn watches(&self) {
        let mut held = Vec::new();
        for _ in 0..100 {
            let mut health = HealthClient::new(connect(self.address()).await);
            let request = HealthCheckRequest {
                service: String::new(),
            };
            if let Ok(watch) = health.watch(request).await {
                held.push((health, watch));
            }
        }
        self.assert_bounded("watches");
    }

    fn assert_bounded(&self, attack: &str) {
        let held = self.served.value("recsys_buffered_bytes", &[]);
        assert!(held <= 1.25 * BUDGET as f64, "{attack}: {held} bytes held");
        let resident = resident_bytes(self.served.served.child.id());
        let most = BUDGET + OTHER_BYTES;
        assert!(resident <= most, "{attack}: {resident} bytes resident");
    }
}

fn resident_bytes(process: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.unwrap().split_whitespace().nth(1).unwrap();
    kib.parse::<usize>().unwrap() << 10
}

/// Calls of a tenant that does no harm, until `stop`. Returns how many there were.
async fn calls(
    address: std::net::SocketAddr,
    key: String,
    stop: Arc<AtomicBool>,
    done: Arc<AtomicUsize>,
) {
    let mut client = RecommenderServiceClient::new(connect(address).await);
    while !stop.load(Ordering::SeqCst) {
        let number = done.fetch_add(1, Ordering::SeqCst);
        let events = (0..100).map(|index| named(&format!("{number}-{index}"), liked("u", "2001")));
        let events = events.collect();
        let request = with_headers(&[("x-api-key", &key)], BatchIngestEventsRequest { events });
        client.batch_ingest_events(request).await.unwrap();
        let request = RecommendRequest {
            user_id: "u".into(),
            include_content: true,
            ..Default::default()
        };
        let request = with_headers(&[("x-api-key", &key)], request);
        client.recommend(request).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_budget_holds_under_each_attack_and_no_call_of_another_tenant_fails() {
    let mut tenants = Tenants::new(&["shop", "other"]);
    let healthy = tenants.key("shop", &["ingest", "serve"]);
    let key = tenants.key("other", &["ingest", "serve", "catalog", "read-profile"]);
    tenants.write();
    let path = tenants.path();
    let budget = BUDGET.to_string();
    let served = Watched::set(&[
        ("RECSYS_TENANTS_PATH", path.as_str()),
        ("RECSYS_MAX_BUFFERED_BYTES", &budget),
        ("RECSYS_MAX_CONNECTIONS", "64"),
        ("RECSYS_WEBHOOK_ADDR", "127.0.0.1:0"),
        ("RECSYS_REQUEST_TIMEOUT", "60s"),
    ])
    .await;
    let (_, rest) = served
        .served
        .seen
        .split_once("taking deliveries address=")
        .unwrap();
    let webhook = rest.split_whitespace().next().unwrap().parse().unwrap();
    let attack = Attack {
        served,
        webhook,
        key,
    };
    let (stop, done) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
    let calls = calls(attack.address(), healthy, stop.clone(), done.clone());
    let calls = tokio::spawn(calls);
    attack.tiny_events().await;
    attack.assert_bounded("tiny events");
    attack.wide_events().await;
    attack.assert_bounded("wide events");
    attack.tiny_items().await;
    attack.assert_bounded("tiny items");
    attack.tiny_ids().await;
    attack.assert_bounded("tiny ids");
    attack.large_replies().await;
    attack.assert_bounded("large replies");
    attack.compressed_deliveries().await;
    attack.assert_bounded("compressed deliveries");
    attack.unread_reflection().await;
    attack.watches().await;
    let before = done.load(Ordering::SeqCst);
    while done.load(Ordering::SeqCst) < before + 3 && !calls.is_finished() {
        tokio::task::yield_now().await;
    }
    stop.store(true, Ordering::SeqCst);
    calls.await.unwrap();
}
