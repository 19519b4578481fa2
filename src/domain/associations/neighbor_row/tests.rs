use proptest::{
    collection::vec,
    prelude::{Strategy, any},
    prop_assert, prop_assert_eq, proptest,
};

use super::{NeighborRow, PackedError, neighbor_row};
use crate::domain::{
    associations::{AssociationsConfig, InterestEntry, InterestList, InterestStrength},
    time::Timestamp,
};

const NOW: Timestamp = Timestamp::from_micros(1_790_000_000_000_000);

fn list(items: &[(&str, InterestStrength)]) -> InterestList {
    let entries = (0..)
        .zip(items)
        .map(|(micros, (item, strength))| InterestEntry {
            item: (*item).into(),
            time: Timestamp::from_micros(micros),
            strength: *strength,
        });
    InterestList::new(entries.collect(), 1_000)
}

fn row(lists: &[InterestList], config: &AssociationsConfig) -> Vec<(String, f64)> {
    let lists = lists.iter().map(InterestList::iter);
    neighbor_row("i", lists, |id| id, |_| 6, NOW, config)
        .iter()
        .map(|(id, weight)| (id.to_owned(), weight))
        .collect()
}

fn ids(row: &[(String, f64)]) -> Vec<&str> {
    row.iter().map(|(id, _)| id.as_str()).collect()
}

const FULL: InterestStrength = InterestStrength::Full;
const HALF: InterestStrength = InterestStrength::Half;

#[test]
fn a_row_is_what_the_formula_gives() {
    let config = AssociationsConfig::default();
    let lists = [
        list(&[("a", FULL), ("b", HALF), ("i", FULL), ("c", FULL)]),
        list(&[("i", HALF), ("a", FULL)]),
        list(&[("a", FULL)]),
    ];
    let root = 7.0_f64.sqrt() * 16.0_f64.sqrt();
    let a = (1.0 / 2.0_f64.sqrt() + 1.0) / root;
    let expected = [
        ("a".to_owned(), a),
        ("c".to_owned(), 1.0 / root),
        ("b".to_owned(), 0.5 / root),
        ("i".to_owned(), 0.3 * 1.5 / root),
    ];
    let row = row(&lists, &config);
    assert_eq!(row.len(), 4);
    for ((id, weight), (expected_id, expected)) in row.iter().zip(&expected) {
        assert_eq!(id, expected_id);
        assert!((weight - expected / (a + 0.05)).abs() < 1e-12, "{id}");
    }
}

#[test]
fn ties_go_to_the_smaller_id_also_at_the_bound() {
    let config = AssociationsConfig {
        row_max: 2,
        self_weight: 0.0,
        ..AssociationsConfig::default()
    };
    let lists = [
        list(&[("b", FULL), ("i", FULL)]),
        list(&[("a", FULL), ("i", FULL)]),
        list(&[("c", FULL), ("i", FULL)]),
    ];
    assert_eq!(ids(&row(&lists, &config)), ["a", "b"]);
}

#[test]
fn pairs_too_far_apart_or_of_too_few_users_are_left_out() {
    let lists = [
        list(&[("a", FULL), ("b", FULL), ("i", FULL), ("c", FULL)]),
        list(&[("i", FULL), ("b", FULL), ("a", FULL)]),
    ];
    let near = AssociationsConfig {
        pair_span: 1,
        ..AssociationsConfig::default()
    };
    assert_eq!(ids(&row(&lists, &near)), ["b", "c", "i"]);
    let common = AssociationsConfig {
        min_common_users: 2,
        ..AssociationsConfig::default()
    };
    assert_eq!(ids(&row(&lists, &common)), ["b", "a", "i"]);
    let one_user = AssociationsConfig {
        refresh_users: 1,
        ..AssociationsConfig::default()
    };
    assert_eq!(ids(&row(&lists[1..], &one_user)), ["b", "a", "i"]);
}

#[test]
fn an_item_without_lists_has_an_empty_row() {
    let config = AssociationsConfig::default();
    let none: [Vec<InterestEntry<&str>>; 0] = [];
    let row = neighbor_row("i", none, |id| id, |_| 0, NOW, &config);
    assert!(row.is_empty());
    assert_eq!(row.built_at(), NOW);
    assert_eq!(NeighborRow::decode(&row.encode()), Ok(row));
}

#[test]
fn the_packed_form_is_pinned() {
    let built_at = Timestamp::from_micros(1);
    let row = NeighborRow::new(built_at, [("é", 0.5), ("x", 0.25)].into_iter());
    let bytes = [
        1, 2, 2, 3, 0xc3, 0xa9, b'x', 2, 0, 0, 0, 0, 0, 0, 0xe0, 0x3f, 1, 0, 0, 0, 0, 0, 0, 0xd0,
        0x3f,
    ];
    assert_eq!(row.encode(), bytes);
    assert_eq!(NeighborRow::decode(&bytes), Ok(row));
}

