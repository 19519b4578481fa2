//! Collections and their points.

use std::collections::BTreeMap;

use qdrant_client::qdrant::{
    CollectionStatus, PayloadSchemaType, PointId, SparseVectorConfig, StrictModeConfig,
    VectorsConfig, point_id::PointIdOptions,
};
use tonic::Status;
use uuid::Uuid;

use super::{
    payload::Payload,
    places::PointsById,
    vectors::{NamedVectors, Space, spaces},
};

/// The error for a feature of Qdrant that the stand-in lacks.
pub fn unsupported(feature: impl std::fmt::Display) -> Status {
    Status::unimplemented(format!(
        "the stand-in for Qdrant does not support {feature}"
    ))
}

pub fn bad_input(text: impl std::fmt::Display) -> Status {
    Status::invalid_argument(format!("Wrong input: {text}"))
}

/// Refuses a request with fields set that the handler did not take out of it.
pub fn no_other_fields<T: Default + PartialEq + std::fmt::Debug>(rest: &T) -> Result<(), Status> {
    if *rest == T::default() {
        Ok(())
    } else {
        Err(unsupported(format!("a field that is set in {rest:?}")))
    }
}

/// The derived order is Qdrant's: numbers before UUIDs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum StoredId {
    Number(u64),
    Uuid(Uuid),
}

impl StoredId {
    pub fn read(id: Option<PointId>) -> Result<Self, Status> {
        match id.and_then(|id| id.point_id_options) {
            Some(PointIdOptions::Num(number)) => Ok(Self::Number(number)),
            Some(PointIdOptions::Uuid(text)) => Uuid::parse_str(&text)
                .map(Self::Uuid)
                .map_err(|_| Status::invalid_argument(format!("Unable to parse UUID: {text}"))),
            None => Err(Status::invalid_argument("No ID options provided")),
        }
    }

    pub fn read_all(ids: Vec<PointId>) -> Result<Vec<Self>, Status> {
        ids.into_iter().map(|id| Self::read(Some(id))).collect()
    }

    pub fn proto(self) -> PointId {
        PointId {
            point_id_options: Some(match self {
                Self::Number(number) => PointIdOptions::Num(number),
                Self::Uuid(uuid) => PointIdOptions::Uuid(uuid.to_string()),
            }),
        }
    }
}

#[derive(Debug)]
pub struct Point {
    pub payload: Payload,
    pub vectors: NamedVectors,
}

#[derive(Debug)]
pub struct StoredCollection {
    pub config: VectorsConfig,
    pub sparse: Option<SparseVectorConfig>,
    pub spaces: BTreeMap<String, Space>,
    pub indexes: BTreeMap<String, PayloadSchemaType>,
    pub strict: Option<StrictModeConfig>,
    pub points: PointsById,
    pub status: CollectionStatus,
}

impl StoredCollection {
    pub fn new(config: VectorsConfig, sparse: Option<SparseVectorConfig>) -> Result<Self, Status> {
        Ok(Self {
            spaces: spaces(&config, sparse.as_ref())?,
            config,
            sparse,
            indexes: BTreeMap::new(),
            strict: None,
            points: PointsById::default(),
            status: CollectionStatus::Green,
        })
    }

    /// Of strict mode only this is enforced; its limits are just reported.
    pub fn check_indexed(&self, field: &str, needed: PayloadSchemaType) -> Result<(), Status> {
        self.check_indexed_as(field, &[needed])
    }

    /// The same with any of these kinds of index.
    pub fn check_indexed_as(
        &self,
        field: &str,
        needed: &[PayloadSchemaType],
    ) -> Result<(), Status> {
        let strict = self.strict.as_ref().is_some_and(|mode| {
            mode.enabled == Some(true) && mode.unindexed_filtering_retrieve == Some(false)
        });
        let index = self.indexes.get(field);
        if !strict || index.is_some_and(|kind| needed.contains(kind)) {
            return Ok(());
        }
        Err(Status::invalid_argument(format!(
            "Bad request: Index required but not found for \"{field}\" of one of the following \
             types: [{}]. Help: Create an index for this key or use a different filter.",
            needed
                .iter()
                .map(|kind| kind.as_str_name().to_lowercase())
                .collect::<Vec<_>>()
                .join(", ")
        )))
    }
}

#[derive(Debug, Default)]
pub struct Store {
    pub collections: BTreeMap<String, StoredCollection>,
    /// Whether vectors are sent in the fields that servers before 1.16 use.
    pub plain_vectors: bool,
    /// The version to report instead of the newest.
    pub version: Option<String>,
}

impl Store {
    pub fn collection(&mut self, name: &str) -> Result<&mut StoredCollection, Status> {
        let found = self.collections.get_mut(name);
        found.ok_or_else(|| {
            Status::not_found(format!("Not found: Collection `{name}` doesn't exist!"))
        })
    }
}
