//! Points written, and read without a query.

use qdrant_client::qdrant::{
    CountPoints, CountResponse, CountResult, CreateFieldIndexCollection, CreateVectorNameRequest,
    DeletePoints, DeleteVectorNameRequest, FieldType, GetPoints, GetResponse, PayloadSchemaType,
    PointsIdsList, PointsOperationResponse, RetrievedPoint, ScrollPoints, ScrollResponse,
    SparseVectorParams, UpdateResult, UpdateStatus, UpsertPoints,
    create_vector_name_request::VectorConfig, points_selector::PointsSelectorOneOf,
};
use tonic::Status;

use super::{
    filter,
    payload::{self, PayloadSelection},
    query,
    store::{Point, Store, StoredId, bad_input, no_other_fields, unsupported},
    vectors::{Space, VectorSelection},
};

pub fn completed() -> PointsOperationResponse {
    PointsOperationResponse {
        result: Some(UpdateResult {
            status: UpdateStatus::Completed.into(),
            ..UpdateResult::default()
        }),
        ..PointsOperationResponse::default()
    }
}

/// Writes all points or, if one of them is invalid, none.
pub fn upsert(
    store: &mut Store,
    mut request: UpsertPoints,
) -> Result<PointsOperationResponse, Status> {
    let collection = store.collection(&std::mem::take(&mut request.collection_name))?;
    let points = std::mem::take(&mut request.points);
    request.wait = None;
    no_other_fields(&request)?;
    let points = points
        .into_iter()
        .map(|point| {
            let stored = Point {
                payload: point.payload,
                vectors: collection.vectors(point.vectors)?,
            };
            Ok((StoredId::read(point.id)?, stored))
        })
        .collect::<Result<Vec<_>, Status>>()?;
    collection.points.insert_all(points);
    Ok(completed())
}

pub fn delete(
    store: &mut Store,
    mut request: DeletePoints,
) -> Result<PointsOperationResponse, Status> {
    let collection = store.collection(&std::mem::take(&mut request.collection_name))?;
    let points = request.points.take();
    request.wait = None;
    no_other_fields(&request)?;
    match points.and_then(|points| points.points_selector_one_of) {
        Some(PointsSelectorOneOf::Points(PointsIdsList { ids })) => {
            for id in StoredId::read_all(ids)? {
                collection.points.remove(&id);
            }
            Ok(completed())
        }
        Some(PointsSelectorOneOf::Filter(_)) => Err(unsupported("deleting by a filter")),
        None => Err(Status::invalid_argument("PointsSelector is missing")),
    }
}

pub fn create_field_index(
    store: &mut Store,
    mut request: CreateFieldIndexCollection,
) -> Result<PointsOperationResponse, Status> {
    let collection = store.collection(&std::mem::take(&mut request.collection_name))?;
    let field = std::mem::take(&mut request.field_name);
    payload::path(&field)?;
    let kind = request.field_type.take();
    request.wait = None;
    no_other_fields(&request)?;
    let kind = kind.and_then(|kind| FieldType::try_from(kind).ok());
    let kind = kind.ok_or_else(|| unsupported("an index without a field type"))?;
    collection.indexes.insert(field, schema(kind));
    Ok(completed())
}

/// Adds a sparse vector to the schema. Points get it by later writes.
pub fn create_vector_name(
    store: &mut Store,
    mut request: CreateVectorNameRequest,
) -> Result<PointsOperationResponse, Status> {
    let collection = store.collection(&std::mem::take(&mut request.collection_name))?;
    let name = std::mem::take(&mut request.vector_name);
    let config = request.vector_config.take();
    request.wait = None;
    no_other_fields(&request)?;
    match config {
        Some(VectorConfig::SparseConfig(config)) => no_other_fields(&config)?,
        Some(VectorConfig::DenseConfig(_)) => return Err(unsupported("adding a dense vector")),
        None => {
            return Err(Status::invalid_argument(
                "vector_config is required (dense_config or sparse_config)",
            ));
        }
    }
    match collection.spaces.get(&name) {
        Some(Space::Sparse) => return Ok(completed()),
        Some(Space::Dense { .. } | Space::Multi) => {
            return Err(bad_input(format!(
                "Vector `{name}` already exists as a dense vector"
            )));
        }
        None => {}
    }
    let sparse = collection.sparse.get_or_insert_default();
    let params = SparseVectorParams::default();
    sparse.map.insert(name.clone(), params);
    collection.spaces.insert(name, Space::Sparse);
    Ok(completed())
}

