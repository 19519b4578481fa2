//! The mirror of a catalogue in Qdrant: it holds what Qdrant has, whoever writes it.
//! Nothing happens in the background here: each test says when a mirror reads.

use std::{collections::HashSet, sync::Arc};

use futures_util::future::join_all;
use proptest::{
    prelude::*,
    test_runner::{Config, TestCaseError, TestRunner},
};
use qdrant_client::qdrant::Distance;
use recsys::{
    adapters::{
        memory::CatalogueBudget,
        mirror::{CatalogMirror, MirrorOptions},
        qdrant::{QdrantItemStore, QdrantSettings},
        redis::{ItemChanges, RedisPool},
    },
    domain::{
        ids::ContentId, item::Item, restriction::Restriction, tags::Canonicalizer,
        vector::UnitVector,
    },
    ports::{Deadline, Found, ItemStore, Search, SearchOrder, StoreErrorKind},
};
use serde_json::json;
use tonic::Code;
use uuid::Uuid;

use crate::support::{
    catalogue::{mirror, own_settings, store},
    items::{half_circle, item},
    qdrant::QdrantServer,
    redis::{own_prefix, shared},
    until,
};

/// A Qdrant with a collection, and a key prefix in the shared Redis.
struct Service {
    qdrant: QdrantServer,
    settings: QdrantSettings,
    prefix: String,
}

impl Service {
    async fn with(items: Vec<Item>) -> Self {
        let service = Self {
            qdrant: QdrantServer::start().await,
            settings: own_settings(),
            prefix: own_prefix(),
        };
        let store = service.store();
        store.prepare(Some(2)).await.unwrap();
        for stored in store.upsert(items).await.unwrap() {
            stored.unwrap();
        }
        service
    }

    /// Another program's access, or what Qdrant has.
    fn store(&self) -> QdrantItemStore {
        store(&self.qdrant.url(), &self.settings)
    }

    fn collection(&self) -> &str {
        &self.settings.collection_name
    }

    /// The key of the stream of changes.
    fn stream(&self) -> String {
        format!("{}item_changes:{}", self.prefix, self.collection())
    }

    /// The mirror of a process that has just started.
    async fn process(&self, redis: Option<&RedisPool>) -> Arc<CatalogMirror> {
        let changes =
            redis.map(|pool| ItemChanges::new(pool.clone(), &self.prefix, self.collection()));
        let mirror = mirror(self.store(), changes, Canonicalizer::default());
        mirror.follow().await;
        mirror.refresh().await.unwrap();
        assert!(mirror.is_full());
        mirror
    }
}

async fn ids_of(mirror: &CatalogMirror) -> Vec<String> {
    let Found::Items(items) = search(mirror, 1_000).await else {
        panic!("the mirror is not current");
    };
    items.iter().map(|item| item.id().to_string()).collect()
}

/// The nearest items to a vector, which all items of these tests have.
async fn search(mirror: &CatalogMirror, limit: usize) -> Found {
    let vector = UnitVector::new(&[1.0, 0.0]).unwrap();
    let search = Search {
        order: SearchOrder::NearestTo(vector),
        restriction: &Restriction::default(),
        exclude: &HashSet::new(),
        exclude_afterwards: &HashSet::new(),
        limit,
    };
    let mut found = mirror.search(&[search], Deadline::NONE).await.unwrap();
    found.remove(0)
}

async fn title(store: &dyn ItemStore, id: &str) -> Option<String> {
    let found = store.get(&[id.into()], Deadline::NONE).await.unwrap();
    found[0].as_ref().map(|item| item.title().to_owned())
}

fn titled(id: &str, title: &str) -> Item {
    let mut item = item(id).vector(&[1.0, 0.5]).build();
    item.title = title.to_owned();
    item
}

#[tokio::test]
async fn a_full_mirror_answers_without_qdrant() {
    let service = Service::with(half_circle(2_500)).await;
    let mirror = service.process(None).await;
    service.qdrant.reset_calls();
    assert_eq!(ids_of(&mirror).await.len(), 1_000);
    assert_eq!(title(&*mirror, "i0042").await, None);
    assert!(title(&*mirror, "i042").await.is_some());
    assert_eq!(mirror.cached(&["i2499".into()]).iter().flatten().count(), 1);
    assert_eq!(service.qdrant.all_calls(), 0);
}

