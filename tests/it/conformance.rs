//! The reference engine's answers, reproduced over the wire: user models and
//! lists to 1e-6, canonical labels exactly.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use async_trait::async_trait;
use prost_types::value::Kind;
use recsys::{
    adapters::redis::RedisEventBuffer,
    domain::{
        catalogue_line, event::StoredEvent, event_member, ids::UserId, item::Item,
        ranking_config::RankingConfig, tags::Canonicalizer, time::Timestamp,
    },
    edge::settings::ServerSettings,
    engine::{Engine, Ports},
    ports::{
        Appended, BufferSnapshot, Clock, Deadline, Erasure, ErasureStart, EventBuffer,
        ObservedBuffer, ObservedVersion, PageStart, StoreError, StoredPage, Version, WaitingCaller,
    },
    proto,
};
use serde_json::{Value, json};

use crate::support::{
    DAY, MemoryWorld,
    catalogue::{self, TestStore},
    redis::{self, own_prefix},
    server::TestServer,
};

const CASES: &str = include_str!("../fixtures/conformance/cases.json");
const CANONICAL: &str = include_str!("../fixtures/conformance/canonical.json");
const TOLERANCE: f64 = 1e-6;

/// Collects what differs, by the path of the field.
#[derive(Default)]
struct Differences(Vec<String>);

impl Differences {
    fn same(&mut self, path: &str, ours: &Value, expected: &Value) {
        match (ours, expected) {
            (Value::Number(ours), Value::Number(expected)) => {
                let (ours, expected) = (ours.as_f64().unwrap(), expected.as_f64().unwrap());
                if (ours - expected).abs() > TOLERANCE {
                    self.0.push(format!("{path}: {ours}, expected {expected}"));
                }
            }
            (Value::Array(ours), Value::Array(expected)) => {
                if ours.len() != expected.len() {
                    self.0.push(format!(
                        "{path}: {} entries, expected {}",
                        ours.len(),
                        expected.len()
                    ));
                }
                for (index, (ours, expected)) in ours.iter().zip(expected).enumerate() {
                    self.same(&format!("{path}[{index}]"), ours, expected);
                }
            }
            (Value::Object(ours), Value::Object(expected)) => {
                let keys: HashSet<&String> = ours.keys().chain(expected.keys()).collect();
                for key in keys {
                    let path = format!("{path}.{key}");
                    let (ours, expected) = (ours.get(key), expected.get(key));
                    self.same(
                        &path,
                        ours.unwrap_or(&Value::Null),
                        expected.unwrap_or(&Value::Null),
                    );
                }
            }
            (ours, expected) if ours == expected => {}
            (ours, expected) => self.0.push(format!("{path}: {ours}, expected {expected}")),
        }
    }
}

fn config(changes: &Value) -> RankingConfig {
    let mut file = changes.clone();
    file["preset"] = json!("reference");
    RankingConfig::from_toml(&toml::to_string(&file).unwrap()).unwrap()
}

fn items_of(cases: &Value) -> Vec<Item> {
    cases["catalogue"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| catalogue_line::parse(&item.to_string()).unwrap())
        .collect()
}

fn signals_json(signals: &proto::UserSignals) -> Value {
    let behavior = signals.behavior.as_ref().unwrap();
    let vector = |numbers: &[f32]| (!numbers.is_empty()).then(|| numbers.to_vec());
    let demographics = signals.demographics.as_ref();
    json!({
        "user_id": signals.user_id,
        "positives": signals.positives,
        "negatives": signals.negatives,
        "viewed": signals.viewed,
        "recent_views": signals.recent_views,
        "tag_affinity": signals.tag_affinity,
        "tag_aversion": signals.tag_aversion,
        "taste_vector": vector(&signals.taste_vector),
        "recency_vector": vector(&signals.recency_vector),
        "behavior": {
            "n_views": behavior.n_views,
            "n_positive": behavior.n_positive,
            "n_negative": behavior.n_negative,
            "avg_dwell_ratio": behavior.avg_dwell_ratio,
            "completion_rate": behavior.completion_rate,
            "revisit_rate": behavior.revisit_rate,
            "depth": behavior.depth,
        },
        "demographics": demographics.map_or_else(|| json!({}), struct_json),
        "is_cold": signals.is_cold,
    })
}

