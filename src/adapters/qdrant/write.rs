//! Writes: creates the collection and its indexes, and upserts items.

use std::collections::HashMap;

use qdrant_client::{
    Payload,
    qdrant::{
        NamedVectors, PointStruct, SparseVector, UpsertPoints, Vector, Vectors, vector, vectors,
        with_vectors_selector,
    },
};
use serde_json::{Map, Value};

use super::{
    collection::{self, Collection},
    ids::PointKey,
    lookup::{FoundPoints, PointRef},
    payload,
    store::QdrantItemStore,
    tag_vector::{self, TAG_VECTOR},
};
use crate::{
    domain::{
        ids::ContentId,
        item::{CatalogueItem, Item},
        vector::UnitVector,
    },
    ports::{Deadline, ItemRefusal, StoreError, StoreErrorKind},
};

/// Cosine above which two vectors are the same: Qdrant may round.
const SAME_VECTOR: f64 = 0.999_999;

/// What a write did to an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutOutcome {
    /// It was added or replaced.
    Written,
    /// It was stored already, exactly so.
    Unchanged,
}

/// Payload and vectors of a point. One vector is the item's, one that of its tags; a
/// write keeps the others.
#[derive(Default)]
struct StoredPoint {
    payload: Map<String, Value>,
    vector: Option<UnitVector>,
    tags: Option<SparseVector>,
    other_vectors: HashMap<String, Vector>,
}

