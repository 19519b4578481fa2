//! Points written, and read without a query.

use qdrant_client::qdrant::{
    CountPoints, CountResponse, CountResult, CreateFieldIndexCollection,
    DeleteFieldIndexCollection, DeletePayloadPoints, DeletePoints, Filter, GetPoints, GetResponse,
    PayloadSchemaInfo, PointStruct, PointVectors, PointsIdsList, PointsOperationResponse,
    PointsSelector, PointsUpdateOperation, RetrievedPoint, ScrollPoints, ScrollResponse,
    SetPayloadPoints, ShardKeySelector, UpdateBatchPoints, UpdateBatchResponse, UpdateMode,
    UpdatePointVectors, UpdateResult, UpdateStatus, UpsertPoints,
    points_selector::PointsSelectorOneOf, points_update_operation::Operation,
};
use tonic::Status;

use super::{
    filter::{self, Subject},
    payload::{self, Path, Selection},
    query,
    store::{Collection, Id, Point, Store, not_found, unsupported},
    strict::Strict,
    vectors::VectorSelection,
};

type Written = Result<PointsOperationResponse, Status>;

fn response(collection: &mut Collection, wait: Option<bool>) -> PointsOperationResponse {
    PointsOperationResponse {
        result: Some(result(collection, wait)),
        ..PointsOperationResponse::default()
    }
}

fn result(collection: &mut Collection, wait: Option<bool>) -> UpdateResult {
    collection.operations += 1;
    let status = if wait == Some(true) {
        UpdateStatus::Completed
    } else {
        UpdateStatus::Acknowledged
    };
    UpdateResult {
        operation_id: Some(collection.operations),
        status: status.into(),
    }
}

fn unsharded(selector: Option<&ShardKeySelector>) -> Result<(), Status> {
    match selector {
        Some(_) => Err(unsupported("shard keys")),
        None => Ok(()),
    }
}

fn unconditional(filter: Option<&Filter>) -> Result<(), Status> {
    match filter {
        Some(_) => Err(unsupported("update_filter")),
        None => Ok(()),
    }
}

pub fn upsert(store: &mut Store, request: UpsertPoints) -> Written {
    unsharded(request.shard_key_selector.as_ref())?;
    unconditional(request.update_filter.as_ref())?;
    if request.update_mode() != UpdateMode::Upsert {
        return Err(unsupported("update modes other than upsert"));
    }
    let collection = store.collection(&request.collection_name)?;
    put(collection, request.points)?;
    Ok(response(collection, request.wait))
}

/// All points or, if one of them is wrong, none.
fn put(collection: &mut Collection, points: Vec<PointStruct>) -> Result<(), Status> {
    if let Some(strict) = Strict::of(collection) {
        strict.upsert(points.len())?;
    }
    let points = points
        .into_iter()
        .map(|point| {
            let stored = Point {
                payload: payload::from_proto(point.payload)?,
                vectors: collection.vectors(point.vectors)?,
                version: collection.operations + 1,
            };
            Ok((Id::read(point.id)?, stored))
        })
        .collect::<Result<Vec<_>, Status>>()?;
    collection.points.extend(points);
    Ok(())
}

/// The points meant: ids as they are given, or those that match a filter.
fn selected(collection: &Collection, points: Option<PointsSelector>) -> Result<Vec<Id>, Status> {
    match points.and_then(|points| points.points_selector_one_of) {
        None => Err(Status::invalid_argument("PointsSelector is missing")),
        Some(PointsSelectorOneOf::Points(PointsIdsList { ids })) => Id::read_all(ids),
        Some(PointsSelectorOneOf::Filter(filter)) => {
            if let Some(strict) = Strict::of(collection) {
                strict.write_filter(Some(&filter))?;
            }
            matching(collection, &filter)
        }
    }
}

fn matching(collection: &Collection, filter: &Filter) -> Result<Vec<Id>, Status> {
    let test = filter::compile(filter, collection)?;
    let points = collection.points.iter().enumerate();
    Ok(points
        .filter(|(place, (_, point))| test(Subject::new(*place, point)))
        .map(|(_, (id, _))| *id)
        .collect())
}

/// Changes points that have to be there.
fn change(
    collection: &mut Collection,
    ids: &[Id],
    mut with: impl FnMut(&mut Point),
) -> Result<(), Status> {
    let version = collection.operations + 1;
    let mut missing = None;
    for id in ids {
        match collection.points.get_mut(id) {
            Some(point) => {
                with(point);
                point.version = version;
            }
            None => missing = missing.or(Some(id)),
        }
    }
    match missing {
        Some(id) => Err(not_found(format!("No point with id {id} found"))),
        None => Ok(()),
    }
}

