//! Looks at a Qdrant once, for an operator who wants to know whether it will do.
//! Changes nothing.

use qdrant_client::qdrant::{
    CollectionInfo, CollectionStatus, Distance, GetCollectionInfoRequest, HealthCheckRequest,
    PayloadSchemaType, StrictModeConfig, VectorParams, vectors_config,
};

use super::{
    collection::{Collection, wanted_schema},
    pool::{QdrantPool, QdrantSetupError, REST_PORT},
    query::OTHER_CONDITIONS,
    search::SCROLL_PAGE,
    settings::QdrantSettings,
};
use crate::ports::{Deadline, StoreError};

/// Searches that a list batches at the most, with the exploration's.
const SEARCHES_AT_ONCE: u64 = 5;
/// Items that an import writes at once.
const IMPORTED_AT_ONCE: u64 = 200;

/// What was found of a Qdrant.
#[derive(Debug)]
pub struct Examination {
    /// Where gRPC is spoken.
    pub grpc: String,
    /// Where its REST API is, as far as can be told.
    pub rest: String,
    /// The version that it says.
    pub version: Result<String, StoreError>,
    /// Each collection by name; none if it does not answer.
    pub collections: Vec<(String, Result<CollectionSeen, StoreError>)>,
}

/// What was seen of a collection.
#[derive(Debug)]
pub struct CollectionSeen {
    /// Green, yellow, grey or red, as Qdrant has it.
    pub status: &'static str,
    /// What its optimiser failed of.
    pub trouble: Option<String>,
    /// How many points it holds.
    pub points: u64,
    /// The vectors that are used; `None` if it has none.
    pub vectors: Option<Vectors>,
    /// The names of vectors that are not used.
    pub others: Vec<String>,
    /// Indexes that are needed and missing.
    pub missing: Vec<MissingIndex>,
    /// What its strict mode would refuse.
    pub too_strict: Vec<StrictLimit>,
}

/// Vectors of a collection.
#[derive(Debug)]
pub struct Vectors {
    /// Their name, if they have one.
    pub name: Option<String>,
    /// How many numbers a vector has.
    pub size: u64,
    /// How two are compared.
    pub distance: &'static str,
}

/// An index of a payload field that is missing.
#[derive(Debug)]
pub struct MissingIndex {
    /// The field.
    pub field: &'static str,
    /// The kind that is needed, as the REST API calls it.
    pub kind: &'static str,
    /// The kind that is there instead.
    pub instead: Option<String>,
}

/// A limit of strict mode that is too low.
#[derive(Debug, PartialEq, Eq)]
pub struct StrictLimit {
    /// Its name in the REST API.
    pub name: &'static str,
    /// What it is.
    pub is: u64,
    /// What it must be, at least; `None` if it should not be set.
    pub needed: Option<u64>,
}

/// What the service will ask for.
#[derive(Clone, Copy, Debug)]
pub struct Needs {
    /// Ids that one search leaves out, at the most.
    pub excluded_ids: usize,
    /// Tags that one search looks for, at the most.
    pub tags: usize,
}

/// Looks at the Qdrant of a URL and at these collections.
///
/// # Errors
/// [`QdrantSetupError`] if the URL, a file or the settings cannot be used.
pub async fn examine(
    url: &str,
    settings: &QdrantSettings,
    collections: &[String],
    needs: Needs,
    deadline: Deadline,
) -> Result<Examination, QdrantSetupError> {
    let qdrant = QdrantPool::new(url, settings)?;
    let mut service = qdrant.server();
    let health = service.health_check(HealthCheckRequest {});
    let version = qdrant.call("ping", deadline, health).await;
    let mut seen = Vec::new();
    if version.is_ok() {
        for name in collections {
            let request = GetCollectionInfoRequest {
                collection_name: name.clone(),
            };
            let mut client = qdrant.collections();
            let told = qdrant.call("describe", deadline, client.get(request)).await;
            let told = told.map(|told| of(told.result.unwrap_or_default(), needs));
            seen.push((name.clone(), told));
        }
    }
    Ok(Examination {
        grpc: qdrant.uri().to_string().trim_end_matches('/').to_owned(),
        rest: rest(url, settings, &qdrant),
        version: version.map(|told| told.version),
        collections: seen,
    })
}

/// The port of the URL is that of the REST API if another is given for gRPC.
fn rest(url: &str, settings: &QdrantSettings, qdrant: &QdrantPool) -> String {
    let named: Option<http::Uri> = url.trim().parse().ok();
    let named = named.and_then(|uri| uri.port_u16());
    let port = match (named, settings.qdrant_grpc_port) {
        (Some(port), Some(_)) => port,
        _ => REST_PORT,
    };
    let (scheme, host) = (qdrant.uri().scheme_str(), qdrant.uri().host());
    let (scheme, host) = (scheme.unwrap_or("http"), host.unwrap_or_default());
    format!("{scheme}://{host}:{port}")
}

