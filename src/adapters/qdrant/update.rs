//! Changes of some fields of items. Only what an update names is written, to points that
//! exist when it is written.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    error::Error,
};

use qdrant_client::{
    Payload,
    qdrant::{
        Condition, Filter, NamedVectors, PayloadIncludeSelector, PointId, PointVectors,
        PointsSelector, PointsUpdateOperation, SparseVector, UpdateBatchPoints, Vector, Vectors,
        VectorsSelector, WithPayloadSelector,
        points_selector::PointsSelectorOneOf,
        points_update_operation::{
            DeletePayload, DeleteVectors, Operation, SetPayload, UpdateVectors,
        },
        vectors,
        with_payload_selector::SelectorOptions,
    },
};
use serde_json::{Map, Value};
use tonic::{Code, Status};

use super::{
    collection::Collection,
    filter::json_path,
    ids::PointKey,
    lookup::{FoundPoints, PointRef},
    payload::{
        self, CONTENT_ID, DATES, HAS_IMAGE, IMAGE_URLS, LOCATIONS, TIMES, fields::is_item_field,
    },
    query,
    store::QdrantItemStore,
    tag_vector,
};
use crate::{
    domain::{
        item::{CatalogueItem, Item},
        item_update::{AttributeChange, AttributeUpdate, ItemField, ItemUpdate},
        vector::UnitVector,
    },
    ports::{Deadline, ItemRefusal, StoreError},
};

/// How often a batch is sent again as an item of it was removed meanwhile.
const MAX_REPEATS: usize = 3;

/// What is known of a point: those fields that the updates of a call need.
struct ReadPoint {
    item: Item,
    /// The names of its payload fields.
    fields: BTreeSet<String>,
}

/// The operations of a batch.
#[derive(Default)]
struct Batch {
    payload: Vec<Operation>,
    /// The last new vector of each point; `None` removes it.
    vectors: BTreeMap<PointKey, Option<UnitVector>>,
    /// The last new tags of each point.
    tags: BTreeMap<PointKey, SparseVector>,
}

impl QdrantItemStore {
    /// Applies updates in order; for each, whether its item exists.
    pub(super) async fn change(
        &self,
        updates: &[ItemUpdate],
    ) -> Result<Vec<Result<bool, ItemRefusal>>, StoreError> {
        let mut repeats = 0;
        loop {
            match self.change_once(updates).await {
                // Repeating is harmless: each operation sets values.
                Err(error) if repeats < MAX_REPEATS && is_removed_meanwhile(&error) => repeats += 1,
                result => return result,
            }
        }
    }

    async fn change_once(
        &self,
        updates: &[ItemUpdate],
    ) -> Result<Vec<Result<bool, ItemRefusal>>, StoreError> {
        let sets_vector = |update: &ItemUpdate| update.names(ItemField::Vector);
        let sets_any = |update: &ItemUpdate| sets_vector(update) || update.names(ItemField::Tags);
        let collection = if updates.iter().any(sets_any) {
            self.describe(Deadline::NONE).await?
        } else {
            self.collection(Deadline::NONE).await?
        };
        let refs: Vec<PointRef<'_>> = updates
            .iter()
            .map(|update| self.point_ref(update.id(), &collection))
            .collect();
        let points = self
            .retrieve_fields(
                &refs,
                needed_fields(updates),
                query::without_vectors(),
                Deadline::NONE,
            )
            .await?;
        let found = FoundPoints::new(&points);
        let mut stored: HashMap<PointKey, ReadPoint> = points
            .into_iter()
            .filter_map(|point| {
                let key = PointKey::read(point.id.as_ref())?;
                let fields = point.payload.keys().cloned().collect();
                let item = payload::read(key, point.payload, None);
                Some((key, ReadPoint { item, fields }))
            })
            .collect();

        let mut batch = Batch::default();
        let mut results = Vec::with_capacity(updates.len());
        for (update, point) in updates.iter().zip(&refs) {
            let key = found.keys_of(point).next();
            let point = key.and_then(|key| Some((key, stored.get_mut(&key)?)));
            // The point of this id may be another item's.
            let point = point.filter(|(_, point)| point.item.id == *update.id());
            let Some((key, before)) = point else {
                results.push(Ok(false));
                continue;
            };
            let after = update.apply(before.item.clone());
            let new_vector = after.vector.as_ref().filter(|_| sets_vector(update));
            if let Err(refusal) = self.accepts(new_vector, &collection) {
                results.push(Err(refusal));
                continue;
            }
            let prepared = CatalogueItem::new(after.clone(), &self.canonicalizer);
            batch.add(key, update, before, &prepared);
            before.item = after;
            results.push(Ok(true));
        }
        let done = self.send(batch, &collection).await;
        // Also after an error, as points may be changed.
        let read = found.keys().copied();
        let stale: Vec<PointKey> = refs.iter().map(|point| point.key).chain(read).collect();
        self.cache.invalidate(&stale);
        done?;
        Ok(results)
    }

