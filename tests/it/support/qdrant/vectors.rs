//! The vectors of points: dense, multi and sparse. Dense and sparse ones are searched.

use std::collections::{BTreeMap, HashMap};

use qdrant_client::qdrant::{
    DenseVector, Distance, NamedVectorsOutput, SparseIndices, SparseVector, SparseVectorConfig,
    Vector, VectorOutput, VectorParams, Vectors, VectorsConfig, VectorsOutput, WithVectorsSelector,
    vector, vector_output, vectors, vectors_config, vectors_output,
    with_vectors_selector::SelectorOptions,
};
use tonic::Status;

use super::store::{StoredCollection, bad_input, no_other_fields, unsupported};

/// By name; the unnamed vector is called "".
pub type NamedVectors = BTreeMap<String, vector::Vector>;

/// The kind of the vectors of one name.
#[derive(Debug, Clone, Copy)]
pub enum Space {
    Dense { size: usize, distance: Distance },
    Multi,
    Sparse,
}

/// The spaces of a collection's configuration, by name.
pub fn spaces(
    config: &VectorsConfig,
    sparse: Option<&SparseVectorConfig>,
) -> Result<BTreeMap<String, Space>, Status> {
    let mut spaces = BTreeMap::new();
    match &config.config {
        None => {}
        Some(vectors_config::Config::Params(params)) => {
            spaces.insert(String::new(), space(params)?);
        }
        Some(vectors_config::Config::ParamsMap(named)) => {
            for (name, params) in &named.map {
                spaces.insert(name.clone(), space(params)?);
            }
        }
    }
    let names = sparse.iter().flat_map(|config| config.map.keys());
    spaces.extend(names.map(|name| (name.clone(), Space::Sparse)));
    Ok(spaces)
}

fn space(params: &VectorParams) -> Result<Space, Status> {
    no_other_fields(&VectorParams {
        size: 0,
        distance: 0,
        multivector_config: None,
        ..*params
    })?;
    match params.distance() {
        _ if params.multivector_config.is_some() => Ok(Space::Multi),
        distance @ (Distance::Cosine | Distance::Dot) => Ok(Space::Dense {
            size: params.size as usize,
            distance,
        }),
        other @ (Distance::UnknownDistance | Distance::Euclid | Distance::Manhattan) => {
            Err(unsupported(format!("the distance {other:?}")))
        }
    }
}

impl StoredCollection {
    fn space(&self, name: &str) -> Result<Space, Status> {
        let space = self.spaces.get(name).copied();
        space.ok_or_else(|| bad_input(format!("Not existing vector name error: {name}")))
    }

    /// A dense vector as it is compared: of the right size, and of length 1 where the
    /// distance is cosine.
    pub fn dense(&self, name: &str, mut data: Vec<f32>) -> Result<Vec<f32>, Status> {
        let Space::Dense { size, distance } = self.space(name)? else {
            return Err(bad_input("Expected another kind of vector"));
        };
        if data.len() != size {
            return Err(bad_input(format!(
                "Vector dimension error: expected dim: {size}, got {}",
                data.len()
            )));
        }
        let square = data.iter().map(|x| x * x).sum::<f32>();
        if distance == Distance::Cosine && square > f32::EPSILON && (square - 1.0).abs() > 1e-6 {
            let length = square.sqrt();
            data.iter_mut().for_each(|x| *x /= length);
        }
        Ok(data)
    }

    /// A sparse vector to search with.
    pub fn sparse_query(&self, name: &str, vector: SparseVector) -> Result<SparseVector, Status> {
        match self.space(name)? {
            Space::Sparse => sparse(vector),
            Space::Dense { .. } | Space::Multi => Err(bad_input(format!(
                "Not existing sparse vector name error: {name}"
            ))),
        }
    }

    pub fn vectors(&self, vectors: Option<Vectors>) -> Result<NamedVectors, Status> {
        match vectors.and_then(|vectors| vectors.vectors_options) {
            None => Err(Status::invalid_argument("Expected some vectors")),
            Some(vectors::VectorsOptions::Vector(vector)) => {
                let stored = self.stored("", vector)?;
                Ok(NamedVectors::from([(String::new(), stored)]))
            }
            Some(vectors::VectorsOptions::Vectors(named)) => named
                .vectors
                .into_iter()
                .map(|(name, vector)| {
                    let stored = self.stored(&name, vector)?;
                    Ok((name, stored))
                })
                .collect(),
        }
    }