#[test]
fn a_malformed_row_is_refused_and_why() {
    let packed = |weights: &[f64], lengths: &[u8], ids: &[u8]| {
        let mut bytes = vec![1, 0, weights.len() as u8, ids.len() as u8];
        bytes.extend_from_slice(ids);
        for (weight, length) in weights.iter().zip(lengths) {
            bytes.push(*length);
            bytes.extend_from_slice(&weight.to_le_bytes());
        }
        bytes
    };
    assert!(NeighborRow::decode(&packed(&[1.0, 1.0, 0.0], &[1, 1, 0], b"ba")).is_ok());
    for (bytes, error) in [
        (vec![], PackedError::CutOff),
        (vec![0, 0, 0, 0], PackedError::Version(0)),
        (vec![1, 0, 200, 1, 0], PackedError::CutOff),
        (packed(&[1.5], &[1], b"a"), PackedError::Weight),
        (packed(&[-0.0], &[1], b"a"), PackedError::Weight),
        (packed(&[f64::NAN], &[1], b"a"), PackedError::Weight),
        (packed(&[0.1, 0.2], &[1, 1], b"ab"), PackedError::Order),
        (packed(&[0.2, 0.1], &[1, 2], b"ab"), PackedError::Ids),
        (
            packed(&[0.2, 0.1], &[1, 1], "é".as_bytes()),
            PackedError::Ids,
        ),
        (packed(&[0.2], &[1], &[0xff]), PackedError::Ids),
    ] {
        assert_eq!(NeighborRow::decode(&bytes), Err(error), "{bytes:?}");
    }
    let mut trailing = packed(&[0.2], &[1], b"a");
    trailing.push(0);
    assert_eq!(
        NeighborRow::decode(&trailing),
        Err(PackedError::TrailingBytes)
    );
}

fn lists() -> impl Strategy<Value = Vec<InterestList>> {
    let entry = ("[a-k]", any::<bool>());
    let list_of = |entries: Vec<(String, bool)>| {
        let entries: Vec<_> = entries
            .iter()
            .map(|(item, is_full)| (item.as_str(), if *is_full { FULL } else { HALF }))
            .collect();
        list(&entries)
    };
    vec(vec(entry, 0..8).prop_map(list_of), 0..8)
}

proptest! {
    #[test]
    fn a_row_is_bounded_and_in_order_and_borrowed_lists_give_the_same(
        lists in lists(),
        row_max in 1_usize..6,
        pair_span in 1_usize..4,
    ) {
        let config = AssociationsConfig { row_max, pair_span, ..AssociationsConfig::default() };
        let size = |id: &str| id.len();
        let entries = lists.iter().map(InterestList::iter);
        let row = neighbor_row("i", entries, |id| id, size, NOW, &config);
        let neighbors: Vec<_> = row.iter().collect();
        prop_assert!(row.len() <= row_max);
        prop_assert!(neighbors.iter().all(|(_, weight)| *weight > 0.0 && *weight < 1.0));
        prop_assert!(neighbors.is_sorted_by(|a, b| a.1 > b.1 || (a.1 == b.1 && a.0 < b.0)));

        let packed: Vec<_> = lists.iter().map(InterestList::encode).collect();
        let borrowed = packed
            .iter()
            .map(|bytes| InterestList::decode_entries(bytes).unwrap());
        prop_assert_eq!(&neighbor_row("i", borrowed, |id| id, size, NOW, &config), &row);

        let stored = NeighborRow::decode(&row.encode()).unwrap();
        prop_assert_eq!(stored, row);
    }

    #[test]
    fn what_can_be_read_is_the_packed_form_of_a_row(
        lists in lists(),
        changes in vec((any::<proptest::sample::Index>(), any::<u8>()), 0..4),
        noise in vec(any::<u8>(), 0..40),
    ) {
        let entries = lists.iter().map(InterestList::iter);
        let config = AssociationsConfig::default();
        let mut damaged = neighbor_row("i", entries, |id| id, |_| 1, NOW, &config).encode();
        for (index, byte) in changes {
            let at = index.index(damaged.len());
            damaged[at] = byte;
        }
        let mut headed = vec![1];
        headed.extend_from_slice(&noise);
        for bytes in [damaged, noise, headed] {
            if let Ok(row) = NeighborRow::decode(&bytes) {
                prop_assert_eq!(row.encode(), bytes);
            }
        }
    }
}