impl QdrantItemStore {
    /// Refuses a new vector that has another size than the collection's.
    pub(super) fn accepts(
        &self,
        vector: Option<&UnitVector>,
        collection: &Collection,
    ) -> Result<(), ItemRefusal> {
        match vector {
            Some(vector) if collection.vector_size != Some(vector.size()) => {
                Err(ItemRefusal::VectorSize {
                    catalogue: format!("collection {:?}", self.name),
                    expected: collection.vector_size.unwrap_or_default(),
                    given: vector.size(),
                })
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Creates the collection, if it does not exist, and the indexes that it
    /// lacks. Returns the length of its vectors; `None` if it has none.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn prepare(&self, vector_size: Option<usize>) -> Result<Option<usize>, StoreError> {
        let collection = match self.describe(Deadline::NONE).await {
            Err(error) if error.kind() == StoreErrorKind::Unprepared => {
                let request = collection::creation(&self.name, vector_size);
                let mut collections = self.pool.collections();
                self.pool
                    .call("create", Deadline::NONE, collections.create(request))
                    .await?;
                self.describe(Deadline::NONE).await?
            }
            described => described?,
        };
        let own = collection::own_fields().filter(|field| !collection.has_index(field));
        for field in collection.missing_indexes().into_iter().chain(own) {
            if let Some(request) = collection::index(&self.name, field) {
                let mut points = self.pool.points();
                self.pool
                    .call("index", Deadline::NONE, points.create_field_index(request))
                    .await?;
            }
        }
        Ok(self.describe(Deadline::NONE).await?.vector_size)
    }

    /// The length of the collection's vectors; `None` if there is no such
    /// collection, `Some(None)` if it has no vectors.
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

    /// Adds or replaces items, in order; one result each. Attributes and vectors
    /// that an item does not name are kept. A point that would not change is not
    /// written.
    ///
    /// # Errors
    /// [`StoreError`]; then any of them may have been stored.
    pub async fn put(
        &self,
        items: Vec<Item>,
    ) -> Result<Vec<Result<PutOutcome, ItemRefusal>>, StoreError> {
        let collection = self.describe(Deadline::NONE).await?;
        let ids: Vec<ContentId> = items.iter().map(|item| item.id.clone()).collect();
        let refs: Vec<PointRef<'_>> = ids
            .iter()
            .map(|id| self.point_ref(id, &collection))
            .collect();
        let with_vectors = with_vectors_selector::SelectorOptions::Enable(true);
        let points = self
            .retrieve(&refs, with_vectors.into(), Deadline::NONE)
            .await?;
        // A point under another program's key keeps that key.
        let found = FoundPoints::new(&points);
        let keys: Vec<PointKey> = refs
            .iter()
            .zip(&ids)
            .map(|(point, id)| found.keys_of(point).next().unwrap_or(PointKey::of(id)))
            .collect();
        let mut stored: HashMap<PointKey, StoredPoint> = points
            .into_iter()
            .filter_map(|point| {
                let key = PointKey::read(point.id.as_ref())?;
                let name = collection.vector_name.as_deref();
                let (vector, mut other_vectors) = payload::vectors(point.vectors, name);
                let point = StoredPoint {
                    payload: Payload::from(point.payload).into(),
                    vector,
                    tags: tags(&mut other_vectors, &collection),
                    other_vectors,
                };
                Some((key, point))
            })
            .collect();

        let mut results = Vec::with_capacity(items.len());
        let mut changed: HashMap<PointKey, PointStruct> = HashMap::new();
        for (item, key) in items.into_iter().zip(&keys) {
            if let Err(refusal) = self.accepts(item.vector.as_ref(), &collection) {
                results.push(Err(refusal));
                continue;
            }
            let vector = item.vector.clone();
            let prepared = CatalogueItem::new(item, &self.canonicalizer);
            let tags = (collection.has_tag_vector).then(|| tag_vector::of_item(&prepared));
            let before = stored.remove(key);
            let is_new = before.is_none();
            let before = before.unwrap_or_default();
            let payload = as_stored(payload::write(&prepared, before.payload.clone()));
            let is_same = !is_new
                && before.payload == payload
                && before.tags == tags
                && is_same_vector(before.vector.as_ref(), vector.as_ref());
            let after = StoredPoint {
                payload,
                vector,
                tags,
                other_vectors: before.other_vectors,
            };
            if is_same {
                results.push(Ok(PutOutcome::Unchanged));
            } else {
                results.push(Ok(PutOutcome::Written));
                let point = PointStruct {
                    id: Some((*key).into()),
                    payload: Payload::from(after.payload.clone()).into(),
                    vectors: Some(after.vectors(&collection)),
                };
                changed.insert(*key, point);
            }
            stored.insert(*key, after);
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
            let mut points = self.pool.points();
            let call = points.upsert(request);
            let done = self.call("upsert", Deadline::NONE, call).await;
            done.map(|_| ())
        };
        // Also after an error, and for unchanged points: the next read sees what
        // this process wrote, and what another one wrote before.
        let cached = refs.iter().map(|point| point.key);
        let stale: Vec<PointKey> = keys.into_iter().chain(cached).collect();
        self.cache.invalidate(&stale);
        done?;
        Ok(results)
    }
}

/// A payload as Qdrant returns it: it has fewer kinds of numbers than JSON.
fn as_stored(payload: Map<String, Value>) -> Map<String, Value> {
    Payload::from(payload).into()
}

/// Takes the vector of tags out of a point's other vectors.
fn tags(others: &mut HashMap<String, Vector>, collection: &Collection) -> Option<SparseVector> {
    if !collection.has_tag_vector {
        return None;
    }
    match others.remove(TAG_VECTOR)?.vector? {
        vector::Vector::Sparse(tags) => Some(tags),
        vector::Vector::Dense(_)
        | vector::Vector::MultiDense(_)
        | vector::Vector::Document(_)
        | vector::Vector::Image(_)
        | vector::Vector::Object(_) => None,
    }
}

fn is_same_vector(a: Option<&UnitVector>, b: Option<&UnitVector>) -> bool {
    match (a, b) {
        (None, None) => true,
        (Some(a), Some(b)) => a.cosine(b).is_some_and(|cosine| cosine > SAME_VECTOR),
        (Some(_), None) | (None, Some(_)) => false,
    }
}

impl StoredPoint {
    /// The point's vectors as a write takes them.
    fn vectors(&self, collection: &Collection) -> Vectors {
        let vector = self.vector.as_ref();
        let dense = vector.map(|vector| Vector::from(vector.to_vec()));
        let name = collection.vector_name.clone();
        let options = match (dense, name) {
            (Some(dense), None) if self.other_vectors.is_empty() && self.tags.is_none() => {
                vectors::VectorsOptions::Vector(dense)
            }
            (dense, name) => {
                let mut named = self.other_vectors.clone();
                let tags = self.tags.clone();
                named.extend(tags.map(|tags| (TAG_VECTOR.to_owned(), tag_vector::as_vector(tags))));
                named.extend(dense.map(|dense| (name.unwrap_or_default(), dense)));
                vectors::VectorsOptions::Vectors(NamedVectors { vectors: named })
            }
        };
        Vectors {
            vectors_options: Some(options),
        }
    }
}