#[tokio::test]
async fn the_service_is_not_ready_before_the_mirror_is_full() {
    let service = Service::with(half_circle(30)).await;
    let mirror = mirror(service.store(), None, Canonicalizer::default());
    let starting = mirror.check().await.unwrap_err();
    assert_eq!(starting.kind(), StoreErrorKind::Starting);
    assert_eq!(starting.to_string(), "catalogue mirror has 0 of 30 items");
    // Meanwhile Qdrant answers.
    assert_eq!(ids_of(&mirror).await.len(), 30);
    assert_eq!(mirror.refresh().await.unwrap(), 30);
    mirror.check().await.unwrap();
    assert_eq!(mirror.refresh().await.unwrap(), 0, "nothing has changed");
}

#[tokio::test]
async fn a_write_is_seen_at_once_here_and_at_the_next_read_of_the_stream_elsewhere() {
    let service = Service::with(half_circle(20)).await;
    let pool = shared().pool();
    let (one, other) = (
        service.process(Some(&pool)).await,
        service.process(Some(&pool)).await,
    );
    one.upsert(vec![titled("i003", "new"), titled("added", "new")])
        .await
        .unwrap();
    assert_eq!(one.delete(&["i004".into()]).await.unwrap(), [true]);
    assert_eq!(title(&*one, "i003").await.as_deref(), Some("new"));
    assert_eq!(title(&*one, "i004").await, None);

    assert!(title(&*other, "i004").await.is_some(), "not read yet");
    other.follow().await;
    for changed in ["i003", "added"] {
        assert_eq!(title(&*other, changed).await.as_deref(), Some("new"));
    }
    assert_eq!(title(&*other, "i004").await, None);
    let ids = ids_of(&other).await;
    assert!(!ids.contains(&"i004".to_owned()) && ids.contains(&"added".to_owned()));

    // The next read has nothing to do.
    service.qdrant.reset_calls();
    one.follow().await;
    other.follow().await;
    assert_eq!(service.qdrant.all_calls(), 0);
}

#[tokio::test]
async fn writes_of_other_programs_and_without_redis_are_found_by_a_comparison() {
    let service = Service::with(half_circle(20)).await;
    let mirror = service.process(None).await;
    let other = service.store();
    other
        .upsert(vec![titled("i003", "new"), titled("added", "new")])
        .await
        .unwrap();
    other.delete(&["i004".into(), "i005".into()]).await.unwrap();
    // Under a key that recsys would not choose.
    let key = Uuid::from_u128(7).to_string();
    let payload = json!({"content_id": "foreign", "title": "theirs"});
    service
        .qdrant
        .insert(service.collection(), key, payload, Some(vec![1.0, 0.0]));
    assert!(title(&*mirror, "i004").await.is_some());
    assert_eq!(mirror.refresh().await.unwrap(), 5);
    assert_eq!(title(&*mirror, "foreign").await.as_deref(), Some("theirs"));
    assert_eq!(title(&*mirror, "added").await.as_deref(), Some("new"));
    assert_eq!(title(&*mirror, "i004").await, None);
    assert_eq!(ids_of(&mirror).await.len(), 20);

    mirror.delete(&["foreign".into()]).await.unwrap();
    assert_eq!(title(&*mirror, "foreign").await, None);
    assert_eq!(mirror.refresh().await.unwrap(), 0);
}