fn of(info: CollectionInfo, needs: Needs) -> CollectionSeen {
    let status = match info.status() {
        CollectionStatus::UnknownCollectionStatus => "unknown",
        CollectionStatus::Green => "green",
        CollectionStatus::Yellow => "yellow",
        CollectionStatus::Red => "red",
        CollectionStatus::Grey => "grey",
    };
    let failed = info.optimizer_status.as_ref().filter(|status| !status.ok);
    let trouble = failed.map(|status| status.error.clone());
    let points = info.points_count.unwrap_or_default();
    let schemas = info.payload_schema.clone();
    let strict = info.config.as_ref();
    let strict = strict.and_then(|config| config.strict_mode_config.clone());
    let vectors = info.config.as_ref().and_then(|config| {
        let params = config.params.as_ref()?;
        params.vectors_config.as_ref()?.config.clone()
    });
    let collection = Collection::read(info);
    let (params, others) = used(vectors, &collection);
    let missing = collection.missing_indexes().into_iter().map(|field| {
        let instead = schemas.get(field).map(|schema| kind(schema.data_type()));
        MissingIndex {
            field,
            kind: kind_of(field),
            instead,
        }
    });
    CollectionSeen {
        status,
        trouble,
        points,
        vectors: params.map(|params| Vectors {
            name: collection.vector_name.clone(),
            size: params.size,
            distance: distance(&params),
        }),
        others,
        missing: missing.collect(),
        too_strict: strict.map_or_else(Vec::new, |strict| too_strict(&strict, needs)),
    }
}

/// The vectors that are used, and the names of those that are not.
fn used(
    config: Option<vectors_config::Config>,
    collection: &Collection,
) -> (Option<VectorParams>, Vec<String>) {
    match config {
        None => (None, Vec::new()),
        Some(vectors_config::Config::Params(params)) => {
            (collection.vector_size.map(|_| params), Vec::new())
        }
        Some(vectors_config::Config::ParamsMap(mut named)) => {
            let name = collection.vector_name.as_ref();
            let params = name.and_then(|name| named.map.remove(name));
            let mut others: Vec<String> = named.map.into_keys().collect();
            others.sort();
            (params, others)
        }
    }
}

fn distance(params: &VectorParams) -> &'static str {
    match params.distance() {
        Distance::UnknownDistance => "unknown",
        Distance::Cosine => "cosine",
        Distance::Euclid => "euclid",
        Distance::Dot => "dot",
        Distance::Manhattan => "manhattan",
    }
}

fn kind_of(field: &str) -> &'static str {
    if wanted_schema(field) == PayloadSchemaType::Geo {
        "geo"
    } else {
        "keyword"
    }
}

fn kind(schema: PayloadSchemaType) -> String {
    schema.as_str_name().to_ascii_lowercase()
}

/// The limits that the service's requests would run into.
fn too_strict(strict: &StrictModeConfig, needs: Needs) -> Vec<StrictLimit> {
    if strict.enabled != Some(true) {
        return Vec::new();
    }
    let conditions = (needs.tags + OTHER_CONDITIONS) as u64;
    let least = [
        (
            "max_query_limit",
            strict.max_query_limit.map(u64::from),
            u64::from(SCROLL_PAGE),
        ),
        (
            "search_max_batchsize",
            strict.search_max_batchsize,
            SEARCHES_AT_ONCE,
        ),
        (
            "upsert_max_batchsize",
            strict.upsert_max_batchsize,
            IMPORTED_AT_ONCE,
        ),
        (
            "filter_max_conditions",
            strict.filter_max_conditions,
            conditions,
        ),
        (
            "condition_max_size",
            strict.condition_max_size,
            needs.excluded_ids.max(needs.tags) as u64,
        ),
    ];
    let low = least.into_iter().filter_map(|(name, is, needed)| {
        let is = is.filter(|is| *is < needed)?;
        Some(StrictLimit {
            name,
            is,
            needed: Some(needed),
        })
    });
    let rates = [
        ("read_rate_limit", strict.read_rate_limit),
        ("write_rate_limit", strict.write_rate_limit),
    ];
    let set = rates.into_iter().filter_map(|(name, is)| {
        let is = u64::from(is?);
        Some(StrictLimit {
            name,
            is,
            needed: None,
        })
    });
    low.chain(set).collect()
}

#[cfg(test)]
mod tests {
    use qdrant_client::qdrant::StrictModeConfig;

    use super::{Needs, StrictLimit, too_strict};

    #[test]
    fn a_strict_mode_that_is_too_strict_is_told_limit_by_limit() {
        let needs = Needs {
            excluded_ids: 4_000,
            tags: 20,
        };
        let strict = StrictModeConfig {
            enabled: Some(true),
            max_query_limit: Some(10_000),
            condition_max_size: Some(100),
            read_rate_limit: Some(600),
            ..StrictModeConfig::default()
        };
        let found = too_strict(&strict, needs);
        let limit = |name, is, needed| StrictLimit { name, is, needed };
        assert_eq!(
            found,
            [
                limit("condition_max_size", 100, Some(4_000)),
                limit("read_rate_limit", 600, None)
            ]
        );
        let off = StrictModeConfig {
            enabled: Some(false),
            ..strict
        };
        assert_eq!(too_strict(&off, needs), []);
    }
}
