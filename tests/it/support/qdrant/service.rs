//! The gRPC services, and every call's way through the faults to its answer.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
};

use qdrant_client::qdrant as q;
use qdrant_client::qdrant::{
    collections_server::Collections, points_server::Points, qdrant_server::Qdrant,
};
use tonic::{Request, Response, Status, metadata::MetadataMap};

use super::{
    faults::{Calls, Fault, Faults},
    points, query,
    store::{Collection, Store, bad_input, unsupported},
    strict::{self, Strict},
};

/// What a server is while it runs, stops and runs again.
#[derive(Debug, Default)]
pub struct State {
    store: Mutex<Store>,
    faults: Mutex<Faults>,
    calls: Mutex<Calls>,
}

impl State {
    pub fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap()
    }

    pub fn faults(&self) -> MutexGuard<'_, Faults> {
        self.faults.lock().unwrap()
    }

    pub fn calls(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap()
    }
}

#[derive(Debug, Clone)]
pub struct Service(pub Arc<State>);

type Handler<Q, A> = fn(&mut Store, Q) -> Result<A, Status>;

impl Service {
    async fn answer<Q, A>(
        &self,
        rpc: &'static str,
        request: Request<Q>,
        handler: Handler<Q, A>,
    ) -> Result<Response<A>, Status>
    where
        Q: Clone + Send + 'static,
        A: Default,
    {
        let (metadata, _, message) = request.into_parts();
        self.0.calls().note(rpc, &message);
        let (delay, fault) = self.0.faults().next(rpc);
        tokio::time::sleep(delay).await;
        match fault {
            Some(Fault::Status(status)) => return Err(status),
            Some(Fault::Hang) => std::future::pending().await,
            Some(Fault::Empty) => return Ok(Response::new(A::default())),
            None => {}
        }
        self.authenticate(&metadata)?;
        let answer = handler(&mut self.0.store(), message);
        let anew = self.0.faults().anew.take_if(|(of, ..)| of == rpc);
        if let Some((_, collection, size)) = anew {
            self.0.store().make_anew(collection, size);
        }
        Ok(Response::new(answer?))
    }

    fn authenticate(&self, metadata: &MetadataMap) -> Result<(), Status> {
        let faults = self.0.faults();
        let Some(wanted) = &faults.api_key else {
            return Ok(());
        };
        let text = |name| metadata.get(name).and_then(|value| value.to_str().ok());
        let bearer = text("authorization").and_then(|value| value.strip_prefix("Bearer "));
        match text("api-key").or(bearer) {
            None => Err(Status::unauthenticated(
                "Must provide an API key or an Authorization bearer token",
            )),
            Some(given) if given == wanted => Ok(()),
            Some(_) => Err(Status::unauthenticated("Invalid API key or JWT")),
        }
    }
}

/// The methods of a service: those with a handler, and those without.
macro_rules! serve {
    (
        $service:ident does {
            $($method:ident $name:literal ($request:ident) -> $response:ident = $handler:expr;)*
        }
        does_not {
            $($other:ident $other_name:literal ($other_request:ident) -> $other_response:ident;)*
        }
    ) => {
        #[tonic::async_trait]
        impl $service for Service {
            $(
                async fn $method(
                    &self,
                    request: Request<q::$request>,
                ) -> Result<Response<q::$response>, Status> {
                    self.answer($name, request, $handler).await
                }
            )*
            $(
                async fn $other(
                    &self,
                    request: Request<q::$other_request>,
                ) -> Result<Response<q::$other_response>, Status> {
                    let refuse = |_: &mut Store, _| Err(unsupported($other_name));
                    self.answer($other_name, request, refuse).await
                }
            )*
        }
    };
}

serve! {
    Qdrant does {
        health_check "HealthCheck" (HealthCheckRequest) -> HealthCheckReply = health_check;
    }
    does_not {
    }
}

