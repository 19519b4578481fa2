//! The items that a user recently engaged with.

use std::{borrow::Borrow, cmp::Ordering};

use foldhash::{HashMap, HashSet};

use super::packed::{PackedError, PackedReader, put_length, put_number, put_signed};
use crate::domain::{ids::ContentId, time::Timestamp};

/// How much the user liked an item of the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum InterestStrength {
    /// Engaged with it.
    Half,
    /// Liked it well.
    Full,
}

impl InterestStrength {
    /// The strength of an engagement from which on it is [`Full`](Self::Full).
    const FULL_FROM: f64 = 0.5;

    /// Of an item's strength in the user model, before decay.
    #[must_use]
    pub fn of(strength: f64) -> Self {
        if strength >= Self::FULL_FROM {
            Self::Full
        } else {
            Self::Half
        }
    }

    /// 1 or 0.5.
    #[must_use]
    pub fn value(self) -> f64 {
        match self {
            Self::Half => 0.5,
            Self::Full => 1.0,
        }
    }
}

/// An item of an interest list. Read from a packed list, its id is borrowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterestEntry<T = ContentId> {
    /// The item.
    pub item: T,
    /// When the user last engaged with it.
    pub time: Timestamp,
    /// How much the user liked it.
    pub strength: InterestStrength,
}

impl<T: Borrow<str>> InterestEntry<T> {
    fn list_order(&self, other: &Self) -> Ordering {
        self.time
            .cmp(&other.time)
            .then_with(|| self.item.borrow().cmp(other.item.borrow()))
    }
}

/// The position of `item` among entries in the order of a list, found at once if the
/// user last engaged with it at `time`.
#[must_use]
pub fn position_of<T: Borrow<str>>(
    entries: &[InterestEntry<T>],
    item: &str,
    time: Timestamp,
) -> Option<usize> {
    let order = |entry: &InterestEntry<T>| {
        (entry.time.cmp(&time)).then_with(|| entry.item.borrow().cmp(item))
    };
    let found = entries.binary_search_by(order).ok();
    found.or_else(|| entries.iter().position(|entry| entry.item.borrow() == item))
}

/// The items that a user recently engaged with and did not dislike, each once, in
/// the order of (last engagement, item id bytes), the oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InterestList(Vec<InterestEntry>);

impl InterestList {
    const VERSION: u8 = 1;

    /// How many previous items an engagement changes besides its own.
    const PREVIOUS_ITEMS: usize = 5;

    /// The newest `list_max` of these entries, given in any order. Of several
    /// entries of one item the latest counts, at equal times the stronger.
    #[must_use]
    pub fn new(mut entries: Vec<InterestEntry>, list_max: usize) -> Self {
        entries.sort_by(|a, b| b.list_order(a).then_with(|| b.strength.cmp(&a.strength)));
        let mut items: HashSet<ContentId> = HashSet::default();
        let mut newest: Vec<InterestEntry> = entries
            .into_iter()
            .filter(|entry| items.insert(entry.item.clone()))
            .take(list_max)
            .collect();
        newest.reverse();
        Self(newest)
    }

    /// The entries, the oldest first.
    #[must_use]
    pub fn entries(&self) -> &[InterestEntry] {
        &self.0
    }