pub fn delete(store: &mut Store, request: DeletePoints) -> Written {
    unsharded(request.shard_key_selector.as_ref())?;
    let collection = store.collection(&request.collection_name)?;
    remove(collection, request.points)?;
    Ok(response(collection, request.wait))
}

fn remove(collection: &mut Collection, points: Option<PointsSelector>) -> Result<(), Status> {
    for id in selected(collection, points)? {
        collection.points.remove(&id);
    }
    Ok(())
}

pub fn update_vectors(store: &mut Store, request: UpdatePointVectors) -> Written {
    unsharded(request.shard_key_selector.as_ref())?;
    unconditional(request.update_filter.as_ref())?;
    let collection = store.collection(&request.collection_name)?;
    put_vectors(collection, request.points)?;
    Ok(response(collection, request.wait))
}

fn put_vectors(collection: &mut Collection, points: Vec<PointVectors>) -> Result<(), Status> {
    let changes = points
        .into_iter()
        .map(|point| Ok((Id::read(point.id)?, collection.vectors(point.vectors)?)))
        .collect::<Result<Vec<_>, Status>>()?;
    for (id, vectors) in changes {
        change(collection, &[id], |point| {
            point.vectors.extend(vectors.clone());
        })?;
    }
    Ok(())
}

pub fn set_payload(store: &mut Store, request: SetPayloadPoints) -> Written {
    write_payload(store, request, merge)
}

pub fn overwrite_payload(store: &mut Store, request: SetPayloadPoints) -> Written {
    write_payload(store, request, overwrite)
}

type WritePayload = fn(&mut Point, &payload::Payload);

/// A null takes the field away.
fn merge(point: &mut Point, with: &payload::Payload) {
    for (key, value) in with {
        if value.is_null() {
            point.payload.remove(key);
        } else {
            point.payload.insert(key.clone(), value.clone());
        }
    }
}

fn overwrite(point: &mut Point, with: &payload::Payload) {
    point.payload = with.clone();
}

fn write_payload(store: &mut Store, request: SetPayloadPoints, with: WritePayload) -> Written {
    unsharded(request.shard_key_selector.as_ref())?;
    if request.key.is_some() {
        return Err(unsupported("a payload set under a key"));
    }
    let collection = store.collection(&request.collection_name)?;
    let ids = selected(collection, request.points_selector)?;
    let written = payload::from_proto(request.payload)?;
    change(collection, &ids, |point| with(point, &written))?;
    Ok(response(collection, request.wait))
}

pub fn delete_payload(store: &mut Store, request: DeletePayloadPoints) -> Written {
    unsharded(request.shard_key_selector.as_ref())?;
    let collection = store.collection(&request.collection_name)?;
    let ids = selected(collection, request.points_selector)?;
    let paths = request.keys.iter().map(|key| Path::parse(key));
    let paths = paths.collect::<Result<Vec<_>, Status>>()?;
    change(collection, &ids, |point| {
        paths
            .iter()
            .for_each(|path| path.remove(&mut point.payload));
    })?;
    Ok(response(collection, request.wait))
}

/// Each operation in its turn, as the call of its own would do it.
pub fn update_batch(
    store: &mut Store,
    request: UpdateBatchPoints,
) -> Result<UpdateBatchResponse, Status> {
    let name = &request.collection_name;
    let wait = request.wait;
    store.collection(name)?;
    let mut done = UpdateBatchResponse::default();
    for PointsUpdateOperation { operation } in request.operations {
        let collection_name = name.clone();
        let written = match operation {
            Some(Operation::Upsert(of)) => upsert(
                store,
                UpsertPoints {
                    collection_name,
                    wait,
                    points: of.points,
                    shard_key_selector: of.shard_key_selector,
                    update_filter: of.update_filter,
                    update_mode: of.update_mode,
                    ..UpsertPoints::default()
                },
            ),
            Some(Operation::DeletePoints(of)) => delete(
                store,
                DeletePoints {
                    collection_name,
                    wait,
                    points: of.points,
                    shard_key_selector: of.shard_key_selector,
                    ..DeletePoints::default()
                },
            ),
            Some(Operation::SetPayload(of)) => set_payload(
                store,
                SetPayloadPoints {
                    collection_name,
                    wait,
                    payload: of.payload,
                    points_selector: of.points_selector,
                    shard_key_selector: of.shard_key_selector,
                    key: of.key,
                    ..SetPayloadPoints::default()
                },
            ),
            Some(Operation::OverwritePayload(of)) => overwrite_payload(
                store,
                SetPayloadPoints {
                    collection_name,
                    wait,
                    payload: of.payload,
                    points_selector: of.points_selector,
                    shard_key_selector: of.shard_key_selector,
                    key: of.key,
                    ..SetPayloadPoints::default()
                },
            ),
            Some(Operation::DeletePayload(of)) => delete_payload(
                store,
                DeletePayloadPoints {
                    collection_name,
                    wait,
                    keys: of.keys,
                    points_selector: of.points_selector,
                    shard_key_selector: of.shard_key_selector,
                    ..DeletePayloadPoints::default()
                },
            ),
            Some(Operation::UpdateVectors(of)) => update_vectors(
                store,
                UpdatePointVectors {
                    collection_name,
                    wait,
                    points: of.points,
                    shard_key_selector: of.shard_key_selector,
                    update_filter: of.update_filter,
                    ..UpdatePointVectors::default()
                },
            ),
            Some(_) => Err(unsupported("this operation of a batch")),
            None => Err(Status::invalid_argument("Operation is missing")),
        };
        done.result.extend(written?.result);
    }
    Ok(done)
}

