//! Writing to the collection: making it ready, and putting items into it.

use std::collections::HashMap;

use qdrant_client::{
    Payload,
    qdrant::{
        NamedVectors, PointStruct, UpsertPoints, Vector, Vectors, vectors, with_vectors_selector,
    },
};
use serde_json::{Map, Value};

use super::{
    collection::{self, Collection},
    ids::PointKey,
    items::QdrantItemStore,
    payload,
    reads::{Places, Wanted},
};
use crate::{
    domain::{
        ids::ContentId,
        item::{CatalogueItem, Item},
        vector::UnitVector,
    },
    ports::{Deadline, ItemRefusal, StoreError, StoreErrorKind},
};

/// Cosine from which on two vectors are the same: Qdrant may round.
const SAME_VECTOR: f64 = 0.999_999;

/// What became of an item that was put into the collection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// It is new, or has replaced what was there.
    Written,
    /// It was there already, just so.
    Unchanged,
}

/// What a point holds. Of its vectors one is the item's; the others are kept.
#[derive(Default)]
struct Held {
    payload: Map<String, Value>,
    vector: Option<UnitVector>,
    other_vectors: HashMap<String, Vector>,
}

impl QdrantItemStore {
    /// Makes the collection, if it is not there, and the indexes that it lacks.
    /// Returns how many numbers its vectors have.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn prepare(&self, vector_size: Option<usize>) -> Result<Option<usize>, StoreError> {
        let collection = match self.describe(Deadline::NONE).await {
            Err(error) if error.kind() == StoreErrorKind::Unprepared => {
                let request = collection::creation(&self.name, vector_size);
                let mut collections = self.qdrant.collections();
                self.qdrant
                    .call("create", Deadline::NONE, collections.create(request))
                    .await?;
                self.describe(Deadline::NONE).await?
            }
            described => described?,
        };
        for field in collection.missing_indexes() {
            if let Some(request) = collection::index(&self.name, field) {
                let mut points = self.qdrant.points();
                self.qdrant
                    .call("index", Deadline::NONE, points.create_field_index(request))
                    .await?;
            }
        }
        Ok(self.describe(Deadline::NONE).await?.vector_size)
    }

    /// How many numbers the collection's vectors have, if it exists.
    ///
    /// # Errors
    /// [`StoreError`] if Qdrant does not answer.
    pub async fn existing_vector_size(&self) -> Result<Option<Option<usize>>, StoreError> {
        match self.describe(Deadline::NONE).await {
            Ok(collection) => Ok(Some(collection.vector_size)),
            Err(error) if error.kind() == StoreErrorKind::Unprepared => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Adds or replaces items, in order; one result each. Payload keys and
    /// vectors that an item does not name are kept, and a point that would not
    /// change is not written.
    ///
    /// # Errors
    /// [`StoreError`]; then any of them may have been stored.
    pub async fn put(&self, items: Vec<Item>) -> Result<Vec<Result<Put, ItemRefusal>>, StoreError> {
        let collection = self.describe(Deadline::NONE).await?;
        let ids: Vec<ContentId> = items.iter().map(|item| item.id.clone()).collect();
        let wanted: Vec<Wanted<'_>> = ids.iter().map(|id| self.wanted(id, &collection)).collect();
        let with_vectors = with_vectors_selector::SelectorOptions::Enable(true);
        let points = self
            .retrieve(&wanted, with_vectors.into(), Deadline::NONE)
            .await?;
        // A point that another program put under a key of its own stays there.
        let places = Places::of(&points);
        let keys: Vec<PointKey> = wanted
            .iter()
            .zip(&ids)
            .map(|(wanted, id)| places.of_item(wanted).next().unwrap_or(PointKey::of(id)))
            .collect();
        let mut held: HashMap<PointKey, Held> = points
            .into_iter()
            .filter_map(|point| {
                let key = PointKey::read(point.id.as_ref())?;
                let name = collection.vector_name.as_deref();
                let (vector, other_vectors) = payload::vectors(point.vectors, name);
                let held = Held {
                    payload: Payload::from(point.payload).into(),
                    vector,
                    other_vectors,
                };
                Some((key, held))
            })
            .collect();

        let mut results = Vec::with_capacity(items.len());
        let mut changed: HashMap<PointKey, PointStruct> = HashMap::new();
        for (item, key) in items.into_iter().zip(&keys) {
            if let Some(vector) = &item.vector
                && collection.vector_size != Some(vector.size())
            {
                results.push(Err(ItemRefusal::VectorSize {
                    catalogue: format!("collection {:?}", self.name),
                    expected: collection.vector_size.unwrap_or_default(),
                    given: vector.size(),
                }));
                continue;
            }
            let vector = item.vector.clone();
            let prepared = CatalogueItem::new(item, &self.canonical);
            let before = held.remove(key);
            let new = before.is_none();
            let before = before.unwrap_or_default();
            let payload = as_stored(payload::write(&prepared, before.payload.clone()));
            let same = !new && before.payload == payload && same(&before.vector, &vector);
            results.push(Ok(if same { Put::Unchanged } else { Put::Written }));
            let after = Held {
                payload,
                vector,
                ..before
            };
            if !same {
                let point = PointStruct {
                    id: Some((*key).into()),
                    payload: Payload::from(after.payload.clone()).into(),
                    vectors: Some(after.vectors(&collection)),
                };
                changed.insert(*key, point);
            }
            held.insert(*key, after);
        }
        let done = if changed.is_empty() {
            Ok(())
        } else {
            let request = UpsertPoints {
                collection_name: self.name.clone(),
                wait: Some(true),
                points: changed.into_values().collect(),
                ..UpsertPoints::default()
            };
            let mut points = self.qdrant.points();
            let done = self
                .qdrant
                .call("upsert", Deadline::NONE, points.upsert(request))
                .await;
            done.map(|_| ())
        };
        // Read anew when next needed: what this process wrote is seen at once,
        // and so is what another one wrote before.
        let known = wanted.iter().map(|wanted| wanted.key);
        let forgotten: Vec<PointKey> = keys.into_iter().chain(known).collect();
        self.cache.forget(&forgotten);
        done?;
        Ok(results)
    }
}

/// As it comes back: Qdrant knows fewer kinds of numbers than JSON does.
fn as_stored(payload: Map<String, Value>) -> Map<String, Value> {
    Payload::from(payload).into()
}

fn same(a: &Option<UnitVector>, b: &Option<UnitVector>) -> bool {
    match (a, b) {
        (None, None) => true,
        (Some(a), Some(b)) => a.cosine(b).is_some_and(|cosine| cosine > SAME_VECTOR),
        (Some(_), None) | (None, Some(_)) => false,
    }
}

impl Held {
    /// A point without vector names none.
    fn vectors(&self, collection: &Collection) -> Vectors {
        let vector = self.vector.as_ref();
        let dense = vector.map(|vector| Vector::from(vector.as_slice().to_vec()));
        let name = collection.vector_name.clone();
        let options = match (dense, name) {
            (Some(dense), None) if self.other_vectors.is_empty() => {
                vectors::VectorsOptions::Vector(dense)
            }
            (dense, name) => {
                let mut named = self.other_vectors.clone();
                named.extend(dense.map(|dense| (name.unwrap_or_default(), dense)));
                vectors::VectorsOptions::Vectors(NamedVectors { vectors: named })
            }
        };
        Vectors {
            vectors_options: Some(options),
        }
    }
}