#[tokio::test]
async fn a_catalogue_beyond_the_limit_is_searched_in_qdrant_until_it_fits() {
    let service = Service::with(half_circle(120)).await;
    let options = MirrorOptions {
        budget: CatalogueBudget::with_max_items(256 << 20, 100),
        canonicalizer: Canonicalizer::default(),
        compare_every: std::time::Duration::from_secs(3_600),
    };
    let mirror = CatalogMirror::new(Arc::new(service.store()), None, options.clone());
    mirror.refresh().await.unwrap();
    assert!(!mirror.is_full());
    mirror.check().await.unwrap();
    assert_eq!(ids_of(&mirror).await.len(), 120);

    // Another mirror shares the limit.
    let gone: Vec<ContentId> = (0..60).map(|n| format!("i{n:03}").into()).collect();
    mirror.delete(&gone).await.unwrap();
    mirror.check().await.unwrap();
    mirror.refresh().await.unwrap();
    assert!(mirror.is_full());
    let other = CatalogMirror::new(Arc::new(service.store()), None, options);
    other.refresh().await.unwrap();
    assert!(!other.is_full());
    drop(mirror);
    other.check().await.unwrap();
    other.refresh().await.unwrap();
    assert!(other.is_full());
    // It outgrows the limit by a write, which is not lost.
    for stored in other.upsert(half_circle(120)).await.unwrap() {
        stored.unwrap();
    }
    assert!(!other.is_full());
    assert_eq!(ids_of(&other).await.len(), 120);
}

#[tokio::test]
async fn a_collection_that_is_recreated_is_mirrored_again() {
    let service = Service::with(half_circle(20)).await;
    let mirror = service.process(None).await;
    service.qdrant.drop_collection(service.collection());
    assert!(mirror.check().await.is_err());
    let found = search(&mirror, 5).await;
    assert!(matches!(found, Found::Cached(_)), "{found:?}");
    service
        .qdrant
        .create_collection(service.collection(), 3, Distance::Cosine);
    let vector = Some(vec![1.0, 0.0, 0.0]);
    service
        .qdrant
        .insert(service.collection(), 7, json!({"title": "new"}), vector);
    mirror.check().await.unwrap();
    mirror.refresh().await.unwrap();
    assert!(mirror.is_full());
    assert_eq!(title(&*mirror, "7").await.as_deref(), Some("new"));
    assert_eq!(title(&*mirror, "i003").await, None);
    assert_eq!(mirror.vector_size(), Some(3));
}

#[tokio::test]
async fn an_outage_after_the_start_is_visible_in_lists_and_fails_writes() {
    let service = Service::with(half_circle(20)).await;
    let mirror = service.process(None).await;
    service.qdrant.stop();
    assert!(mirror.check().await.is_err());
    let Found::Cached(items) = search(&mirror, 5).await else {
        panic!("a list says that the catalogue does not answer");
    };
    assert_eq!(items.len(), 5);
    assert!(title(&*mirror, "i003").await.is_some());
    let failed = mirror.upsert(vec![titled("i003", "lost")]).await;
    assert_eq!(failed.unwrap_err().kind(), StoreErrorKind::Unavailable);
    service.qdrant.restart();
    until("qdrant answers", async || mirror.check().await.is_ok()).await;
    mirror.follow().await;
    assert_eq!(ids_of(&mirror).await.len(), 20);
}

#[tokio::test]
async fn a_removal_is_applied_even_if_the_item_cannot_be_read_again() {
    let service = Service::with(half_circle(20)).await;
    let mirror = service.process(None).await;
    let store = service.store();
    store.upsert(vec![titled("7", "number")]).await.unwrap();
    mirror.refresh().await.unwrap();
    assert!(title(&*mirror, "7").await.is_some());
    let fault_after_delete = async {
        while service.qdrant.calls("Delete") == 0 {
            tokio::task::yield_now().await;
        }
        service
            .qdrant
            .fail_rpc("Get", Code::Unavailable, "injected");
    };
    let ids = ["7".into()];
    let (removed, ()) = tokio::join!(mirror.delete(&ids), fault_after_delete);
    assert_eq!(removed.unwrap(), [true]);
    assert_eq!(title(&*mirror, "7").await, None);
    service.qdrant.heal();
    mirror.follow().await;
    assert_eq!(title(&*mirror, "7").await, None);
}

/// What can happen to a catalogue and its two processes.
#[derive(Clone, Debug)]
enum Happening {
    Upsert(usize, u8, u8),
    Delete(usize, u8),
    /// Another program writes or removes an item.
    Foreign(u8, Option<u8>),
    Restart(usize),
    Follow(usize),
    Compare(usize),
    /// All entries of the stream are lost.
    LoseStream,
}

