//! Points in the order of their ids, and what searches derive from them: the place of
//! each point in that order, the places that have a keyword, and the vectors in one
//! block. Derived when first needed, and discarded by every write.

use std::{
    cell::{OnceCell, RefCell},
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use qdrant_client::qdrant::{SparseVector, vector::Vector};

use super::{
    payload,
    store::{Point, StoredId},
};

/// A set of places, as bits.
#[derive(Debug, Clone)]
pub struct PlaceSet(Vec<u64>);

impl PlaceSet {
    /// The empty set, with room for this many places.
    pub fn none(count: usize) -> Self {
        Self(vec![0; count.div_ceil(64)])
    }

    pub fn all(count: usize) -> Self {
        let mut words = vec![u64::MAX; count / 64];
        let rest = count % 64;
        words.extend((rest > 0).then_some((1 << rest) - 1));
        Self(words)
    }

    pub fn insert(&mut self, place: usize) {
        self.0[place / 64] |= 1 << (place % 64);
    }

    pub fn contains(&self, place: usize) -> bool {
        (self.0[place / 64] >> (place % 64)) & 1 == 1
    }

    pub fn intersect(&mut self, other: &Self) {
        self.combine(other, |a, b| a & b);
    }

    pub fn subtract(&mut self, other: &Self) {
        self.combine(other, |a, b| a & !b);
    }

    fn combine(&mut self, other: &Self, words: fn(u64, u64) -> u64) {
        for (a, b) in self.0.iter_mut().zip(&other.0) {
            *a = words(*a, *b);
        }
    }

    /// In ascending order.
    pub fn iter(&self) -> impl Iterator<Item = usize> {
        self.0.iter().enumerate().flat_map(|(index, word)| {
            let without_lowest = |rest: &u64| Some(rest & (rest - 1)).filter(|rest| *rest != 0);
            std::iter::successors(Some(*word).filter(|word| *word != 0), without_lowest)
                .map(move |rest| index * 64 + rest.trailing_zeros() as usize)
        })
    }
}

/// The dense vectors of one name, by place.
#[derive(Debug)]
pub struct DenseVectors {
    size: usize,
    numbers: Vec<f32>,
    present: PlaceSet,
}

impl DenseVectors {
    pub fn get(&self, place: usize) -> Option<&[f32]> {
        let start = place * self.size;
        let present = self.present.contains(place);
        present.then(|| &self.numbers[start..start + self.size])
    }
}

type PlacesByKeyword = HashMap<String, Vec<usize>>;

/// The places of the points that have a dimension of a sparse vector, with their values.
type Postings = HashMap<u32, Vec<(usize, f32)>>;

#[derive(Debug, Default)]
struct Derived {
    ids: OnceCell<Vec<StoredId>>,
    keywords: RefCell<HashMap<String, PlacesByKeyword>>,
    vectors: RefCell<HashMap<String, Arc<DenseVectors>>>,
    postings: RefCell<HashMap<String, Arc<Postings>>>,
}

#[derive(Debug, Default)]
pub struct PointsById {
    points: BTreeMap<StoredId, Point>,
    derived: Derived,
}

impl PointsById {
    pub fn len(&self) -> usize {
        self.points.len()
    }

    pub fn get(&self, id: &StoredId) -> Option<&Point> {
        self.points.get(id)
    }

    pub fn insert_all(&mut self, points: impl IntoIterator<Item = (StoredId, Point)>) {
        self.derived = Derived::default();
        self.points.extend(points);
    }

    /// To change a point.
    pub fn get_mut(&mut self, id: &StoredId) -> Option<&mut Point> {
        self.derived = Derived::default();
        self.points.get_mut(id)
    }

    pub fn remove(&mut self, id: &StoredId) {
        self.derived = Derived::default();
        self.points.remove(id);
    }

    pub fn update_all(&mut self, work: impl FnMut(&mut Point)) {
        self.derived = Derived::default();
        self.points.values_mut().for_each(work);
    }

    /// By place.
    pub fn ids(&self) -> &[StoredId] {
        let ids = &self.derived.ids;
        ids.get_or_init(|| self.points.keys().copied().collect())
    }

    pub fn any(&self, test: impl Fn(&Point) -> bool) -> bool {
        self.points.values().any(test)
    }

    pub fn places_where(&self, test: impl Fn(&Point) -> bool) -> PlaceSet {
        let mut places = PlaceSet::none(self.len());
        for (place, point) in self.points.values().enumerate() {
            if test(point) {
                places.insert(place);
            }
        }
        places
    }

    /// The places of the ids that exist.
    pub fn places_of(&self, ids: &[StoredId]) -> PlaceSet {
        let mut places = PlaceSet::none(self.len());
        for id in ids {
            if let Ok(place) = self.ids().binary_search(id) {
                places.insert(place);
            }
        }
        places
    }

    /// The places of the points that have any of these keywords in a field.
    pub fn places_with(&self, field: &str, keywords: &[String]) -> PlaceSet {
        let mut derived = self.derived.keywords.borrow_mut();
        let by_keyword = derived
            .entry(field.to_owned())
            .or_insert_with(|| self.places_by_keyword(field));
        let mut places = PlaceSet::none(self.len());
        for keyword in keywords {
            for place in by_keyword.get(keyword).into_iter().flatten() {
                places.insert(*place);
            }
        }
        places
    }

    fn places_by_keyword(&self, field: &str) -> PlacesByKeyword {
        let mut places = PlacesByKeyword::new();
        for (place, point) in self.points.values().enumerate() {
            for keyword in payload::keywords(&point.payload, field) {
                places.entry(keyword.to_owned()).or_default().push(place);
            }
        }
        places
    }

    /// The scalar products with the sparse vectors of a name, by place. Points without
    /// a common dimension are missing.
    pub fn sparse_products(&self, name: &str, query: &SparseVector) -> BTreeMap<usize, f32> {
        let mut derived = self.derived.postings.borrow_mut();
        let postings = derived
            .entry(name.to_owned())
            .or_insert_with(|| Arc::new(self.postings(name)));
        let mut products = BTreeMap::new();
        for (dimension, weight) in query.indices.iter().zip(&query.values) {
            for (place, value) in postings.get(dimension).into_iter().flatten() {
                *products.entry(*place).or_default() += weight * value;
            }
        }
        products
    }

    fn postings(&self, name: &str) -> Postings {
        let mut postings = Postings::new();
        for (place, point) in self.points.values().enumerate() {
            if let Some(Vector::Sparse(vector)) = point.vectors.get(name) {
                for (dimension, value) in vector.indices.iter().zip(&vector.values) {
                    postings
                        .entry(*dimension)
                        .or_default()
                        .push((place, *value));
                }
            }
        }
        postings
    }

    /// All vectors of a name, which have this size.
    pub fn dense_vectors(&self, name: &str, size: usize) -> Arc<DenseVectors> {
        let mut derived = self.derived.vectors.borrow_mut();
        let vectors = derived.entry(name.to_owned()).or_insert_with(|| {
            let mut numbers = vec![0.0; size * self.len()];
            let mut present = PlaceSet::none(self.len());
            for (place, point) in self.points.values().enumerate() {
                if let Some(Vector::Dense(vector)) = point.vectors.get(name) {
                    numbers[place * size..][..size].copy_from_slice(&vector.data);
                    present.insert(place);
                }
            }
            Arc::new(DenseVectors {
                size,
                numbers,
                present,
            })
        });
        Arc::clone(vectors)
    }
}
