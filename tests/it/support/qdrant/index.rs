//! Points in the order of their ids, and what is made of them so that a search need
//! not read every payload: each point's place in that order, the places that carry a
//! keyword, and the vectors in one piece. Made when first asked for, and thrown away
//! by whatever writes.

use std::{
    collections::{BTreeMap, HashMap},
    ops::{Deref, DerefMut},
    sync::{Arc, Mutex, OnceLock},
};

use serde_json::Value as Json;

use super::{
    payload::Path,
    store::{Id, Point},
    vectors::Stored,
};

/// A set of places.
#[derive(Debug, Clone, Default)]
pub struct Places(Vec<u64>);

impl Places {
    pub fn insert(&mut self, place: usize) {
        let word = place / 64;
        if word >= self.0.len() {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= 1 << (place % 64);
    }

    pub fn contains(&self, place: usize) -> bool {
        let word = self.0.get(place / 64);
        word.is_some_and(|word| (word >> (place % 64)) & 1 == 1)
    }

    /// Those that are in so many of these.
    pub fn in_so_many(each: &[Self], least: u64) -> Self {
        let mut found: Vec<usize> = each.iter().flat_map(Self::iter).collect();
        found.sort_unstable();
        let mut places = Self::default();
        for same in found.chunk_by(|a, b| a == b) {
            if same.len() as u64 >= least {
                places.insert(same[0]);
            }
        }
        places
    }

    pub fn len(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// In order.
    pub fn iter(&self) -> impl Iterator<Item = usize> {
        self.0.iter().enumerate().flat_map(|(index, word)| {
            let lowest = |left: &u64| Some(left & (left - 1)).filter(|left| *left != 0);
            let first = (*word != 0).then_some(*word);
            std::iter::successors(first, lowest)
                .map(move |left| index * 64 + left.trailing_zeros() as usize)
        })
    }
}

/// The dense vectors of one name, one after the other.
#[derive(Debug)]
pub struct Dense {
    size: usize,
    numbers: Vec<f32>,
    there: Places,
}

impl Dense {
    pub fn get(&self, place: usize) -> Option<&[f32]> {
        let from = place * self.size;
        let there = self.there.contains(place);
        there.then(|| &self.numbers[from..from + self.size])
    }
}

type Keywords = HashMap<String, Vec<usize>>;

#[derive(Debug, Default)]
struct Made {
    ids: OnceLock<Vec<Id>>,
    keywords: Mutex<HashMap<String, Arc<Keywords>>>,
    dense: Mutex<HashMap<String, Arc<Dense>>>,
}

#[derive(Debug, Default)]
pub struct PointsById {
    points: BTreeMap<Id, Point>,
    made: Made,
}

impl Deref for PointsById {
    type Target = BTreeMap<Id, Point>;

    fn deref(&self) -> &Self::Target {
        &self.points
    }
}

impl DerefMut for PointsById {
    fn deref_mut(&mut self) -> &mut Self::Target {
        self.made = Made::default();
        &mut self.points
    }
}

impl PointsById {
    /// By place.
    pub fn ids(&self) -> &[Id] {
        let ids = &self.made.ids;
        ids.get_or_init(|| self.points.keys().copied().collect())
    }

    pub fn place(&self, id: &Id) -> Option<usize> {
        self.ids().binary_search(id).ok()
    }

    /// The places that carry any of these keywords there.
    pub fn with_any(&self, path: &str, keywords: &[String]) -> Places {
        let mut made = self.made.keywords.lock().unwrap();
        let index = match made.get(path) {
            Some(index) => index,
            None => made
                .entry(path.to_owned())
                .or_insert(Arc::new(self.keywords(path))),
        };
        let mut places = Places::default();
        for place in keywords.iter().filter_map(|text| index.get(text)).flatten() {
            places.insert(*place);
        }
        places
    }

    fn keywords(&self, path: &str) -> Keywords {
        let path = Path::parse(path).expect("a path, as its condition was read");
        let mut index = Keywords::new();
        for (place, point) in self.points.values().enumerate() {
            for value in path.values(&point.payload) {
                let texts = value
                    .as_array()
                    .map_or(std::slice::from_ref(value), |all| all);
                for text in texts.iter().filter_map(Json::as_str) {
                    index.entry(text.to_owned()).or_default().push(place);
                }
            }
        }
        index
    }

    /// All vectors of a name, which are of this size.
    pub fn dense(&self, name: &str, size: usize) -> Arc<Dense> {
        let mut made = self.made.dense.lock().unwrap();
        let dense = made.entry(name.to_owned()).or_insert_with(|| {
            let mut dense = Dense {
                size,
                numbers: vec![0.0; size * self.points.len()],
                there: Places::default(),
            };
            for (place, point) in self.points.values().enumerate() {
                if let Some(vector) = point.vectors.get(name).and_then(Stored::dense) {
                    dense.numbers[place * size..][..size].copy_from_slice(vector);
                    dense.there.insert(place);
                }
            }
            Arc::new(dense)
        });
        Arc::clone(dense)
    }
}