impl Happening {
    fn any() -> impl Strategy<Value = Self> {
        let (process, id, version) = (0..2_usize, 0..6_u8, 0..200_u8);
        prop_oneof![
            5 => (process.clone(), id.clone(), version.clone())
                .prop_map(|(process, id, version)| Self::Upsert(process, id, version)),
            3 => (process.clone(), id.clone())
                .prop_map(|(process, id)| Self::Delete(process, id)),
            2 => (id, prop::option::of(version)).prop_map(|(id, version)| Self::Foreign(id, version)),
            1 => process.clone().prop_map(Self::Restart),
            3 => process.clone().prop_map(Self::Follow),
            2 => process.prop_map(Self::Compare),
            1 => Just(Self::LoseStream),
        ]
    }

    /// Whether it hides changes from the stream.
    fn needs_comparison(&self) -> bool {
        matches!(self, Self::Foreign(..) | Self::LoseStream)
    }
}

fn versioned(id: u8, version: u8) -> Item {
    let id = if id < 3 {
        id.to_string()
    } else {
        format!("sku-{id}")
    };
    titled(&id, &version.to_string())
}

/// Happenings, some of them at the same time.
async fn play(groups: Vec<Vec<Happening>>) -> Result<(), TestCaseError> {
    let service = Service::with((0..3).map(|id| versioned(id, 0)).collect()).await;
    let pool = shared().pool();
    let processes = [
        tokio::sync::RwLock::new(service.process(Some(&pool)).await),
        tokio::sync::RwLock::new(service.process(Some(&pool)).await),
    ];
    let program = service.store();
    let needs_comparison = groups.iter().flatten().any(Happening::needs_comparison);
    for group in groups {
        let (service, pool, processes, program) = (&service, &pool, &processes, &program);
        let together = group.into_iter().map(|happening| async move {
            match happening {
                Happening::Upsert(process, id, version) => {
                    let process = processes[process].read().await;
                    process.upsert(vec![versioned(id, version)]).await.unwrap();
                }
                Happening::Delete(process, id) => {
                    let id = versioned(id, 0).id;
                    processes[process].read().await.delete(&[id]).await.unwrap();
                }
                Happening::Foreign(id, Some(version)) => {
                    program.upsert(vec![versioned(id, version)]).await.unwrap();
                }
                Happening::Foreign(id, None) => {
                    program.delete(&[versioned(id, 0).id]).await.unwrap();
                }
                Happening::Restart(process) => {
                    let mut held = processes[process].write().await;
                    *held = service.process(Some(pool)).await;
                }
                Happening::Follow(process) => processes[process].read().await.follow().await,
                Happening::Compare(process) => {
                    processes[process].read().await.refresh().await.unwrap();
                }
                Happening::LoseStream => {
                    shared().cli(&["DEL", &service.stream()]);
                }
            }
        });
        join_all(together).await;
    }
    let ids: Vec<ContentId> = (0..6).map(|id| versioned(id, 0).id).collect();
    let expected = service.store().get(&ids, Deadline::NONE).await.unwrap();
    for process in &processes {
        let process = process.read().await;
        process.follow().await;
        if needs_comparison {
            process.refresh().await.unwrap();
        }
        let held = process.get(&ids, Deadline::NONE).await.unwrap();
        prop_assert_eq!(&held, &expected);
        let found: HashSet<String> = ids_of(&process).await.into_iter().collect();
        prop_assert_eq!(found.len(), expected.iter().flatten().count());
    }
    Ok(())
}

#[test]
fn two_mirrors_converge_whatever_happens() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let config = Config {
        cases: 24,
        max_shrink_iters: 50,
        failure_persistence: None,
        ..Config::default()
    };
    let groups = prop::collection::vec(prop::collection::vec(Happening::any(), 1..4), 1..10);
    let mut runner = TestRunner::new(config);
    runner
        .run(&groups, |groups| runtime.block_on(play(groups)))
        .unwrap();
}
