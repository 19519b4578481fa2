//! Collections and their points, in memory and in the order of ids.

use std::collections::{BTreeMap, HashMap};

use qdrant_client::qdrant::{
    DenseVector, Distance, NamedVectorsOutput, PayloadSchemaInfo, PointId, StrictModeConfig,
    Vector, VectorOutput, VectorParams, Vectors, VectorsConfig, VectorsOutput, WithVectorsSelector,
    point_id::PointIdOptions, vector, vector_output, vectors, vectors_config, vectors_output,
    with_vectors_selector,
};
use tonic::Status;
use uuid::Uuid;

use super::payload::Payload;

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

/// By name; the one of a collection without names is called "".
pub type NamedVectors = BTreeMap<String, Vec<f32>>;

#[derive(Debug, Clone, Default)]
pub struct Point {
    pub payload: Payload,
    pub vectors: NamedVectors,
    pub version: u64,
}

#[derive(Debug, Clone, Copy)]
pub struct Space {
    pub size: u64,
    pub distance: Distance,
}

#[derive(Debug)]
pub struct Collection {
    pub config: VectorsConfig,
    pub spaces: BTreeMap<String, Space>,
    pub indexes: BTreeMap<String, PayloadSchemaInfo>,
    pub strict: Option<StrictModeConfig>,
    pub points: BTreeMap<Id, Point>,
    pub operations: u64,
}

impl Collection {
    pub fn new(
        config: Option<VectorsConfig>,
        strict: Option<StrictModeConfig>,
    ) -> Result<Self, Status> {
        let config = config.unwrap_or_default();
        let spaces = match config.config.clone() {
            None => BTreeMap::new(),
            Some(vectors_config::Config::Params(params)) => {
                BTreeMap::from([(String::new(), space(&params)?)])
            }
            Some(vectors_config::Config::ParamsMap(named)) => named
                .map
                .iter()
                .map(|(name, params)| Ok((name.clone(), space(params)?)))
                .collect::<Result<_, Status>>()?,
        };
        Ok(Self {
            config,
            spaces,
            indexes: BTreeMap::new(),
            strict,
            points: BTreeMap::new(),
            operations: 0,
        })
    }

    pub fn space(&self, name: &str) -> Result<Space, Status> {
        let space = self.spaces.get(name).copied();
        space.ok_or_else(|| bad_input(format!("Not existing vector name error: {name}")))
    }

    /// A vector as it is compared: of the right size, and of length one where
    /// the distance is cosine.
    pub fn checked(&self, name: &str, mut data: Vec<f32>) -> Result<Vec<f32>, Status> {
        let space = self.space(name)?;
        if data.len() as u64 != space.size {
            return Err(bad_input(format!(
                "Vector dimension error: expected dim: {}, got {}",
                space.size,
                data.len()
            )));
        }
        if space.distance == Distance::Cosine {
            let length = data.iter().map(|x| x * x).sum::<f32>();
            if length > f32::EPSILON && (length - 1.0).abs() > 1e-6 {
                let length = length.sqrt();
                data.iter_mut().for_each(|x| *x /= length);
            }
        }
        Ok(data)
    }

    pub fn vectors(&self, vectors: Option<Vectors>) -> Result<NamedVectors, Status> {
        let one = |name: String, vector: Vector| {
            let data = self.checked(&name, dense(vector)?)?;
            Ok((name, data))
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

fn space(params: &VectorParams) -> Result<Space, Status> {
    if params.multivector_config.is_some() {
        return Err(unsupported("multivectors"));
    }
    if params.datatype.unwrap_or_default() > 1 {
        return Err(unsupported("data types of vectors other than float32"));
    }
    match params.distance() {
        Distance::UnknownDistance => Err(Status::invalid_argument("Unknown distance")),
        Distance::Manhattan => Err(unsupported("the Manhattan distance")),
        distance @ (Distance::Cosine | Distance::Dot | Distance::Euclid) => Ok(Space {
            size: params.size,
            distance,
        }),
    }
}

#[expect(deprecated, reason = "older clients write vectors as plain data")]
fn dense(vector: Vector) -> Result<Vec<f32>, Status> {
    if vector.indices.is_some() || vector.vectors_count.is_some() {
        return Err(unsupported("sparse vectors and multivectors"));
    }
    match vector.vector {
        None => Ok(vector.data),
        Some(vector::Vector::Dense(dense)) => Ok(dense.data),
        Some(_) => Err(unsupported("vectors that are not dense")),
    }
}

/// Which vectors to answer with.
pub enum VectorSelection {
    All,
    Nothing,
    Only(Vec<String>),
}

impl VectorSelection {
    pub fn read(selector: Option<WithVectorsSelector>) -> Self {
        use with_vectors_selector::SelectorOptions;
        match selector.and_then(|selector| selector.selector_options) {
            None | Some(SelectorOptions::Enable(false)) => Self::Nothing,
            Some(SelectorOptions::Enable(true)) => Self::All,
            Some(SelectorOptions::Include(include)) => Self::Only(include.names),
        }
    }

    pub fn apply(&self, vectors: &NamedVectors, as_plain_data: bool) -> Option<VectorsOutput> {
        let names: Vec<&String> = match self {
            Self::Nothing => return None,
            Self::All => vectors.keys().collect(),
            Self::Only(names) => names.iter().collect(),
        };
        let mut chosen: HashMap<String, VectorOutput> = names
            .into_iter()
            .filter_map(|name| Some((name.clone(), output(vectors.get(name)?, as_plain_data))))
            .collect();
        let options = match chosen.remove("") {
            Some(vector) => vectors_output::VectorsOptions::Vector(vector),
            None => vectors_output::VectorsOptions::Vectors(NamedVectorsOutput { vectors: chosen }),
        };
        Some(VectorsOutput {
            vectors_options: Some(options),
        })
    }
}

#[expect(deprecated, reason = "servers before 1.16 answer with plain data")]
fn output(data: &[f32], as_plain_data: bool) -> VectorOutput {
    let data = data.to_vec();
    if as_plain_data {
        VectorOutput {
            data,
            ..VectorOutput::default()
        }
    } else {
        VectorOutput {
            vector: Some(vector_output::Vector::Dense(DenseVector { data })),
            ..VectorOutput::default()
        }
    }
}

#[derive(Debug, Default)]
pub struct Store {
    pub collections: BTreeMap<String, Collection>,
    /// Whether vectors are answered as servers before 1.16 do.
    pub plain_vectors: bool,
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
        let collection = Collection::new(Some(config), None).unwrap();
        self.collections.insert(name, collection);
    }

    pub fn collection(&mut self, name: &str) -> Result<&mut Collection, Status> {
        let found = self.collections.get_mut(name);
        found.ok_or_else(|| not_found(format!("Collection `{name}` doesn't exist!")))
    }
}
