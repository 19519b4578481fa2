//! Collections and their points, in memory and in the order of ids.

use std::collections::BTreeMap;

use qdrant_client::qdrant::{
    CollectionStatus, Distance, PayloadSchemaInfo, PointId, SparseVectorConfig, StrictModeConfig,
    Vector, VectorParams, Vectors, VectorsConfig, point_id::PointIdOptions, vectors,
    vectors_config,
};
use tonic::Status;
use uuid::Uuid;

use super::{
    index::PointsById,
    payload::Payload,
    vectors::{NamedVectors, Space},
};

/// Something real that this server does not do.
pub fn unsupported(what: impl std::fmt::Display) -> Status {
    Status::unimplemented(format!("the test server does not do this: {what}"))
}

pub fn bad_input(text: impl std::fmt::Display) -> Status {
    Status::invalid_argument(format!("Wrong input: {text}"))
}

pub fn not_found(text: impl std::fmt::Display) -> Status {
    Status::not_found(format!("Not found: {text}"))
}

/// Numbers come before UUIDs, as the derived order has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Id {
    Number(u64),
    Uuid(Uuid),
}

impl Id {
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

impl std::fmt::Display for Id {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Uuid(uuid) => write!(f, "{uuid}"),
        }
    }
}

#[derive(Debug, Clone, Default)]
pub struct Point {
    pub payload: Payload,
    pub vectors: NamedVectors,
    pub version: u64,
}

#[derive(Debug)]
pub struct Collection {
    pub config: VectorsConfig,
    pub sparse: Option<SparseVectorConfig>,
    pub spaces: BTreeMap<String, Space>,
    pub indexes: BTreeMap<String, PayloadSchemaInfo>,
    pub strict: Option<StrictModeConfig>,
    pub points: PointsById,
    pub operations: u64,
    pub status: CollectionStatus,
}

impl Collection {
    pub fn new(
        config: Option<VectorsConfig>,
        sparse: Option<SparseVectorConfig>,
        strict: Option<StrictModeConfig>,
    ) -> Result<Self, Status> {
        let config = config.unwrap_or_default();
        let mut spaces: BTreeMap<String, Space> = match config.config.clone() {
            None => BTreeMap::new(),
            Some(vectors_config::Config::Params(params)) => {
                BTreeMap::from([(String::new(), Space::read(&params)?)])
            }
            Some(vectors_config::Config::ParamsMap(named)) => named
                .map
                .iter()
                .map(|(name, params)| Ok((name.clone(), Space::read(params)?)))
                .collect::<Result<_, Status>>()?,
        };
        let named = sparse.iter().flat_map(|config| config.map.keys());
        spaces.extend(named.map(|name| (name.clone(), Space::Sparse)));
        Ok(Self {
            config,
            sparse,
            spaces,
            indexes: BTreeMap::new(),
            strict,
            points: PointsById::default(),
            operations: 0,
            status: CollectionStatus::Green,
        })
    }

    pub fn space(&self, name: &str) -> Result<Space, Status> {
        let space = self.spaces.get(name).copied();
        space.ok_or_else(|| bad_input(format!("Not existing vector name error: {name}")))
    }

    /// A dense vector as it is compared.
    pub fn checked(&self, name: &str, data: Vec<f32>) -> Result<Vec<f32>, Status> {
        self.space(name)?.dense(data)
    }

    pub fn vectors(&self, vectors: Option<Vectors>) -> Result<NamedVectors, Status> {
        let one = |name: String, vector: Vector| {
            let stored = self.space(&name)?.stored(vector)?;
            Ok((name, stored))
        };
        match vectors.and_then(|vectors| vectors.vectors_options) {
            None => Err(Status::invalid_argument("Expected some vectors")),
            Some(vectors::VectorsOptions::Vector(vector)) => {
                Ok(NamedVectors::from([one(String::new(), vector)?]))
            }
            Some(vectors::VectorsOptions::Vectors(named)) => named
                .vectors
                .into_iter()
                .map(|(name, vector)| one(name, vector))
                .collect(),
        }
    }
}

#[derive(Debug, Default)]
pub struct Store {
    pub collections: BTreeMap<String, Collection>,
    /// Whether vectors are answered as servers before 1.16 do.
    pub plain_vectors: bool,
    /// What it says it is, if not the newest.
    pub version: Option<String>,
}

impl Store {
    /// An empty collection of this name and size, whatever was there.
    pub fn make_anew(&mut self, name: String, size: u64) {
        let params = VectorParams {
            size,
            distance: Distance::Cosine.into(),
            ..VectorParams::default()
        };
        let config = VectorsConfig {
            config: Some(vectors_config::Config::Params(params)),
        };
        let collection = Collection::new(Some(config), None, None).unwrap();
        self.collections.insert(name, collection);
    }

    pub fn collection(&mut self, name: &str) -> Result<&mut Collection, Status> {
        let found = self.collections.get_mut(name);
        found.ok_or_else(|| not_found(format!("Collection `{name}` doesn't exist!")))
    }
}