    /// Sends a batch in one request.
    async fn send(&self, batch: Batch, collection: &Collection) -> Result<(), StoreError> {
        let operations = batch.operations(collection);
        if operations.is_empty() {
            return Ok(());
        }
        let operations = operations
            .into_iter()
            .map(|operation| PointsUpdateOperation {
                operation: Some(operation),
            });
        let request = UpdateBatchPoints {
            collection_name: self.name.clone(),
            wait: Some(true),
            operations: operations.collect(),
            ..UpdateBatchPoints::default()
        };
        let mut points = self.pool.points();
        let call = points.update_batch(request);
        self.call("update", Deadline::NONE, call).await.map(|_| ())
    }
}

/// Whether a batch failed as it had the vector of a point that no longer exists.
fn is_removed_meanwhile(error: &StoreError) -> bool {
    let mut next = error.source();
    while let Some(cause) = next {
        if let Some(status) = cause.downcast_ref::<Status>() {
            return status.code() == Code::NotFound
                && status.message().contains("No point with id");
        }
        next = cause.source();
    }
    false
}

/// The payload fields that the updates of a call need to know.
fn needed_fields(updates: &[ItemUpdate]) -> WithPayloadSelector {
    let mut fields = BTreeSet::from([CONTENT_ID]);
    for update in updates {
        let is_unknown = match update.attributes() {
            AttributeUpdate::Replace(_) => true,
            AttributeUpdate::Change(changes) => changes.iter().any(has_no_path),
        };
        if is_unknown {
            return SelectorOptions::Enable(true).into();
        }
        let named = update.fields().iter();
        fields.extend(named.flat_map(|field| payload::other_spellings(*field)));
        if update.names(ItemField::Location) != update.names(ItemField::OtherLocations) {
            fields.insert(LOCATIONS);
        }
        if update.names(ItemField::HasImage) && !update.names(ItemField::ImageUrl) {
            fields.extend(IMAGE_URLS);
        }
    }
    let fields = fields.into_iter().map(str::to_owned).collect();
    SelectorOptions::Include(PayloadIncludeSelector { fields }).into()
}

/// Whether Qdrant cannot address an attribute, whose outer name then has to be written as a
/// whole.
fn has_no_path(change: &AttributeChange) -> bool {
    change.path.len() > 1 && json_path(&change.path).is_none()
}