/// Removes a sparse vector from the schema and all points.
pub fn delete_vector_name(
    store: &mut Store,
    mut request: DeleteVectorNameRequest,
) -> Result<PointsOperationResponse, Status> {
    let collection = store.collection(&std::mem::take(&mut request.collection_name))?;
    let name = std::mem::take(&mut request.vector_name);
    request.wait = None;
    no_other_fields(&request)?;
    match collection.spaces.remove(&name) {
        Some(Space::Sparse) => {}
        Some(Space::Dense { .. } | Space::Multi) => {
            return Err(unsupported("the removal of a dense vector"));
        }
        None => return Ok(completed()),
    }
    if let Some(sparse) = &mut collection.sparse {
        sparse.map.remove(&name);
    }
    collection.points.update_all(|point| {
        point.vectors.remove(&name);
    });
    Ok(completed())
}

/// The two enumerations differ by the unknown type of the second.
pub fn schema(kind: FieldType) -> PayloadSchemaType {
    PayloadSchemaType::try_from(i32::from(kind) + 1).expect("a schema for each field type")
}

/// What a reply contains of each point.
struct Selection {
    payload: PayloadSelection,
    vectors: VectorSelection,
    plain_vectors: bool,
}

impl Selection {
    fn of(&self, id: StoredId, point: &Point) -> RetrievedPoint {
        RetrievedPoint {
            id: Some(id.proto()),
            payload: self.payload.apply(&point.payload),
            vectors: self.vectors.apply(&point.vectors, self.plain_vectors),
            ..RetrievedPoint::default()
        }
    }
}

pub fn get(store: &mut Store, mut request: GetPoints) -> Result<GetResponse, Status> {
    let selection = Selection {
        payload: PayloadSelection::read(request.with_payload.take(), false)?,
        vectors: VectorSelection::read(request.with_vectors.take()),
        plain_vectors: store.plain_vectors,
    };
    let collection = store.collection(&std::mem::take(&mut request.collection_name))?;
    let ids = StoredId::read_all(std::mem::take(&mut request.ids))?;
    no_other_fields(&request)?;
    let found = ids
        .into_iter()
        .filter_map(|id| Some(selection.of(id, collection.points.get(&id)?)));
    Ok(GetResponse {
        result: found.collect(),
        ..GetResponse::default()
    })
}

pub fn scroll(store: &mut Store, mut request: ScrollPoints) -> Result<ScrollResponse, Status> {
    let selection = Selection {
        payload: PayloadSelection::read(request.with_payload.take(), true)?,
        vectors: VectorSelection::read(request.with_vectors.take()),
        plain_vectors: store.plain_vectors,
    };
    let collection = store.collection(&std::mem::take(&mut request.collection_name))?;
    let limit = query::limit(request.limit.take().map(u64::from))?;
    let offset = request.offset.take();
    let filter = request.filter.take().unwrap_or_default();
    no_other_fields(&request)?;
    let ids = collection.points.ids();
    let start = match offset {
        Some(offset) => {
            let offset = StoredId::read(Some(offset))?;
            ids.partition_point(|id| *id < offset)
        }
        None => 0,
    };
    let places = filter::places(&filter, collection)?;
    let mut rest = places
        .iter()
        .filter(|place| *place >= start)
        .map(|place| ids[place]);
    let page: Vec<StoredId> = rest.by_ref().take(limit).collect();
    let of_page = page
        .into_iter()
        .filter_map(|id| Some(selection.of(id, collection.points.get(&id)?)));
    Ok(ScrollResponse {
        next_page_offset: rest.next().map(StoredId::proto),
        result: of_page.collect(),
        ..ScrollResponse::default()
    })
}

/// Exact, also where an estimate would do.
pub fn count(store: &mut Store, mut request: CountPoints) -> Result<CountResponse, Status> {
    let collection = store.collection(&std::mem::take(&mut request.collection_name))?;
    let filter = request.filter.take().unwrap_or_default();
    request.exact = None;
    no_other_fields(&request)?;
    let found = filter::places(&filter, collection)?.iter().count();
    Ok(CountResponse {
        result: Some(CountResult {
            count: found as u64,
        }),
        ..CountResponse::default()
    })
}