    /// The entries with borrowed ids, the oldest first.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = InterestEntry<&str>> {
        self.0.iter().map(|entry| InterestEntry {
            item: entry.item.as_str(),
            time: entry.time,
            strength: entry.strength,
        })
    }

    /// The entries, the latest first.
    pub fn latest_first(&self) -> impl ExactSizeIterator<Item = &InterestEntry> {
        self.0.iter().rev()
    }

    /// The entries that are not in an earlier list of the user, or there at another
    /// time, each with its position in this list.
    pub fn changed_since<'a>(
        &'a self,
        earlier: &'a Self,
    ) -> impl Iterator<Item = (usize, &'a InterestEntry)> {
        let times: HashMap<&str, Timestamp> = earlier
            .0
            .iter()
            .map(|entry| (entry.item.as_str(), entry.time))
            .collect();
        self.0
            .iter()
            .enumerate()
            .filter(move |(_, entry)| times.get(entry.item.as_str()) != Some(&entry.time))
    }

    /// The entries whose rows an engagement with the item at `position` changes:
    /// it and the 5 before it. Empty if there is no such position.
    #[must_use]
    pub fn changed_by(&self, position: usize) -> &[InterestEntry] {
        let first = position.saturating_sub(Self::PREVIOUS_ITEMS);
        self.0.get(first..=position).unwrap_or_default()
    }

    /// The packed form: version 1, the number of entries, the bytes of all ids, the
    /// ids; for each entry the microseconds since the one before (of the first:
    /// since the Unix epoch) and twice the length of its id, plus 1 if its strength
    /// is 1. A list has one packed form.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let text_bytes: usize = self.0.iter().map(|entry| entry.item.as_str().len()).sum();
        let mut bytes = Vec::with_capacity(16 + text_bytes + 7 * self.0.len());
        bytes.push(Self::VERSION);
        put_length(&mut bytes, self.0.len());
        put_length(&mut bytes, text_bytes);
        for entry in &self.0 {
            bytes.extend_from_slice(entry.item.as_str().as_bytes());
        }
        let mut before: Option<i64> = None;
        for entry in &self.0 {
            let micros = entry.time.as_micros();
            match before {
                None => put_signed(&mut bytes, micros),
                Some(before) => put_number(&mut bytes, micros.abs_diff(before)),
            }
            before = Some(micros);
            let is_full = entry.strength == InterestStrength::Full;
            put_length(
                &mut bytes,
                entry.item.as_str().len() << 1 | usize::from(is_full),
            );
        }
        bytes
    }

    /// Reads a packed list.
    ///
    /// # Errors
    /// [`PackedError`] if it is malformed or its entries are out of order. That an
    /// item is listed once is not checked.
    pub fn decode(bytes: &[u8]) -> Result<Self, PackedError> {
        let entries = Self::decode_entries(bytes)?.into_iter();
        let entries = entries.map(|entry| InterestEntry {
            item: entry.item.into(),
            time: entry.time,
            strength: entry.strength,
        });
        Ok(Self(entries.collect()))
    }

    /// Reads the entries of a packed list without copying ids, the oldest first.
    ///
    /// # Errors
    /// As [`decode`](Self::decode).
    pub fn decode_entries(bytes: &[u8]) -> Result<Vec<InterestEntry<&str>>, PackedError> {
        let mut reader = PackedReader::new(bytes, Self::VERSION)?;
        let count = reader.count(2)?;
        let mut ids = reader.text()?;
        let mut entries: Vec<InterestEntry<&str>> = Vec::with_capacity(count);
        let mut micros = 0_i64;
        for index in 0..count {
            micros = if index == 0 {
                reader.signed()?
            } else {
                micros
                    .checked_add_unsigned(reader.number()?)
                    .ok_or(PackedError::Number)?
            };
            let packed = reader.length()?;
            let item;
            (item, ids) = ids.split_at_checked(packed >> 1).ok_or(PackedError::Ids)?;
            entries.push(InterestEntry {
                item,
                time: Timestamp::from_micros(micros),
                strength: if packed & 1 == 1 {
                    InterestStrength::Full
                } else {
                    InterestStrength::Half
                },
            });
        }
        reader.end()?;
        if !ids.is_empty() {
            return Err(PackedError::Ids);
        }
        if !entries.is_sorted_by(|a, b| a.list_order(b) == Ordering::Less) {
            return Err(PackedError::Order);
        }
        Ok(entries)
    }
}

#[cfg(test)]
mod tests {
    use proptest::{
        collection::vec,
        prelude::{Strategy, any},
        prop_assert, prop_assert_eq, proptest,
    };

    use super::{InterestEntry, InterestList, InterestStrength, PackedError, position_of};
    use crate::domain::time::Timestamp;

    fn entry(item: &str, micros: i64, is_full: bool) -> InterestEntry {
        InterestEntry {
            item: item.into(),
            time: Timestamp::from_micros(micros),
            strength: if is_full {
                InterestStrength::Full
            } else {
                InterestStrength::Half
            },
        }
    }

    fn items(list: &InterestList) -> Vec<&str> {
        list.entries()
            .iter()
            .map(|entry| entry.item.as_str())
            .collect()
    }

    #[test]
    fn a_list_is_in_order_of_time_and_id_and_cut_from_the_front() {
        let entries = vec![
            entry("b", 5, true),
            entry("c", 1, true),
            entry("a", 5, false),
            entry("é", 5, false),
            entry("d", 9, false),
        ];
        let list = InterestList::new(entries.clone(), 10);
        assert_eq!(items(&list), ["c", "a", "b", "é", "d"]);
        let list = InterestList::new(entries, 3);
        assert_eq!(items(&list), ["b", "é", "d"]);
        let latest: Vec<_> = list.latest_first().map(|entry| &entry.item).collect();
        assert_eq!(latest[0].as_str(), "d");
    }

    #[test]
    fn an_item_is_in_a_list_once_with_its_latest_engagement() {
        let entries = vec![
            entry("a", 1, true),
            entry("b", 2, true),
            entry("a", 3, false),
            entry("b", 2, false),
        ];
        let list = InterestList::new(entries, 10);
        assert_eq!(list.entries(), [entry("b", 2, true), entry("a", 3, false)]);
    }

    #[test]
    fn an_item_is_found_at_its_time_and_at_another() {
        let list = InterestList::new(
            vec![
                entry("b", 2, true),
                entry("a", 2, true),
                entry("c", 3, true),
            ],
            10,
        );
        for (item, place) in [("a", Some(0)), ("b", Some(1)), ("c", Some(2)), ("d", None)] {
            for micros in 1..5 {
                let time = Timestamp::from_micros(micros);
                assert_eq!(
                    position_of(list.entries(), item, time),
                    place,
                    "{item} {micros}"
                );
            }
        }
    }

