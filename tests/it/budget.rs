//! The budget of memory: while clients of each kind try to exhaust it, it holds, and the
//! calls of another tenant do not fail. `scripts/soak.sh --attack` is its full form.

use crate::support::{
    attacks::{ATTACKS, Attacker},
    budget::{BUDGET, HealthyTenant, assert_bounded},
    tenants::Tenants,
    watched::Watched,
};

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
    let calls = HealthyTenant::start(attacker.address, healthy);
    for attack in ATTACKS {
        let observe = || assert_bounded(&served, attack);
        attacker.attack(attack, observe).await;
    }
    calls.finish().await;
}
