//! The vectors of a point: dense ones, several dense ones under one name
//! (multivectors), and sparse ones. Only dense ones are searched here.

use std::collections::{BTreeMap, HashMap};

use qdrant_client::qdrant::{
    DenseVector, Distance, MultiDenseVector, NamedVectorsOutput, SparseIndices, SparseVector,
    Vector, VectorOutput, VectorParams, VectorsOutput, WithVectorsSelector, vector, vector_output,
    vectors_output, with_vectors_selector,
};
use tonic::Status;

use super::store::{bad_input, unsupported};

/// By name; the one without a name is called "".
pub type NamedVectors = BTreeMap<String, Stored>;

#[derive(Debug, Clone, PartialEq)]
pub enum Stored {
    Dense(Vec<f32>),
    Multi(Vec<Vec<f32>>),
    Sparse(SparseVector),
}

impl Stored {
    pub fn dense(&self) -> Option<&Vec<f32>> {
        match self {
            Self::Dense(data) => Some(data),
            Self::Multi(_) | Self::Sparse(_) => None,
        }
    }
}

/// What the vectors of one name are like.
#[derive(Debug, Clone, Copy)]
pub enum Space {
    Dense { size: u64, distance: Distance },
    Multi { size: u64, distance: Distance },
    Sparse,
}

impl Space {
    pub fn read(params: &VectorParams) -> Result<Self, Status> {
        if params.datatype.unwrap_or_default() > 1 {
            return Err(unsupported("data types of vectors other than float32"));
        }
        let (size, distance) = (params.size, params.distance());
        match distance {
            Distance::UnknownDistance => Err(Status::invalid_argument("Unknown distance")),
            Distance::Manhattan => Err(unsupported("the Manhattan distance")),
            Distance::Cosine | Distance::Dot | Distance::Euclid => {
                Ok(match params.multivector_config {
                    None => Self::Dense { size, distance },
                    Some(_) => Self::Multi { size, distance },
                })
            }
        }
    }

    /// The distance by which dense vectors are searched.
    pub fn distance(self) -> Result<Distance, Status> {
        match self {
            Self::Dense { distance, .. } => Ok(distance),
            Self::Multi { .. } | Self::Sparse => Err(unsupported(
                "searching by multivectors and by sparse vectors",
            )),
        }
    }

    /// A dense vector as it is compared: of the right size, and of length one
    /// where the distance is cosine.
    pub fn dense(self, data: Vec<f32>) -> Result<Vec<f32>, Status> {
        match self {
            Self::Dense { size, distance } => prepared(data, size, distance),
            Self::Multi { .. } | Self::Sparse => Err(bad_input("Expected another kind of vector")),
        }
    }

    #[expect(deprecated, reason = "older clients write vectors as plain data")]
    pub fn stored(self, vector: Vector) -> Result<Stored, Status> {
        if vector.indices.is_some() || vector.vectors_count.is_some() {
            return Err(unsupported("sparse vectors and multivectors as plain data"));
        }
        match (self, vector.vector) {
            (Self::Dense { .. }, None) => Ok(Stored::Dense(self.dense(vector.data)?)),
            (Self::Dense { .. }, Some(vector::Vector::Dense(dense))) => {
                Ok(Stored::Dense(self.dense(dense.data)?))
            }
            (Self::Multi { size, distance }, Some(vector::Vector::MultiDense(multi))) => {
                let rows = multi.vectors.into_iter();
                let rows = rows.map(|row| prepared(row.data, size, distance));
                Ok(Stored::Multi(rows.collect::<Result<_, Status>>()?))
            }
            (Self::Sparse, Some(vector::Vector::Sparse(sparse))) => {
                if sparse.indices.len() != sparse.values.len() {
                    return Err(bad_input("must be the same length as indices"));
                }
                Ok(Stored::Sparse(sparse))
            }
            (_, Some(vector::Vector::Document(_) | vector::Vector::Image(_))) => {
                Err(unsupported("inference"))
            }
            _ => Err(bad_input("Expected another kind of vector")),
        }
    }
}

fn prepared(mut data: Vec<f32>, size: u64, distance: Distance) -> Result<Vec<f32>, Status> {
    if data.len() as u64 != size {
        return Err(bad_input(format!(
            "Vector dimension error: expected dim: {size}, got {}",
            data.len()
        )));
    }
    if distance == Distance::Cosine {
        let length = data.iter().map(|x| x * x).sum::<f32>();
        if length > f32::EPSILON && (length - 1.0).abs() > 1e-6 {
            let length = length.sqrt();
            data.iter_mut().for_each(|x| *x /= length);
        }
    }
    Ok(data)
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

    /// The one without a name comes alone, or among others under the name "".
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
        let alone = (chosen.len() == 1).then(|| chosen.remove("")).flatten();
        let options = match alone {
            Some(vector) => vectors_output::VectorsOptions::Vector(vector),
            None => vectors_output::VectorsOptions::Vectors(NamedVectorsOutput { vectors: chosen }),
        };
        Some(VectorsOutput {
            vectors_options: Some(options),
        })
    }
}

#[expect(deprecated, reason = "servers before 1.16 answer with plain data")]
fn output(stored: &Stored, as_plain_data: bool) -> VectorOutput {
    if as_plain_data {
        let mut plain = VectorOutput::default();
        match stored {
            Stored::Dense(data) => plain.data = data.clone(),
            Stored::Multi(rows) => {
                plain.data = rows.concat();
                plain.vectors_count = Some(rows.len() as u32);
            }
            Stored::Sparse(sparse) => {
                plain.data = sparse.values.clone();
                plain.indices = Some(SparseIndices {
                    data: sparse.indices.clone(),
                });
            }
        }
        return plain;
    }
    let dense = |data: &Vec<f32>| DenseVector { data: data.clone() };
    VectorOutput {
        vector: Some(match stored {
            Stored::Dense(data) => vector_output::Vector::Dense(dense(data)),
            Stored::Multi(rows) => vector_output::Vector::MultiDense(MultiDenseVector {
                vectors: rows.iter().map(dense).collect(),
            }),
            Stored::Sparse(sparse) => vector_output::Vector::Sparse(sparse.clone()),
        }),
        ..VectorOutput::default()
    }
}
