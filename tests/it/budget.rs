//! The budget of memory: while clients of each kind try to exhaust it, it holds, and the
//! calls of another tenant do not fail. `scripts/soak.sh --attack` is its full form.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use recsys::proto::{
    BatchIngestEventsRequest, RecommendRequest,
    recommender_service_client::RecommenderServiceClient,
};

use crate::support::{
    attacks::{ATTACKS, Attacker},
    server::{connect, liked, named},
    tenants::{Tenants, with_headers},
    watched::Watched,
};

const BUDGET: usize = 64 << 20;
/// What the process may use besides the budget: its code, catalogue, caches and what the
/// allocator keeps.
const OTHER_BYTES: usize = 192 << 20;

fn assert_bounded(served: &Watched, attack: &str) {
    let held = served.value("recsys_buffered_bytes", &[]);
    assert!(held <= 1.25 * BUDGET as f64, "{attack}: {held} bytes held");
    let resident = resident_bytes(served.served.child.id());
    let most = BUDGET + OTHER_BYTES;
    assert!(resident <= most, "{attack}: {resident} bytes resident");
}

fn resident_bytes(process: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.unwrap().split_whitespace().nth(1).unwrap();
    kib.parse::<usize>().unwrap() << 10
}

/// Calls of a tenant that does no harm, until `stop`. Returns how many there were.
async fn calls(address: SocketAddr, key: String, stop: Arc<AtomicBool>, done: Arc<AtomicUsize>) {
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
    let attacker = Attacker {
        address: served.served.address.parse().unwrap(),
        webhook,
        key,
    };
    let (stop, done) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
    let calls = calls(attacker.address, healthy, stop.clone(), done.clone());
    let calls = tokio::spawn(calls);
    for attack in ATTACKS {
        let observe = || assert_bounded(&served, attack);
        attacker.attack(attack, observe).await;
    }
    let before = done.load(Ordering::SeqCst);
    while done.load(Ordering::SeqCst) < before + 3 && !calls.is_finished() {
        tokio::task::yield_now().await;
    }
    stop.store(true, Ordering::SeqCst);
    calls.await.unwrap();
}