serve! {
    Collections does {
        get "GetCollection" (GetCollectionInfoRequest) -> GetCollectionInfoResponse = describe;
        list "List" (ListCollectionsRequest) -> ListCollectionsResponse = list;
        create "CreateCollection" (CreateCollection) -> CollectionOperationResponse = create;
        delete "DeleteCollection" (DeleteCollection) -> CollectionOperationResponse = delete;
        collection_exists "CollectionExists" (CollectionExistsRequest)
            -> CollectionExistsResponse = exists;
    }
    does_not {
        update "UpdateCollection" (UpdateCollection) -> CollectionOperationResponse;
        update_aliases "UpdateAliases" (ChangeAliases) -> CollectionOperationResponse;
        list_collection_aliases "ListCollectionAliases" (ListCollectionAliasesRequest)
            -> ListAliasesResponse;
        list_aliases "ListAliases" (ListAliasesRequest) -> ListAliasesResponse;
        collection_cluster_info "CollectionClusterInfo" (CollectionClusterInfoRequest)
            -> CollectionClusterInfoResponse;
        update_collection_cluster_setup "UpdateCollectionClusterSetup"
            (UpdateCollectionClusterSetupRequest) -> UpdateCollectionClusterSetupResponse;
        create_shard_key "CreateShardKey" (CreateShardKeyRequest) -> CreateShardKeyResponse;
        delete_shard_key "DeleteShardKey" (DeleteShardKeyRequest) -> DeleteShardKeyResponse;
        list_shard_keys "ListShardKeys" (ListShardKeysRequest) -> ListShardKeysResponse;
    }
}

serve! {
    Points does {
        upsert "Upsert" (UpsertPoints) -> PointsOperationResponse = points::upsert;
        delete "Delete" (DeletePoints) -> PointsOperationResponse = points::delete;
        get "Get" (GetPoints) -> GetResponse = points::get;
        update_vectors "UpdateVectors" (UpdatePointVectors)
            -> PointsOperationResponse = points::update_vectors;
        set_payload "SetPayload" (SetPayloadPoints) -> PointsOperationResponse = points::set_payload;
        overwrite_payload "OverwritePayload" (SetPayloadPoints)
            -> PointsOperationResponse = points::overwrite_payload;
        delete_payload "DeletePayload" (DeletePayloadPoints)
            -> PointsOperationResponse = points::delete_payload;
        create_field_index "CreateFieldIndex" (CreateFieldIndexCollection)
            -> PointsOperationResponse = points::create_field_index;
        delete_field_index "DeleteFieldIndex" (DeleteFieldIndexCollection)
            -> PointsOperationResponse = points::delete_field_index;
        scroll "Scroll" (ScrollPoints) -> ScrollResponse = points::scroll;
        count "Count" (CountPoints) -> CountResponse = points::count;
        update_batch "UpdateBatch" (UpdateBatchPoints) -> UpdateBatchResponse = points::update_batch;
        query "Query" (QueryPoints) -> QueryResponse = query;
        query_batch "QueryBatch" (QueryBatchPoints) -> QueryBatchResponse = query_batch;
    }
    does_not {
        delete_vectors "DeleteVectors" (DeletePointVectors) -> PointsOperationResponse;
        clear_payload "ClearPayload" (ClearPayloadPoints) -> PointsOperationResponse;
        create_vector_name "CreateVectorName" (CreateVectorNameRequest) -> PointsOperationResponse;
        delete_vector_name "DeleteVectorName" (DeleteVectorNameRequest) -> PointsOperationResponse;
        search "Search" (SearchPoints) -> SearchResponse;
        search_batch "SearchBatch" (SearchBatchPoints) -> SearchBatchResponse;
        search_groups "SearchGroups" (SearchPointGroups) -> SearchGroupsResponse;
        recommend "Recommend" (RecommendPoints) -> RecommendResponse;
        recommend_batch "RecommendBatch" (RecommendBatchPoints) -> RecommendBatchResponse;
        recommend_groups "RecommendGroups" (RecommendPointGroups) -> RecommendGroupsResponse;
        discover "Discover" (DiscoverPoints) -> DiscoverResponse;
        discover_batch "DiscoverBatch" (DiscoverBatchPoints) -> DiscoverBatchResponse;
        query_groups "QueryGroups" (QueryPointGroups) -> QueryGroupsResponse;
        facet "Facet" (FacetCounts) -> FacetResponse;
        search_matrix_pairs "SearchMatrixPairs" (SearchMatrixPoints) -> SearchMatrixPairsResponse;
        search_matrix_offsets "SearchMatrixOffsets" (SearchMatrixPoints)
            -> SearchMatrixOffsetsResponse;
    }
}

fn health_check(
    store: &mut Store,
    _: q::HealthCheckRequest,
) -> Result<q::HealthCheckReply, Status> {
    Ok(q::HealthCheckReply {
        title: "qdrant - vector search engine".to_owned(),
        version: store.version.clone().unwrap_or("1.20.0".to_owned()),
        commit: None,
    })
}

