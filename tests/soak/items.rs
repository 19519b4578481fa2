//! The catalogue: items that stay the same, and items that change.

use std::{sync::Arc, time::Duration};

use recsys::{
    adapters::qdrant::{QdrantItemStore, QdrantSettings},
    proto::{GeoPoint, Item, ItemOutcome, Tag, UpsertItemsRequest},
};
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::{random::Random, support::catalogue, world::World};

pub const COLLECTION: &str = "items";
pub const ITEMS: usize = 2_000;
/// The first ones never change.
pub const STEADY: usize = 1_800;
pub const DIMENSIONS: usize = 32;
const THEMES: usize = 24;
/// Each user likes the themes of one family.
pub const FAMILIES: usize = 8;
const THEMES_OF_FAMILY: usize = THEMES / FAMILIES;
pub const TYPES: [&str; 3] = ["object", "story", "film"];
const ITEMS_PER_REQUEST: usize = 200;

/// What is known of an item that changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ItemState {
    /// A change was not acknowledged.
    #[default]
    Unknown,
    Revision(u32),
    Deleted,
}

#[derive(Default)]
pub struct ChangingItem {
    pub state: ItemState,
    pub revision: u32,
}

pub type LockedItem = (usize, OwnedMutexGuard<ChangingItem>);

/// The items from `STEADY` on.
pub struct ChangingItems(Vec<Arc<Mutex<ChangingItem>>>);

impl ChangingItems {
    pub fn new() -> Self {
        Self((STEADY..ITEMS).map(|_| Arc::default()).collect())
    }

    /// Up to `most` items that no other call changes at the moment, if there are any.
    pub fn lock_some(&self, most: usize, random: &mut Random) -> Option<Vec<LockedItem>> {
        let some = (0..1 + random.below(most)).filter_map(|_| {
            let index = random.below(self.0.len());
            let item = Arc::clone(&self.0[index]).try_lock_owned().ok()?;
            Some((STEADY + index, item))
        });
        let some: Vec<LockedItem> = some.collect();
        (!some.is_empty()).then_some(some)
    }

    pub async fn states(&self) -> Vec<(usize, ItemState)> {
        let mut states = Vec::new();
        for (item, index) in self.0.iter().zip(STEADY..) {
            states.push((index, item.lock().await.state));
        }
        states
    }
}

/// Ids of every kind: a number is a point's own id, others are hashed into one.
pub fn id(index: usize) -> String {
    match index % 3 {
        0 => (10_000 + index).to_string(),
        1 => format!("SKU-{index}"),
        _ => format!("pièce/{index}"),
    }
}

/// One of the first `end` items, of this family.
pub fn of_family(family: usize, end: usize, random: &mut Random) -> usize {
    let round = random.below(end / THEMES);
    THEMES * round + THEMES_OF_FAMILY * family + random.below(THEMES_OF_FAMILY)
}

pub fn theme(index: usize) -> String {
    format!("Theme {}", index % THEMES)
}

pub fn title(index: usize, revision: u32) -> String {
    format!("Item {index}, revision {revision}")
}

/// Always the same item for an index and a revision.
pub fn item(index: usize, revision: u32) -> Item {
    let mut random = Random::new((index as u64) << 32 | u64::from(revision));
    let family = index % THEMES / THEMES_OF_FAMILY;
    // Items of a theme point in about the same direction.
    let mut direction = Random::new((index % THEMES) as u64);
    let vector = (0..DIMENSIONS)
        .map(|_| (direction.between(-1.0, 1.0) + random.between(-0.5, 0.5)) as f32)
        .collect();
    let tag = |facet: &str, label: &str, weight| Tag {
        facet: facet.to_owned(),
        label: label.to_owned(),
        weight,
    };
    let place = GeoPoint {
        latitude: random.between(57.6, 57.8),
        longitude: random.between(11.8, 12.1),
    };
    let second_theme = theme(of_family(family, THEMES, &mut random));
    Item {
        content_id: id(index),
        content_type: (*random.pick(&TYPES)).to_owned(),
        title: title(index, revision),
        text: "A sentence about the item. ".repeat(1 + random.below(20)),
        tags: vec![
            tag("theme", &theme(index), Some(1.0)),
            tag("theme", &second_theme, Some(random.between(0.1, 0.9))),
            tag("family", &format!("Family_{family}"), None),
        ],
        word_count: 20 + random.below(300) as u32,
        has_image: random.chance(0.5),
        location: random.chance(0.7).then_some(place),
        years: vec![1_800 + random.below(200) as i32],
        // A few have none.
        vector: if random.chance(0.98) {
            vector
        } else {
            Vec::new()
        },
        ..Item::default()
    }
}

/// Stores all items in their first revision.
pub async fn fill(world: &World) {
    let all: Vec<usize> = (0..ITEMS).collect();
    for indexes in all.chunks(ITEMS_PER_REQUEST) {
        let items = indexes.iter().map(|index| item(*index, 0)).collect();
        let request = UpsertItemsRequest { items };
        let reply = world.catalog().upsert_items(request).await;
        for result in reply.expect("a catalogue").into_inner().results {
            assert_eq!(result.outcome(), ItemOutcome::Stored, "{result:?}");
        }
    }
}

/// The server's collection, read by this process without a cache.
pub fn store(url: &str) -> QdrantItemStore {
    let settings = QdrantSettings {
        collection_name: COLLECTION.to_owned(),
        qdrant_timeout: Duration::from_secs(20),
        qdrant_connect_timeout: Duration::from_secs(20),
        ..QdrantSettings::default()
    };
    catalogue::store(url, &settings)
}