fn struct_json(object: &prost_types::Struct) -> Value {
    let fields = object.fields.iter();
    fields
        .map(|(name, value)| (name.clone(), value_json(value)))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

fn value_json(value: &prost_types::Value) -> Value {
    match value.kind.as_ref().unwrap() {
        Kind::NullValue(_) => Value::Null,
        Kind::NumberValue(number) => json!(number),
        Kind::StringValue(text) => json!(text),
        Kind::BoolValue(flag) => json!(flag),
        Kind::StructValue(object) => struct_json(object),
        Kind::ListValue(list) => list.values.iter().map(value_json).collect(),
    }
}

fn request(user: &str, spec: &Value) -> proto::RecommendRequest {
    for key in spec.as_object().unwrap().keys() {
        assert!(
            ["near", "radius_meters", "filter"].contains(&key.as_str()),
            "{key}"
        );
    }
    proto::RecommendRequest {
        user_id: user.to_owned(),
        filter: spec["filter"].as_str().unwrap_or_default().to_owned(),
        near: spec.get("near").map(|near| proto::GeoPoint {
            latitude: near["latitude"].as_f64().unwrap(),
            longitude: near["longitude"].as_f64().unwrap(),
        }),
        radius_meters: spec["radius_meters"].as_f64(),
        ..Default::default()
    }
}

fn list_json(list: &proto::RecommendResponse) -> Value {
    let items = list.items.iter().map(|item| {
        json!({
            "content_id": item.content_id,
            "role": item.role().as_str_name().trim_start_matches("ITEM_ROLE_"),
            "score": item.score,
            "breakdown": item.breakdown,
        })
    });
    items.collect::<Vec<_>>().into()
}

fn compare_recommendation(
    differences: &mut Differences,
    path: &str,
    ours: &proto::RecommendResponse,
    expected: &Value,
) {
    let strategy = ours.strategy().as_str_name();
    differences.same(
        &format!("{path}.strategy"),
        &json!(strategy.trim_start_matches("RECOMMEND_STRATEGY_")),
        &expected["strategy"],
    );
    let diagnostics = ours.diagnostics.as_ref().unwrap();
    for (flag, ours) in [
        ("seen_fallback", diagnostics.seen_fallback),
        ("cold_start_fallback", diagnostics.cold_start_fallback),
    ] {
        if let Some(expected) = expected.get(flag) {
            differences.same(&format!("{path}.{flag}"), &json!(ours), expected);
        }
    }
    match (expected.get("items"), expected.get("item_count")) {
        (Some(items), None) => {
            differences.same(&format!("{path}.items"), &list_json(ours), items);
        }
        (None, Some(count)) => {
            differences.same(
                &format!("{path}.item_count"),
                &json!(ours.items.len()),
                count,
            );
        }
        _ => panic!("{path}: a case has either items or item_count"),
    }
}

#[tokio::test]
async fn every_case_of_the_reference_engine_is_reproduced() {
    reproduced(async |world: &MemoryWorld, _: &str, _: &RankingConfig| world.ports.clone()).await;
}

#[tokio::test]
async fn every_case_of_the_reference_engine_is_reproduced_with_redis_and_qdrant() {
    let pool = redis::shared().pool();
    let cases: Value = serde_json::from_str(CASES).unwrap();
    let vector_size = usize::try_from(cases["dimension"].as_u64().unwrap()).unwrap();
    for url in catalogue::urls().await {
        let mut stores: HashMap<String, TestStore> = HashMap::new();
        for (name, changes) in cases["configs"].as_object().unwrap() {
            let canonical = config(changes).canonicalizer();
            let store = TestStore::create(&url, canonical, vector_size).await;
            for stored in store.upsert(items_of(&cases)).await.unwrap() {
                stored.unwrap();
            }
            stores.insert(name.clone(), store);
        }
        let stores = &stores;
        reproduced(async |world: &MemoryWorld, name: &str, _: &RankingConfig| {
            // The cases are dated: the window must reach back to them from any day, and
            // models are built as of their date.
            let prefix = own_prefix();
            let buffer = redis::event_buffer(&pool, &prefix, 36_500 * DAY, 5_000);
            Ports {
                events: Arc::new(AsOf {
                    inner: buffer,
                    now: world.clock.now(),
                }),
                models: Arc::new(redis::model_store(&pool, &prefix)),
                items: stores[name].shared(),
                ..world.ports.clone()
            }
        })
        .await;
    }
}

/// A buffer whose clock stands still.
struct AsOf {
    inner: RedisEventBuffer,
    now: Timestamp,
}

impl AsOf {
    fn snapshot(&self, snapshot: BufferSnapshot) -> BufferSnapshot {
        BufferSnapshot {
            now: self.now,
            ..snapshot
        }
    }
}

#[async_trait]
impl EventBuffer for AsOf {
    async fn append(
        &self,
        user: &UserId,
        events: &[StoredEvent],
        caller: &WaitingCaller,
    ) -> Result<Appended, StoreError> {
        self.inner.append(user, events, caller).await
    }
    fn known(&self, user: &UserId, observed: &ObservedVersion) -> Option<BufferSnapshot> {
        let known = self.inner.known(user, observed)?;
        Some(self.snapshot(known))
    }
    async fn read(&self, user: &UserId) -> Result<BufferSnapshot, StoreError> {
        Ok(self.snapshot(self.inner.read(user).await?))
    }
    async fn stored_page(&self, user: &UserId, start: PageStart) -> Result<StoredPage, StoreError> {
        self.inner.stored_page(user, start).await
    }
    async fn stored(&self, user: &UserId) -> Result<Vec<String>, StoreError> {
        self.inner.stored(user).await
    }
    async fn version(&self, user: &UserId) -> Result<ObservedVersion, StoreError> {
        self.inner.version(user).await
    }
    async fn begin_erasure(&self, user: &UserId) -> Result<ErasureStart, StoreError> {
        self.inner.begin_erasure(user).await
    }
    async fn erase(
        &self,
        user: &UserId,
        read_at: Timestamp,
        floor: Version,
    ) -> Result<Option<Erasure>, StoreError> {
        self.inner.erase(user, read_at, floor).await
    }
    async fn observe(&self, user: &UserId) -> Result<ObservedBuffer, StoreError> {
        self.inner.observe(user).await
    }
    async fn remove_copied(
        &self,
        user: &UserId,
        copied: &ObservedBuffer,
        floor: Version,
    ) -> Result<Option<Version>, StoreError> {
        let events = &self.inner;
        events.remove_copied(user, copied, floor).await
    }
    async fn now(&self) -> Result<Timestamp, StoreError> {
        Ok(self.now)
    }
    async fn data_id(&self) -> Result<String, StoreError> {
        self.inner.data_id().await
    }
    async fn check(&self) -> Result<(), StoreError> {
        self.inner.check().await
    }
}

/// Runs all cases on the stores that `ports` gives for each: its world in
/// memory, the name of its ranking file, and that file.
async fn reproduced(ports: impl AsyncFn(&MemoryWorld, &str, &RankingConfig) -> Ports) {
    let cases: Value = serde_json::from_str(CASES).unwrap();
    let now = cases["now"].as_str().unwrap();
    let items = items_of(&cases);
    let mut differences = Differences::default();
    let (mut models, mut lists) = (0, 0);

    for (index, case) in cases["cases"].as_array().unwrap().iter().enumerate() {
        let name = case["config"].as_str().unwrap();
        let config = config(&cases["configs"][name]);
        let world = MemoryWorld::new(now, &config, items.clone());
        let ports = ports(&world, name, &config).await;
        let engine = Engine::new(ports, config.clone(), MemoryWorld::settings());
        let user = UserId::parse(case["user_id"].as_str().unwrap()).unwrap();
        let path = format!("cases[{index}] ({name}, {})", user.as_str());

        let events: Vec<_> = case["events"]
            .as_array()
            .unwrap()
            .iter()
            .map(|event| {
                event_member::decode(&user, &event.to_string(), Timestamp::from_micros(0)).unwrap()
            })
            .collect();
        for result in engine.ingest_batch(events, Deadline::NONE).await.unwrap() {
            result.unwrap();
        }
        let server = TestServer::serving(world, engine, ServerSettings::default()).await;
        let (signals, _) = server.signals(user.as_str()).await;
        differences.same(
            &format!("{path}.signals"),
            &signals_json(&signals),
            &case["signals"],
        );
        models += 1;

        for (index, expected) in case["recommendations"]
            .as_array()
            .unwrap()
            .iter()
            .enumerate()
        {
            let request = request(user.as_str(), &expected["request"]);
            let ours = server.recommend(request).await.unwrap();
            let path = format!("{path}.recommendations[{index}] {}", expected["request"]);
            compare_recommendation(&mut differences, &path, &ours, expected);
            lists += 1;
        }
    }
    assert!(
        differences.0.is_empty(),
        "{} differences, the first ones:\n{}",
        differences.0.len(),
        differences.0[..differences.0.len().min(30)].join("\n")
    );
    assert_eq!((models, lists), (45, 225), "all cases were run");
}

#[test]
fn labels_take_the_canonical_form_of_the_reference_engine() {
    let cases: Vec<Value> = serde_json::from_str(CANONICAL).unwrap();
    assert_eq!(cases.len(), 34, "all cases were run");
    let plain = Canonicalizer::default();
    let wrong: Vec<String> = cases
        .iter()
        .filter_map(|case| {
            let (label, expected) = (case["label"].as_str()?, case["canonical"].as_str()?);
            let ours = plain.label(label);
            (ours != expected).then(|| format!("{label:?}: {ours:?}, expected {expected:?}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