fn describe(
    store: &mut Store,
    request: q::GetCollectionInfoRequest,
) -> Result<q::GetCollectionInfoResponse, Status> {
    let collection = store.collection(&request.collection_name)?;
    let with_field = |field: &str| {
        let points = collection.points.values();
        points
            .filter(|point| point.payload.contains_key(field))
            .count() as u64
    };
    let payload_schema: HashMap<String, q::PayloadSchemaInfo> = collection
        .indexes
        .iter()
        .map(|(field, index)| {
            let points = Some(with_field(field));
            let index = q::PayloadSchemaInfo {
                points,
                ..index.clone()
            };
            (field.clone(), index)
        })
        .collect();
    let info = q::CollectionInfo {
        status: collection.status.into(),
        optimizer_status: Some(q::OptimizerStatus {
            ok: true,
            error: String::new(),
        }),
        segments_count: 1,
        config: Some(q::CollectionConfig {
            params: Some(q::CollectionParams {
                shard_number: 1,
                vectors_config: Some(collection.config.clone()),
                sparse_vectors_config: collection.sparse.clone(),
                replication_factor: Some(1),
                write_consistency_factor: Some(1),
                ..q::CollectionParams::default()
            }),
            strict_mode_config: collection.strict.clone(),
            ..q::CollectionConfig::default()
        }),
        payload_schema,
        points_count: Some(collection.points.len() as u64),
        indexed_vectors_count: Some(0),
        ..q::CollectionInfo::default()
    };
    Ok(q::GetCollectionInfoResponse {
        result: Some(info),
        time: 0.0,
    })
}

fn list(
    store: &mut Store,
    _: q::ListCollectionsRequest,
) -> Result<q::ListCollectionsResponse, Status> {
    let names = store.collections.keys().cloned();
    Ok(q::ListCollectionsResponse {
        collections: names
            .map(|name| q::CollectionDescription { name })
            .collect(),
        time: 0.0,
    })
}

fn exists(
    store: &mut Store,
    request: q::CollectionExistsRequest,
) -> Result<q::CollectionExistsResponse, Status> {
    let exists = store.collections.contains_key(&request.collection_name);
    Ok(q::CollectionExistsResponse {
        result: Some(q::CollectionExists { exists }),
        time: 0.0,
    })
}

fn create(
    store: &mut Store,
    request: q::CreateCollection,
) -> Result<q::CollectionOperationResponse, Status> {
    if let Some(config) = &request.strict_mode_config {
        strict::supported(config)?;
    }
    let name = request.collection_name;
    if store.collections.contains_key(&name) {
        let status = bad_input(format!("Collection `{name}` already exists!"));
        return Err(Status::already_exists(status.message()));
    }
    let collection = Collection::new(
        request.vectors_config,
        request.sparse_vectors_config,
        request.strict_mode_config,
    )?;
    store.collections.insert(name, collection);
    Ok(q::CollectionOperationResponse {
        result: true,
        time: 0.0,
    })
}

fn delete(
    store: &mut Store,
    request: q::DeleteCollection,
) -> Result<q::CollectionOperationResponse, Status> {
    let gone = store.collections.remove(&request.collection_name);
    Ok(q::CollectionOperationResponse {
        result: gone.is_some(),
        time: 0.0,
    })
}

fn query(store: &mut Store, request: q::QueryPoints) -> Result<q::QueryResponse, Status> {
    let plain_vectors = store.plain_vectors;
    let collection = store.collection(&request.collection_name)?;
    if let Some(strict) = Strict::of(collection) {
        strict.query(&request)?;
    }
    Ok(q::QueryResponse {
        result: query::query(collection, request, plain_vectors)?,
        ..q::QueryResponse::default()
    })
}

fn query_batch(
    store: &mut Store,
    request: q::QueryBatchPoints,
) -> Result<q::QueryBatchResponse, Status> {
    let plain_vectors = store.plain_vectors;
    let collection = store.collection(&request.collection_name)?;
    if let Some(strict) = Strict::of(collection) {
        strict.batch(request.query_points.len())?;
        for query in &request.query_points {
            strict.query(query)?;
        }
    }
    let results = request
        .query_points
        .into_iter()
        .map(|query| {
            let result = query::query(collection, query, plain_vectors)?;
            Ok(q::BatchResult { result })
        })
        .collect::<Result<_, Status>>()?;
    Ok(q::QueryBatchResponse {
        result: results,
        ..q::QueryBatchResponse::default()
    })
}