pub fn create_field_index(store: &mut Store, request: CreateFieldIndexCollection) -> Written {
    let collection = store.collection(&request.collection_name)?;
    Path::parse(&request.field_name)?;
    let Some(field_type) = request.field_type else {
        return Err(unsupported("an index without a field type"));
    };
    let index = PayloadSchemaInfo {
        // The two enumerations differ by their unknown type.
        data_type: field_type + 1,
        params: request.field_index_params,
        points: None,
    };
    collection.indexes.insert(request.field_name, index);
    Ok(response(collection, request.wait))
}

pub fn delete_field_index(store: &mut Store, request: DeleteFieldIndexCollection) -> Written {
    let collection = store.collection(&request.collection_name)?;
    collection.indexes.remove(&request.field_name);
    Ok(response(collection, request.wait))
}

struct Output {
    payload: Selection,
    vectors: VectorSelection,
    plain_vectors: bool,
}

impl Output {
    fn of(&self, id: Id, point: &Point) -> RetrievedPoint {
        RetrievedPoint {
            id: Some(id.proto()),
            payload: self.payload.apply(&point.payload),
            vectors: self.vectors.apply(&point.vectors, self.plain_vectors),
            ..RetrievedPoint::default()
        }
    }
}

pub fn get(store: &mut Store, request: GetPoints) -> Result<GetResponse, Status> {
    unsharded(request.shard_key_selector.as_ref())?;
    let output = Output {
        payload: Selection::read(request.with_payload, false)?,
        vectors: VectorSelection::read(request.with_vectors),
        plain_vectors: store.plain_vectors,
    };
    let collection = store.collection(&request.collection_name)?;
    let found = Id::read_all(request.ids)?
        .into_iter()
        .filter_map(|id| Some(output.of(id, collection.points.get(&id)?)))
        .collect();
    Ok(GetResponse {
        result: found,
        ..GetResponse::default()
    })
}

pub fn scroll(store: &mut Store, request: ScrollPoints) -> Result<ScrollResponse, Status> {
    unsharded(request.shard_key_selector.as_ref())?;
    if request.order_by.is_some() {
        return Err(unsupported("order_by"));
    }
    let output = Output {
        payload: Selection::read(request.with_payload, true)?,
        vectors: VectorSelection::read(request.with_vectors),
        plain_vectors: store.plain_vectors,
    };
    let collection = store.collection(&request.collection_name)?;
    let limit = query::nonzero(request.limit.map(u64::from))?;
    if let Some(strict) = Strict::of(collection) {
        strict.limit(Some(limit))?;
        strict.read_filter(request.filter.as_ref())?;
    }
    let from = match request.offset {
        Some(offset) => Id::read(Some(offset))?,
        None => Id::Number(0),
    };
    let found = matching(collection, &request.filter.unwrap_or_default())?;
    let mut left = found.into_iter().filter(|id| *id >= from);
    let page: Vec<Id> = left.by_ref().take(limit as usize).collect();
    Ok(ScrollResponse {
        next_page_offset: left.next().map(Id::proto),
        result: page
            .into_iter()
            .map(|id| output.of(id, &collection.points[&id]))
            .collect(),
        ..ScrollResponse::default()
    })
}

/// Exact whatever was asked for: an approximate count may be exact.
pub fn count(store: &mut Store, request: CountPoints) -> Result<CountResponse, Status> {
    unsharded(request.shard_key_selector.as_ref())?;
    let collection = store.collection(&request.collection_name)?;
    if let Some(strict) = Strict::of(collection) {
        strict.read_filter(request.filter.as_ref())?;
        strict.exact(Some(request.exact.unwrap_or(true)))?;
    }
    let found = matching(collection, &request.filter.unwrap_or_default())?;
    Ok(CountResponse {
        result: Some(CountResult {
            count: found.len() as u64,
        }),
        ..CountResponse::default()
    })
}
