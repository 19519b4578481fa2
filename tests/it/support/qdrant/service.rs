//! The gRPC services. Each call is recorded and meets the faults before its handler.

use std::sync::{Arc, Mutex, MutexGuard};

use qdrant_client::qdrant as q;
use qdrant_client::qdrant::{
    collections_server::Collections, points_server::Points, qdrant_server::Qdrant,
};
use tonic::{Request, Response, Status, metadata::MetadataMap};

use super::{
    faults::{CallLog, Faults, InjectedFault},
    points, query,
    store::{Store, StoredCollection, no_other_fields, unsupported},
    update,
};

/// The state that a restart keeps.
#[derive(Debug, Default)]
pub struct State {
    store: Mutex<Store>,
    faults: Mutex<Faults>,
    calls: Mutex<CallLog>,
}

impl State {
    pub fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap()
    }

    pub fn faults(&self) -> MutexGuard<'_, Faults> {
        self.faults.lock().unwrap()
    }

    pub fn calls(&self) -> MutexGuard<'_, CallLog> {
        self.calls.lock().unwrap()
    }
}

#[derive(Debug, Clone)]
pub struct Service(pub Arc<State>);

type RpcHandler<Q, A> = fn(&mut Store, Q) -> Result<A, Status>;

impl Service {
    async fn answer<Q, A>(
        &self,
        rpc: &'static str,
        request: Request<Q>,
        handler: RpcHandler<Q, A>,
    ) -> Result<Response<A>, Status>
    where
        Q: Clone + Send + 'static,
    {
        let (metadata, _, message) = request.into_parts();
        self.0.calls().record(rpc, &message);
        let (delay, fault) = self.0.faults().next(rpc);
        tokio::time::sleep(delay).await;
        match fault {
            Some(InjectedFault::Status(status)) => return Err(status),
            Some(InjectedFault::Hang) => std::future::pending().await,
            None => {}
        }
        self.authenticate(&metadata)?;
        let reply = handler(&mut self.0.store(), message);
        let recreate = self.0.faults().recreate.take_if(|(of, ..)| of == rpc);
        if let Some((_, name, size)) = recreate {
            let collection = StoredCollection::new(cosine(size), None)?;
            self.0.store().collections.insert(name, collection);
        }
        Ok(Response::new(reply?))
    }

    fn authenticate(&self, metadata: &MetadataMap) -> Result<(), Status> {
        let faults = self.0.faults();
        let Some(required) = &faults.api_key else {
            return Ok(());
        };
        match metadata.get("api-key") {
            None => Err(Status::unauthenticated(
                "Must provide an API key or an Authorization bearer token",
            )),
            Some(given) if given == required.as_str() => Ok(()),
            Some(_) => Err(Status::unauthenticated("Invalid API key or JWT")),
        }
    }
}

/// The configuration of one unnamed vector, compared by cosine.
fn cosine(size: u64) -> q::VectorsConfig {
    let params = q::VectorParams {
        size,
        distance: q::Distance::Cosine.into(),
        ..q::VectorParams::default()
    };
    q::VectorsConfig {
        config: Some(q::vectors_config::Config::Params(params)),
    }
}

