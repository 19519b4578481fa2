//! Catalogues in Qdrant: in the stand-in, and in a real one too if `QDRANT_TEST_URL`
//! has the URL of its gRPC port, such as `http://localhost:6334`.

use std::{ops::Deref, sync::Arc, thread, time::Duration};

use qdrant_client::qdrant::{
    CreateCollection, DeleteCollection, Distance, VectorParams, VectorsConfig,
    collections_client::CollectionsClient, vectors_config,
};
use recsys::{
    adapters::{
        memory::{CatalogueBudget, MemoryItemStore},
        mirror::{CatalogMirror, MirrorOptions},
        qdrant::{QdrantItemOptions, QdrantItemStore, QdrantPool, QdrantSettings},
        redis::ItemChanges,
    },
    domain::{item::Item, tags::Canonicalizer},
    ports::ItemStore,
};
use tokio::sync::OnceCell;
use tonic::transport::{Channel, Endpoint};
use uuid::Uuid;

use super::qdrant::QdrantServer;

/// The servers that a suite runs over: the stand-in, shared by all tests of the
/// process, and the real Qdrant if one is named.
pub async fn urls() -> Vec<String> {
    static STAND_IN: OnceCell<QdrantServer> = OnceCell::const_new();
    let mut urls = vec![STAND_IN.get_or_init(QdrantServer::start).await.url()];
    urls.extend(std::env::var("QDRANT_TEST_URL"));
    urls
}

/// Settings with a random collection name, and with time-outs that a slow machine does
/// not reach.
pub fn own_settings() -> QdrantSettings {
    QdrantSettings {
        collection_name: format!("recsys-test-{}", Uuid::new_v4()),
        qdrant_timeout: Duration::from_secs(20),
        qdrant_connect_timeout: Duration::from_secs(20),
        ..QdrantSettings::default()
    }
}

pub fn store(url: &str, settings: &QdrantSettings) -> QdrantItemStore {
    store_with(url, settings, Canonicalizer::default())
}

pub fn store_with(
    url: &str,
    settings: &QdrantSettings,
    canonicalizer: Canonicalizer,
) -> QdrantItemStore {
    let options = QdrantItemOptions {
        collection: settings.collection_name.clone(),
        cache_max_bytes: settings.item_cache_max_bytes,
        cache_ttl: settings.item_cache_ttl,
        canonicalizer,
    };
    QdrantItemStore::new(QdrantPool::new(url, settings).unwrap(), options)
}

/// A mirror of a store, which is empty and only changes when a test calls it. It is
/// compared once an hour.
pub fn mirror(
    store: QdrantItemStore,
    changes: Option<ItemChanges>,
    canonicalizer: Canonicalizer,
) -> Arc<CatalogMirror> {
    let options = MirrorOptions {
        budget: CatalogueBudget::new(256 << 20),
        canonicalizer,
        compare_every: Duration::from_secs(3_600),
    };
    Arc::new(CatalogMirror::new(Arc::new(store), changes, options))
}

/// A store in memory, and one on each server of [`urls`], for vectors of two numbers.
pub async fn stores() -> Vec<TestStore> {
    let memory = MemoryItemStore::new(Canonicalizer::default(), 64 << 20);
    let mut stores = vec![TestStore::without_collection(memory)];
    for url in urls().await {
        stores.push(TestStore::create(&url, Canonicalizer::default(), 2).await);
    }
    stores
}

/// Stores items, none of which may be refused.
pub async fn fill(store: &dyn ItemStore, items: Vec<Item>) {
    for stored in store.upsert(items).await.unwrap() {
        stored.unwrap();
    }
}

/// A store for a suite, with its collection, if it has one.
pub struct TestStore {
    store: Arc<dyn ItemStore>,
    _collection: Option<TestCollection>,
}

impl TestStore {
    pub fn without_collection(store: impl ItemStore + 'static) -> Self {
        Self {
            store: Arc::new(store),
            _collection: None,
        }
    }

    /// A new collection for vectors of this size.
    pub async fn create(url: &str, canonical: Canonicalizer, vector_size: usize) -> Self {
        let collection = TestCollection::new(url);
        Self::over(collection, canonical, vector_size).await
    }

    /// The same, as an older version created it: tags have no vector.
    pub async fn create_without_tag_vector(
        url: &str,
        canonical: Canonicalizer,
        vector_size: usize,
    ) -> Self {
        let collection = TestCollection::without_tag_vector(url, vector_size as u64).await;
        Self::over(collection, canonical, vector_size).await
    }

    async fn over(
        collection: TestCollection,
        canonical: Canonicalizer,
        vector_size: usize,
    ) -> Self {
        let store = store_with(&collection.url, &collection.settings, canonical);
        store.prepare(Some(vector_size)).await.unwrap();
        Self {
            store: Arc::new(store),
            _collection: Some(collection),
        }
    }

    /// A new collection with a mirror that is full, for vectors of this size.
    pub async fn create_mirrored(url: &str, canonical: Canonicalizer, vector_size: usize) -> Self {
        let collection = TestCollection::new(url);
        let store = store_with(url, &collection.settings, canonical.clone());
        store.prepare(Some(vector_size)).await.unwrap();
        let mirror = mirror(store, None, canonical);
        mirror.refresh().await.unwrap();
        assert!(mirror.is_full());
        Self {
            store: mirror,
            _collection: Some(collection),
        }
    }

    pub fn shared(&self) -> Arc<dyn ItemStore> {
        Arc::clone(&self.store)
    }
}

impl Deref for TestStore {
    type Target = dyn ItemStore;

    fn deref(&self) -> &Self::Target {
        &*self.store
    }
}

/// Deletes its collection when dropped, also by a test that fails.
pub struct TestCollection {
    pub url: String,
    pub settings: QdrantSettings,
}

impl TestCollection {
    /// A collection that is still to be created.
    pub fn new(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            settings: own_settings(),
        }
    }

    /// A collection as an older version created it: tags have no vector.
    pub async fn without_tag_vector(url: &str, vector_size: u64) -> Self {
        let collection = Self::new(url);
        let params = VectorParams {
            size: vector_size,
            distance: Distance::Cosine.into(),
            ..VectorParams::default()
        };
        let request = CreateCollection {
            collection_name: collection.settings.collection_name.clone(),
            vectors_config: Some(VectorsConfig {
                config: Some(vectors_config::Config::Params(params)),
            }),
            ..CreateCollection::default()
        };
        let mut collections = CollectionsClient::new(collection.channel().await);
        collections.create(request).await.unwrap();
        collection
    }

    pub async fn channel(&self) -> Channel {
        let endpoint = Endpoint::from_shared(self.url.clone()).unwrap();
        endpoint.connect().await.unwrap()
    }

    /// The catalogue of a process.
    pub fn store(&self) -> QdrantItemStore {
        store(&self.url, &self.settings)
    }
}

impl Drop for TestCollection {
    fn drop(&mut self) {
        let (url, collection_name) = (self.url.clone(), self.settings.collection_name.clone());
        let delete = async move {
            let channel = Endpoint::from_shared(url)?.connect().await?;
            let request = DeleteCollection {
                collection_name,
                ..DeleteCollection::default()
            };
            CollectionsClient::new(channel).delete(request).await?;
            Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
        };
        // On a thread, since the runtime of the test may not block.
        let deleting = thread::spawn(|| {
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            runtime.enable_all().build().unwrap().block_on(delete)
        });
        let deleted = deleting.join().unwrap();
        if !thread::panicking() {
            deleted.expect("the collection is deleted");
        }
    }
}

/// An error with its causes.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}
