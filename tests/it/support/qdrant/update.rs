//! Batches of changes of points that exist. As in Qdrant, operations run one after the
//! other, a selection by a filter is of the points that exist at that moment, and new
//! vectors for a point that does not exist fail the rest of the batch.

use qdrant_client::qdrant::{
    PointVectors, PointsOperationResponse, PointsSelector, PointsUpdateOperation,
    UpdateBatchPoints, UpdateBatchResponse, UpdatePointVectors, UpdateResult, UpdateStatus,
    points_selector::PointsSelectorOneOf,
    points_update_operation::{DeletePayload, DeleteVectors, Operation, SetPayload, UpdateVectors},
};
use tonic::Status;

use super::{
    filter, payload,
    points::completed,
    store::{Store, StoredCollection, StoredId, no_other_fields, unsupported},
};

pub fn batch(
    store: &mut Store,
    mut request: UpdateBatchPoints,
) -> Result<UpdateBatchResponse, Status> {
    let collection = store.collection(&std::mem::take(&mut request.collection_name))?;
    let operations = std::mem::take(&mut request.operations);
    request.wait = None;
    no_other_fields(&request)?;
    let results = operations.into_iter().map(|operation| {
        apply(collection, operation)?;
        Ok(UpdateResult {
            status: UpdateStatus::Completed.into(),
            ..UpdateResult::default()
        })
    });
    Ok(UpdateBatchResponse {
        result: results.collect::<Result<_, Status>>()?,
        ..UpdateBatchResponse::default()
    })
}

fn apply(
    collection: &mut StoredCollection,
    operation: PointsUpdateOperation,
) -> Result<(), Status> {
    match operation.operation {
        Some(Operation::SetPayload(set)) => set_payload(collection, set),
        Some(Operation::DeletePayload(delete)) => delete_payload(collection, delete),
        Some(Operation::UpdateVectors(update)) => update_vectors(collection, update),
        Some(Operation::DeleteVectors(delete)) => delete_vectors(collection, delete),
        other => Err(unsupported(format!("the operation {other:?}"))),
    }
}

/// The points of a selection by a filter, all of which exist.
fn selected(
    collection: &StoredCollection,
    selector: Option<PointsSelector>,
) -> Result<Vec<StoredId>, Status> {
    match selector.and_then(|selector| selector.points_selector_one_of) {
        Some(PointsSelectorOneOf::Filter(filter)) => {
            let places = filter::places(&filter, collection)?;
            let ids = collection.points.ids();
            Ok(places.iter().map(|place| ids[place]).collect())
        }
        other => Err(unsupported(format!("the selection {other:?}"))),
    }
}

fn set_payload(collection: &mut StoredCollection, mut set: SetPayload) -> Result<(), Status> {
    let path = match set.key.take() {
        Some(key) => payload::path(&key)?,
        None => Vec::new(),
    };
    let given = std::mem::take(&mut set.payload);
    for id in selected(collection, set.points_selector.take())? {
        if let Some(point) = collection.points.get_mut(&id) {
            payload::merge(&mut point.payload, &path, given.clone());
        }
    }
    no_other_fields(&set)
}

fn delete_payload(
    collection: &mut StoredCollection,
    mut delete: DeletePayload,
) -> Result<(), Status> {
    let paths = std::mem::take(&mut delete.keys);
    let paths = paths.iter().map(|key| payload::path(key));
    let paths = paths.collect::<Result<Vec<_>, Status>>()?;
    for id in selected(collection, delete.points_selector.take())? {
        if let Some(point) = collection.points.get_mut(&id) {
            for path in &paths {
                payload::remove(&mut point.payload, path);
            }
        }
    }
    no_other_fields(&delete)
}

fn update_vectors(
    collection: &mut StoredCollection,
    mut update: UpdateVectors,
) -> Result<(), Status> {
    let points = std::mem::take(&mut update.points);
    no_other_fields(&update)?;
    write_vectors(collection, points, |_| true)
}

/// Writes vectors of points that meet the filter, if there is one, and keeps the others.
pub fn vectors(
    store: &mut Store,
    mut request: UpdatePointVectors,
) -> Result<PointsOperationResponse, Status> {
    let collection = store.collection(&std::mem::take(&mut request.collection_name))?;
    let points = std::mem::take(&mut request.points);
    let filter = request.update_filter.take().unwrap_or_default();
    request.wait = None;
    no_other_fields(&request)?;
    let places = filter::places(&filter, collection)?;
    let ids = collection.points.ids().to_vec();
    // One that does not exist is an error, whatever the filter.
    let is_selected = |id: &StoredId| {
        let place = ids.binary_search(id);
        place.map_or(true, |place| places.contains(place))
    };
    write_vectors(collection, points, is_selected)?;
    Ok(completed())
}

fn write_vectors(
    collection: &mut StoredCollection,
    points: Vec<PointVectors>,
    is_selected: impl Fn(&StoredId) -> bool,
) -> Result<(), Status> {
    let points = points
        .into_iter()
        .map(|point| {
            Ok((
                StoredId::read(point.id)?,
                collection.vectors(point.vectors)?,
            ))
        })
        .collect::<Result<Vec<_>, Status>>()?;
    let mut missing = None;
    for (id, vectors) in points.into_iter().filter(|(id, _)| is_selected(id)) {
        match collection.points.get_mut(&id) {
            Some(point) => point.vectors.extend(vectors),
            None => missing = Some(id),
        }
    }
    match missing {
        None => Ok(()),
        Some(id) => {
            let id = match id {
                StoredId::Number(number) => number.to_string(),
                StoredId::Uuid(uuid) => uuid.to_string(),
            };
            Err(Status::not_found(format!(
                "Not found: No point with id {id} found"
            )))
        }
    }
}

fn delete_vectors(
    collection: &mut StoredCollection,
    mut delete: DeleteVectors,
) -> Result<(), Status> {
    let names = delete.vectors.take().unwrap_or_default().names;
    for name in &names {
        if !collection.spaces.contains_key(name) {
            return Err(super::store::bad_input(format!(
                "Not existing vector name error: {name}"
            )));
        }
    }
    for id in selected(collection, delete.points_selector.take())? {
        if let Some(point) = collection.points.get_mut(&id) {
            for name in &names {
                point.vectors.remove(name);
            }
        }
    }
    no_other_fields(&delete)
}