/// The methods of a service: with a handler, and refused.
macro_rules! serve {
    (
        $service:ident handles {
            $($method:ident $name:literal ($request:ident) -> $response:ident = $handler:expr;)*
        }
        refuses {
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
    Qdrant handles {
        health_check "HealthCheck" (HealthCheckRequest) -> HealthCheckReply = health_check;
    }
    refuses {
    }
}

serve! {
    Collections handles {
        get "GetCollection" (GetCollectionInfoRequest) -> GetCollectionInfoResponse = describe;
        create "CreateCollection" (CreateCollection) -> CollectionOperationResponse = create;
        delete "DeleteCollection" (DeleteCollection) -> CollectionOperationResponse = delete;
    }
    refuses {
        list "List" (ListCollectionsRequest) -> ListCollectionsResponse;
        collection_exists "CollectionExists" (CollectionExistsRequest) -> CollectionExistsResponse;
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
    Points handles {
        upsert "Upsert" (UpsertPoints) -> PointsOperationResponse = points::upsert;
        delete "Delete" (DeletePoints) -> PointsOperationResponse = points::delete;
        get "Get" (GetPoints) -> GetResponse = points::get;
        create_field_index "CreateFieldIndex" (CreateFieldIndexCollection)
            -> PointsOperationResponse = points::create_field_index;
        scroll "Scroll" (ScrollPoints) -> ScrollResponse = points::scroll;
        query_batch "QueryBatch" (QueryBatchPoints) -> QueryBatchResponse = query_batch;
        count "Count" (CountPoints) -> CountResponse = points::count;
        update_batch "UpdateBatch" (UpdateBatchPoints) -> UpdateBatchResponse = update::batch;
        update_vectors "UpdateVectors" (UpdatePointVectors) -> PointsOperationResponse
            = update::vectors;
        create_vector_name "CreateVectorName" (CreateVectorNameRequest) -> PointsOperationResponse
            = points::create_vector_name;
        delete_vector_name "DeleteVectorName" (DeleteVectorNameRequest) -> PointsOperationResponse
            = points::delete_vector_name;
    }
    refuses {
        set_payload "SetPayload" (SetPayloadPoints) -> PointsOperationResponse;
        overwrite_payload "OverwritePayload" (SetPayloadPoints) -> PointsOperationResponse;
        delete_payload "DeletePayload" (DeletePayloadPoints) -> PointsOperationResponse;
        delete_field_index "DeleteFieldIndex" (DeleteFieldIndexCollection)
            -> PointsOperationResponse;
        query "Query" (QueryPoints) -> QueryResponse;
        delete_vectors "DeleteVectors" (DeletePointVectors) -> PointsOperationResponse;
        clear_payload "ClearPayload" (ClearPayloadPoints) -> PointsOperationResponse;
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
    let indexes = collection.indexes.iter();
    let payload_schema = indexes.map(|(field, kind)| {
        let is_indexed = collection.points.any(|point| {
            let value = point
                .payload
                .get(field)
                .and_then(|value| value.kind.as_ref());
            match value {
                None | Some(q::value::Kind::NullValue(_)) => false,
                Some(q::value::Kind::ListValue(list)) => !list.values.is_empty(),
                Some(_) => true,
            }
        });
        let schema = q::PayloadSchemaInfo {
            data_type: (*kind).into(),
            // Only whether there are any is of use.
            points: Some(is_indexed.into()),
            ..q::PayloadSchemaInfo::default()
        };
        (field.clone(), schema)
    });
    let info = q::CollectionInfo {
        status: collection.status.into(),
        optimizer_status: Some(q::OptimizerStatus {
            ok: true,
            error: String::new(),
        }),
        segments_count: 1,
        config: Some(q::CollectionConfig {
            params: Some(q::CollectionParams {
                vectors_config: Some(collection.config.clone()),
                sparse_vectors_config: collection.sparse.clone(),
                ..q::CollectionParams::default()
            }),
            strict_mode_config: collection.strict.clone(),
            ..q::CollectionConfig::default()
        }),
        payload_schema: payload_schema.collect(),
        points_count: Some(collection.points.len() as u64),
        ..q::CollectionInfo::default()
    };
    Ok(q::GetCollectionInfoResponse {
        result: Some(info),
        time: 0.0,
    })
}

fn create(
    store: &mut Store,
    mut request: q::CreateCollection,
) -> Result<q::CollectionOperationResponse, Status> {
    let name = std::mem::take(&mut request.collection_name);
    let vectors = request.vectors_config.take().unwrap_or_default();
    let sparse = request.sparse_vectors_config.take();
    no_other_fields(&request)?;
    if store.collections.contains_key(&name) {
        return Err(Status::already_exists(format!(
            "Wrong input: Collection `{name}` already exists!"
        )));
    }
    let collection = StoredCollection::new(vectors, sparse)?;
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
    let removed = store.collections.remove(&request.collection_name);
    Ok(q::CollectionOperationResponse {
        result: removed.is_some(),
        time: 0.0,
    })
}

fn query_batch(
    store: &mut Store,
    request: q::QueryBatchPoints,
) -> Result<q::QueryBatchResponse, Status> {
    let plain_vectors = store.plain_vectors;
    let collection = store.collection(&request.collection_name)?;
    let queries = request.query_points.into_iter();
    let results = queries.map(|one| {
        let result = query::query(collection, one, plain_vectors)?;
        Ok(q::BatchResult { result })
    });
    Ok(q::QueryBatchResponse {
        result: results.collect::<Result<_, Status>>()?,
        ..q::QueryBatchResponse::default()
    })
}