    #[test]
    fn half_a_strength_is_full_interest() {
        for (strength, value) in [(-0.04, 0.5), (0.49, 0.5), (0.5, 1.0), (1.0, 1.0)] {
            assert_eq!(InterestStrength::of(strength).value(), value);
        }
    }

    #[test]
    fn an_engagement_changes_its_item_and_the_five_before() {
        let entries = (0..8).map(|n| entry(&n.to_string(), n, true)).collect();
        let list = InterestList::new(entries, 10);
        let changed = |position| {
            let entries = list.changed_by(position);
            entries
                .iter()
                .map(|entry| entry.item.to_string())
                .collect::<String>()
        };
        assert_eq!(changed(7), "234567");
        assert_eq!(changed(2), "012");
        assert_eq!(changed(8), "");
    }

    #[test]
    fn new_and_moved_entries_are_changed_ones() {
        let earlier = InterestList::new(
            vec![
                entry("a", 1, true),
                entry("b", 2, true),
                entry("c", 3, true),
            ],
            10,
        );
        let later = InterestList::new(
            vec![
                entry("b", 2, false),
                entry("c", 4, true),
                entry("d", 5, true),
            ],
            10,
        );
        let changed: Vec<_> = later
            .changed_since(&earlier)
            .map(|(position, entry)| (position, entry.item.as_str()))
            .collect();
        assert_eq!(changed, [(1, "c"), (2, "d")]);
        assert_eq!(later.changed_since(&later).count(), 0);
    }

    #[test]
    fn the_packed_form_is_pinned() {
        let list = InterestList::new(vec![entry("x", 1_000, false), entry("é", 1_128, true)], 9);
        let bytes = [1, 2, 3, b'x', 0xc3, 0xa9, 0xd0, 0x0f, 2, 0x80, 1, 5];
        assert_eq!(list.encode(), bytes);
        assert_eq!(InterestList::decode(&bytes), Ok(list));
        assert_eq!(InterestList::default().encode(), [1, 0, 0]);
    }

    #[test]
    fn a_malformed_list_is_refused_and_why() {
        for (bytes, error) in [
            (&[][..], PackedError::CutOff),
            (&[2, 0, 0], PackedError::Version(2)),
            (&[1, 0], PackedError::CutOff),
            (&[1, 9, 0], PackedError::CutOff),
            (&[1, 0, 0, 0], PackedError::TrailingBytes),
            (&[1, 0, 1], PackedError::CutOff),
            (&[1, 1, 1, 0xff, 0, 2], PackedError::Ids),
            (&[1, 1, 1, b'x', 0, 4], PackedError::Ids),
            (&[1, 1, 1, b'x', 0, 0], PackedError::Ids),
            (&[1, 1, 2, 0xc3, 0xa9, 0, 2], PackedError::Ids),
            (&[1, 2, 2, b'b', b'a', 0, 2, 0, 2], PackedError::Order),
            (&[1, 2, 2, b'a', b'a', 0, 2, 0, 2], PackedError::Order),
        ] {
            assert_eq!(InterestList::decode(bytes), Err(error), "{bytes:?}");
        }
    }

    fn entries() -> impl Strategy<Value = Vec<InterestEntry>> {
        let time = proptest::prop_oneof![0_i64..4, any::<i64>()];
        let entry = ("[a-cé]{0,2}", time, any::<bool>())
            .prop_map(|(item, micros, is_full)| entry(&item, micros, is_full));
        vec(entry, 0..12)
    }

    proptest! {
        #[test]
        fn order_and_repetition_do_not_matter_and_the_bound_holds(
            entries in entries(),
            keys in vec(any::<u32>(), 24),
            list_max in 1_usize..8,
        ) {
            let list = InterestList::new(entries.clone(), list_max);
            let mut shuffled: Vec<_> = keys
                .iter()
                .zip(entries.iter().chain(&entries))
                .collect();
            shuffled.sort_by_key(|(key, _)| *key);
            let shuffled = shuffled.into_iter().map(|(_, entry)| entry.clone()).collect();
            prop_assert_eq!(&InterestList::new(shuffled, list_max), &list);
            prop_assert!(list.entries().len() <= list_max);
        }

        #[test]
        fn a_list_comes_back_from_its_packed_form(entries in entries()) {
            let list = InterestList::new(entries, 100);
            prop_assert_eq!(InterestList::decode(&list.encode()), Ok(list));
        }

        #[test]
        fn what_can_be_read_is_the_packed_form_of_a_list(
            entries in entries(),
            changes in vec((any::<proptest::sample::Index>(), any::<u8>()), 0..4),
            noise in vec(any::<u8>(), 0..40),
        ) {
            let mut damaged = InterestList::new(entries, 100).encode();
            for (index, byte) in changes {
                let at = index.index(damaged.len());
                damaged[at] = byte;
            }
            let mut headed = vec![1];
            headed.extend_from_slice(&noise);
            for bytes in [damaged, noise, headed] {
                if let Ok(list) = InterestList::decode(&bytes) {
                    prop_assert_eq!(list.encode(), bytes);
                }
            }
        }
    }
}
