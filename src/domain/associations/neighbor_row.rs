//! The items most associated with an item.

use std::{cmp::Ordering, hash::Hash};

use foldhash::{HashMap, HashMapExt as _};

use super::{
    config::AssociationsConfig,
    hashed_id::HashedId,
    interest_list::InterestEntry,
    packed::{PackedError, PackedReader, put_length, put_signed},
};
use crate::domain::time::Timestamp;

/// An item's neighbours with their weights, 0 to 1, the largest first, ties in the
/// order of their ids.
#[derive(Clone, Debug, PartialEq)]
pub struct NeighborRow {
    built_at: Timestamp,
    /// The ids of all neighbours, concatenated: decoding a row allocates once
    /// rather than once per neighbour.
    ids: Box<str>,
    neighbors: Box<[Neighbor]>,
}

#[derive(Clone, Debug, PartialEq)]
struct Neighbor {
    weight: f64,
    /// The end of its id in the ids of the row.
    end: u32,
    /// The hash of its id.
    hash: u32,
}

impl NeighborRow {
    const VERSION: u8 = 1;

    /// When the row was built.
    #[must_use]
    pub fn built_at(&self) -> Timestamp {
        self.built_at
    }

    /// How many neighbours it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.neighbors.len()
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.neighbors.is_empty()
    }

    /// Its memory, in bytes.
    #[must_use]
    pub fn byte_size(&self) -> usize {
        size_of::<Self>() + self.ids.len() + size_of_val(&*self.neighbors)
    }

    /// The neighbours with their weights, the largest first.
    pub fn iter(&self) -> impl Iterator<Item = (&str, f64)> {
        self.hashed().map(|(id, weight)| (id.id(), weight))
    }

    /// The neighbours with their weights and the hashes of their ids.
    pub(super) fn hashed(&self) -> impl Iterator<Item = (HashedId<'_>, f64)> {
        let mut start = 0;
        self.neighbors.iter().map(move |neighbor| {
            let end = neighbor.end as usize;
            let id = self.ids.get(start..end).unwrap_or_default();
            start = end;
            (HashedId::with_hash(id, neighbor.hash), neighbor.weight)
        })
    }

    fn new<'a>(
        built_at: Timestamp,
        neighbors: impl ExactSizeIterator<Item = (&'a str, f64)>,
    ) -> Self {
        let mut ids = String::new();
        let mut ends = Vec::with_capacity(neighbors.len());
        for (id, weight) in neighbors {
            ids.push_str(id);
            ends.push(Neighbor {
                weight,
                end: ids.len() as u32,
                hash: HashedId::hash_of(id),
            });
        }
        Self {
            built_at,
            ids: ids.into(),
            neighbors: ends.into(),
        }
    }

    /// The packed form: version 1, the microseconds from the Unix epoch to the
    /// build, the number of neighbours, the bytes of all ids, the ids; for each
    /// neighbour the length of its id and its weight in double precision (little
    /// endian).
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(24 + self.ids.len() + 10 * self.neighbors.len());
        bytes.push(Self::VERSION);
        put_signed(&mut bytes, self.built_at.as_micros());
        put_length(&mut bytes, self.neighbors.len());
        put_length(&mut bytes, self.ids.len());
        bytes.extend_from_slice(self.ids.as_bytes());
        for (id, weight) in self.iter() {
            put_length(&mut bytes, id.len());
            bytes.extend_from_slice(&weight.to_le_bytes());
        }
        bytes
    }

    /// Reads a packed row.
    ///
    /// # Errors
    /// [`PackedError`] if it is malformed or its weights are out of order. That a
    /// neighbour is listed once is not checked.
    pub fn decode(bytes: &[u8]) -> Result<Self, PackedError> {
        let mut reader = PackedReader::new(bytes, Self::VERSION)?;
        let built_at = Timestamp::from_micros(reader.signed()?);
        let count = reader.count(9)?;
        let ids = reader.text()?;
        let mut neighbors: Vec<Neighbor> = Vec::with_capacity(count);
        let mut rest = ids;
        for _ in 0..count {
            let id;
            (id, rest) = rest
                .split_at_checked(reader.length()?)
                .ok_or(PackedError::Ids)?;
            let weight = f64::from_le_bytes(reader.array()?);
            if !(weight.is_sign_positive() && weight <= 1.0) {
                return Err(PackedError::Weight);
            }
            neighbors.push(Neighbor {
                weight,
                end: u32::try_from(ids.len() - rest.len()).map_err(|_| PackedError::Ids)?,
                hash: HashedId::hash_of(id),
            });
        }
        reader.end()?;
        if !rest.is_empty() {
            return Err(PackedError::Ids);
        }
        if !neighbors.is_sorted_by(|a, b| a.weight >= b.weight) {
            return Err(PackedError::Order);
        }
        Ok(Self {
            built_at,
            ids: ids.into(),
            neighbors: neighbors.into(),
        })
    }
}