    fn stored(&self, name: &str, vector: Vector) -> Result<vector::Vector, Status> {
        match (self.space(name)?, vector.vector) {
            (Space::Dense { .. }, Some(vector::Vector::Dense(dense))) => {
                let data = self.dense(name, dense.data)?;
                Ok(vector::Vector::Dense(DenseVector { data }))
            }
            (Space::Multi, Some(multi @ vector::Vector::MultiDense(_))) => Ok(multi),
            (Space::Sparse, Some(vector::Vector::Sparse(vector))) => {
                Ok(vector::Vector::Sparse(sparse(vector)?))
            }
            _ => Err(bad_input("Expected another kind of vector")),
        }
    }
}

/// A sparse vector as it is stored: its dimensions, each once, in ascending order.
fn sparse(vector: SparseVector) -> Result<SparseVector, Status> {
    let invalid = |reason: &str| {
        Err(Status::invalid_argument(format!(
            "Validation error in body: [{reason}]"
        )))
    };
    if vector.indices.len() != vector.values.len() {
        return invalid("values: must be the same length as indices");
    }
    let dimensions: BTreeMap<u32, f32> =
        vector.indices.iter().copied().zip(vector.values).collect();
    if dimensions.len() != vector.indices.len() {
        return invalid("indices: must be unique");
    }
    Ok(SparseVector {
        indices: dimensions.keys().copied().collect(),
        values: dimensions.into_values().collect(),
    })
}

/// Which vectors a reply contains.
pub enum VectorSelection {
    All,
    Nothing,
    Only(Vec<String>),
}

impl VectorSelection {
    pub fn read(selector: Option<WithVectorsSelector>) -> Self {
        match selector.and_then(|selector| selector.selector_options) {
            None | Some(SelectorOptions::Enable(false)) => Self::Nothing,
            Some(SelectorOptions::Enable(true)) => Self::All,
            Some(SelectorOptions::Include(include)) => Self::Only(include.names),
        }
    }

    /// The unnamed vector is sent alone, or among others under the name "".
    pub fn apply(&self, vectors: &NamedVectors, plain: bool) -> Option<VectorsOutput> {
        let names: Vec<&String> = match self {
            Self::Nothing => return None,
            Self::All => vectors.keys().collect(),
            Self::Only(names) => names.iter().collect(),
        };
        let mut selected: HashMap<String, VectorOutput> = names
            .into_iter()
            .filter_map(|name| Some((name.clone(), output(vectors.get(name)?, plain))))
            .collect();
        let alone = (selected.len() == 1).then(|| selected.remove("")).flatten();
        let options = match alone {
            Some(vector) => vectors_output::VectorsOptions::Vector(vector),
            None => {
                vectors_output::VectorsOptions::Vectors(NamedVectorsOutput { vectors: selected })
            }
        };
        Some(VectorsOutput {
            vectors_options: Some(options),
        })
    }
}

#[expect(deprecated, reason = "servers before 1.16 send plain data")]
fn output(stored: &vector::Vector, plain: bool) -> VectorOutput {
    let mut output = VectorOutput::default();
    match stored.clone() {
        vector::Vector::Dense(dense) if plain => output.data = dense.data,
        vector::Vector::MultiDense(multi) if plain => {
            output.vectors_count = Some(multi.vectors.len() as u32);
            output.data = multi.vectors.into_iter().flat_map(|row| row.data).collect();
        }
        vector::Vector::Sparse(sparse) if plain => {
            output.data = sparse.values;
            output.indices = Some(SparseIndices {
                data: sparse.indices,
            });
        }
        vector::Vector::Dense(dense) => output.vector = Some(vector_output::Vector::Dense(dense)),
        vector::Vector::MultiDense(multi) => {
            output.vector = Some(vector_output::Vector::MultiDense(multi));
        }
        vector::Vector::Sparse(sparse) => {
            output.vector = Some(vector_output::Vector::Sparse(sparse));
        }
        other @ (vector::Vector::Document(_)
        | vector::Vector::Image(_)
        | vector::Vector::Object(_)) => unreachable!("{other:?} is never stored"),
    }
    output
}