impl Batch {
    /// Adds the operations of an update of a point.
    fn add(
        &mut self,
        key: PointKey,
        update: &ItemUpdate,
        before: &ReadPoint,
        after: &CatalogueItem,
    ) {
        let mut set = Map::new();
        let mut inner = Vec::new();
        let mut removed = Vec::new();
        for field in update.fields() {
            for (name, value) in payload::values(after, *field) {
                match value {
                    Some(value) => {
                        set.insert(name.to_owned(), value);
                    }
                    None => removed.push(name.to_owned()),
                }
            }
            let others = payload::other_spellings(*field).iter();
            let stored = others.filter(|name| before.fields.contains(**name));
            removed.extend(stored.map(|name| (*name).to_owned()));
        }
        if update.names(ItemField::ImageUrl) && !after.image_url().is_empty() {
            set.insert(HAS_IMAGE.to_owned(), Value::Bool(true));
        }
        if update.names(ItemField::Years) {
            removed.push(format!("{TIMES}.{DATES}"));
        }
        if update.names(ItemField::Tags) {
            self.tags.insert(key, tag_vector::of_item(after));
        }
        if update.names(ItemField::Vector) {
            self.vectors.insert(key, after.vector().cloned());
        }
        match update.attributes() {
            AttributeUpdate::Replace(attributes) => {
                let gone = before.item.attributes.keys();
                for name in gone.filter(|name| !attributes.contains_key(*name)) {
                    remove(name, &mut removed, &mut set);
                }
                let own = attributes.iter().filter(|(name, _)| !is_item_field(name));
                set.extend(own.map(|(name, value)| (name.clone(), value.clone())));
            }
            AttributeUpdate::Change(changes) => {
                for change in changes {
                    let Some((last, outer)) = change.path.split_last() else {
                        continue;
                    };
                    let first = outer.first().unwrap_or(last);
                    if is_item_field(first) {
                        // An attribute cannot replace a field of the item itself.
                        continue;
                    }
                    let path = json_path(&change.path);
                    match (&change.value, path, json_path(outer)) {
                        (Some(value), ..) if outer.is_empty() => {
                            set.insert(last.clone(), value.clone());
                        }
                        (None, ..) if outer.is_empty() => remove(last, &mut removed, &mut set),
                        (Some(value), Some(_), Some(outer)) => {
                            let value = payload::with_integers(value);
                            inner.push((outer, Map::from_iter([(last.clone(), value)])));
                        }
                        (None, Some(path), _) => removed.push(path),
                        (..) => {
                            let whole = after.attribute(first);
                            set.extend(whole.map(|value| (first.clone(), value.clone())));
                        }
                    }
                }
            }
        }
        for (name, value) in &mut set {
            if !is_item_field(name) {
                *value = payload::with_integers(value);
            }
        }
        if !removed.is_empty() {
            self.payload.push(Operation::DeletePayload(DeletePayload {
                keys: removed,
                points_selector: Some(existing([key])),
                ..DeletePayload::default()
            }));
        }
        let outer = (!set.is_empty()).then_some((None, set));
        let inner = inner.into_iter().map(|(path, set)| (Some(path), set));
        for (path, set) in outer.into_iter().chain(inner) {
            self.payload.push(Operation::SetPayload(SetPayload {
                payload: Payload::from(set).into(),
                key: path,
                points_selector: Some(existing([key])),
                ..SetPayload::default()
            }));
        }
    }

    /// The operations, in order.
    fn operations(self, collection: &Collection) -> Vec<Operation> {
        let mut operations = self.payload;
        let name = collection.vector_name.clone();
        let mut without = Vec::new();
        let mut with = Vec::new();
        for (key, vector) in self.vectors {
            let Some(vector) = vector else {
                without.push(key);
                continue;
            };
            let vector = Vector::from(vector.to_vec());
            let options = match &name {
                None => vectors::VectorsOptions::Vector(vector),
                Some(name) => vectors::VectorsOptions::Vectors(NamedVectors {
                    vectors: HashMap::from([(name.clone(), vector)]),
                }),
            };
            with.push(PointVectors {
                id: Some(key.into()),
                vectors: Some(Vectors {
                    vectors_options: Some(options),
                }),
            });
        }
        if collection.has_tag_vector {
            with.extend(self.tags.into_iter().map(|(key, tags)| PointVectors {
                id: Some(key.into()),
                vectors: Some(tag_vector::alone(tags)),
            }));
        }
        if !without.is_empty() && collection.vector_size.is_some() {
            operations.push(Operation::DeleteVectors(DeleteVectors {
                points_selector: Some(existing(without)),
                vectors: Some(VectorsSelector {
                    names: vec![name.unwrap_or_default()],
                }),
                ..DeleteVectors::default()
            }));
        }
        if !with.is_empty() {
            // Fails if a point does not exist, after writing the others: it is the last.
            operations.push(Operation::UpdateVectors(UpdateVectors {
                points: with,
                ..UpdateVectors::default()
            }));
        }
        operations
    }
}

/// Selects those of the points that exist when the operation runs. A selection by ids
/// would fail if one of them does not.
fn existing(keys: impl IntoIterator<Item = PointKey>) -> PointsSelector {
    let ids = Condition::has_id(keys.into_iter().map(PointId::from));
    PointsSelector {
        points_selector_one_of: Some(PointsSelectorOneOf::Filter(Filter::must([ids]))),
    }
}

/// Removes an attribute. Where it has no path, a null that is merged into the payload
/// removes it.
fn remove(name: &str, removed: &mut Vec<String>, set: &mut Map<String, Value>) {
    match json_path(&[name.to_owned()]) {
        Some(path) => removed.push(path),
        None => {
            set.insert(name.to_owned(), Value::Null);
        }
    }
}