/// The pairs of the item and one neighbour, summed up.
#[derive(Default)]
struct Pairs {
    sum: f64,
    users: usize,
}

/// Builds the row of `item` from the interest lists of its audience, the newest
/// member's first (those after the first `refresh_users` are ignored; a list that
/// lacks the item adds nothing; of a list, the entries at most `pair_span` positions
/// from the item are enough). Items are named by keys: their ids, or numbers that stand
/// for these. `id` gives the id of a key, and `audience_size` the number of members
/// of the stored audience of any item, `item` included; it is called once for each item.
///
/// With `pos` the index in a list:
///
/// ```text
/// acc[j]  = Σ_lists strength(j) / √|pos(j) − pos(item)|      j ≠ item, at most pair_span apart
/// acc[item] = Σ_lists self_weight · strength(item)
/// s[j]    = acc[j] / (√(size(item) + 1) · √(size(j) + shrink))   sizes at most count_cap
/// row     = the row_max largest s, each divided by (the largest + row_offset)
/// ```
///
/// A neighbour in fewer than `min_common_users` of these lists is left out, and so
/// is one of weight 0.
#[must_use]
pub fn neighbor_row<'a, K, L>(
    item: K,
    lists: impl IntoIterator<Item = L>,
    id: impl Fn(K) -> &'a str,
    audience_size: impl Fn(K) -> usize,
    built_at: Timestamp,
    config: &AssociationsConfig,
) -> NeighborRow
where
    K: Copy + Eq + Hash,
    L: IntoIterator<Item = InterestEntry<K>>,
{
    let distances: Vec<f64> = (0..=config.pair_span)
        .map(|distance| (distance as f64).sqrt())
        .collect();
    let mut pairs: HashMap<K, Pairs> = HashMap::with_capacity(4_096);
    let mut itself = 0.0;
    let mut list: Vec<(K, f64)> = Vec::new();
    for entries in lists.into_iter().take(config.refresh_users) {
        let mut place = None;
        list.clear();
        for entry in entries {
            if entry.item == item {
                place = Some(list.len());
            }
            list.push((entry.item, entry.strength.value()));
        }
        let Some(place) = place else { continue };
        itself += config.self_weight * list[place].1;
        let first = place.saturating_sub(config.pair_span);
        let end = list.len().min(place + config.pair_span + 1);
        for (position, (key, strength)) in list.iter().enumerate().take(end).skip(first) {
            if position != place {
                let pair = pairs.entry(*key).or_default();
                pair.sum += strength / distances[position.abs_diff(place)];
                pair.users += 1;
            }
        }
    }

    let size = |key: K| audience_size(key).min(config.count_cap) as f64;
    let own_size = size(item);
    let own_root = (own_size + 1.0).sqrt();
    let scored = |sum: f64, size: f64| sum / (own_root * (size + config.shrink).sqrt());
    let mut neighbors: Vec<(K, f64)> = pairs
        .into_iter()
        .filter(|(_, pair)| pair.users >= config.min_common_users)
        .map(|(key, pair)| (key, scored(pair.sum, size(key))))
        .collect();
    neighbors.push((item, scored(itself, own_size)));
    neighbors.retain(|(_, weight)| *weight > 0.0);

    let row_order = |a: &(K, f64), b: &(K, f64)| -> Ordering {
        b.1.total_cmp(&a.1).then_with(|| id(a.0).cmp(id(b.0)))
    };
    if neighbors.len() > config.row_max {
        neighbors.select_nth_unstable_by(config.row_max, row_order);
        neighbors.truncate(config.row_max);
    }
    neighbors.sort_unstable_by(row_order);
    let divisor = neighbors.first().map_or(0.0, |(_, largest)| *largest) + config.row_offset;
    NeighborRow::new(
        built_at,
        neighbors
            .iter()
            .map(|(key, weight)| (id(*key), weight / divisor)),
    )
}

#[cfg(test)]
mod tests;
