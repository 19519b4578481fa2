//! The vectors of points.

use std::collections::HashMap;

use qdrant_client::qdrant::{Vector, VectorsOutput, vector, vector_output, vectors_output};

use crate::domain::vector::UnitVector;

/// The item's vector of a point, which is the one of this name, or without a name.
/// And the point's other vectors by name, in the form that writes take.
pub(crate) fn vectors(
    vectors: Option<VectorsOutput>,
    name: Option<&str>,
) -> (Option<UnitVector>, HashMap<String, Vector>) {
    let named = match vectors.and_then(|vectors| vectors.vectors_options) {
        None => HashMap::new(),
        Some(vectors_output::VectorsOptions::Vector(output)) => {
            HashMap::from([(String::new(), output)])
        }
        Some(vectors_output::VectorsOptions::Vectors(named)) => named.vectors,
    };
    let mut own = None;
    let mut others = HashMap::new();
    for (label, output) in named {
        let vector = match output.into_vector() {
            vector_output::Vector::Dense(dense) if label == name.unwrap_or_default() => {
                own = UnitVector::new(&dense.data);
                continue;
            }
            vector_output::Vector::Dense(dense) => vector::Vector::Dense(dense),
            vector_output::Vector::Sparse(sparse) => vector::Vector::Sparse(sparse),
            vector_output::Vector::MultiDense(multi) => vector::Vector::MultiDense(multi),
        };
        let vector = Vector {
            vector: Some(vector),
            ..Vector::default()
        };
        others.insert(label, vector);
    }
    (own, others)
}
