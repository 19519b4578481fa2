//! The catalogue: items that stay as they are, and items that change.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use recsys::{
    adapters::{
        qdrant::{QdrantItemStore, QdrantSettings},
        system::SystemClock,
    },
    domain::time::Timestamp,
    ports::Clock as _,
    proto::{GeoPoint, Item, Tag},
};
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::{dice::Dice, rig::COLLECTION, support::catalogue};

pub const ITEMS: usize = 2_000;
/// The first ones never change.
pub const STEADY: usize = 1_800;
pub const DIMENSIONS: usize = 32;
const THEMES: usize = 24;
/// Each user likes the themes of one family.
pub const FAMILIES: usize = 8;
const OF_FAMILY: usize = THEMES / FAMILIES;
pub const TYPES: [&str; 3] = ["object", "story", "film"];

/// What is known of an item that changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Truth {
    /// A change was not acknowledged.
    #[default]
    Unknown,
    /// It was stored so.
    Revision(u32),
    Deleted,
}

#[derive(Default)]
pub struct Changing {
    pub truth: Truth,
    pub revision: u32,
}

/// One that changes.
struct Place {
    id: String,
    changing: Arc<Mutex<Changing>>,
    /// When it last may have changed, in microseconds.
    changed_us: AtomicI64,
}

pub struct Shelf(Vec<Place>);

impl Shelf {
    pub fn new() -> Self {
        let places = (STEADY..ITEMS).map(|index| Place {
            id: id(index),
            changing: Arc::default(),
            changed_us: AtomicI64::default(),
        });
        Self(places.collect())
    }

    /// One for oneself, if nobody else has it.
    pub fn take(&self, dice: &mut Dice) -> Option<(usize, OwnedMutexGuard<Changing>)> {
        let place = dice.below(self.0.len());
        let held = Arc::clone(&self.0[place].changing).try_lock_owned().ok()?;
        Some((STEADY + place, held))
    }

    /// A change of it begins, or ends.
    pub fn touched(&self, index: usize) {
        let now = SystemClock.now().as_micros();
        self.0[index - STEADY]
            .changed_us
            .fetch_max(now, Ordering::SeqCst);
    }

    /// Whether it may have changed since.
    pub fn changed_since(&self, id: &str, since: Timestamp) -> bool {
        let place = self.0.iter().find(|place| place.id == id);
        place.is_some_and(|place| place.changed_us.load(Ordering::SeqCst) >= since.as_micros())
    }

    /// What is known of those that change.
    pub async fn truths(&self) -> Vec<(usize, Truth)> {
        let mut truths = Vec::new();
        for (place, index) in self.0.iter().zip(STEADY..) {
            truths.push((index, place.changing.lock().await.truth));
        }
        truths
    }
}

/// Ids of every kind: a number is a point's own id, others are made into one.
pub fn id(index: usize) -> String {
    match index % 3 {
        0 => (10_000 + index).to_string(),
        1 => format!("SKU-{index}"),
        _ => format!("pièce/{index}"),
    }
}

/// One of the first `end` items, of this family.
pub fn of_family(family: usize, end: usize, dice: &mut Dice) -> usize {
    let round = dice.below(end / THEMES);
    THEMES * round + OF_FAMILY * family + dice.below(OF_FAMILY)
}

pub fn theme(index: usize) -> String {
    format!("Theme {}", index % THEMES)
}

pub fn title(index: usize, revision: u32) -> String {
    format!("Item {index}, revision {revision}")
}

/// The same for the same item and revision.
pub fn item(index: usize, revision: u32) -> Item {
    let mut dice = Dice::new((index as u64) << 32 | u64::from(revision));
    let family = index % THEMES / OF_FAMILY;
    // Items of a theme point about the same way.
    let mut way = Dice::new((index % THEMES) as u64);
    let vector = (0..DIMENSIONS)
        .map(|_| (way.between(-1.0, 1.0) + dice.between(-0.5, 0.5)) as f32)
        .collect();
    let tag = |facet: &str, label: &str, weight| Tag {
        facet: facet.to_owned(),
        label: label.to_owned(),
        weight,
    };
    let place = GeoPoint {
        latitude: dice.between(57.6, 57.8),
        longitude: dice.between(11.8, 12.1),
    };
    Item {
        content_id: id(index),
        content_type: (*dice.pick(&TYPES)).to_owned(),
        title: title(index, revision),
        text: "What there is to say of it. ".repeat(1 + dice.below(20)),
        tags: vec![
            tag("theme", &theme(index), Some(1.0)),
            tag(
                "theme",
                &theme(of_family(family, THEMES, &mut dice)),
                Some(dice.between(0.1, 0.9)),
            ),
            tag("family", &format!("Family_{family}"), None),
        ],
        word_count: 20 + dice.below(300) as u32,
        has_image: dice.chance(0.5),
        location: dice.chance(0.7).then_some(place),
        years: vec![1_800 + dice.below(200) as i32],
        // A few have none.
        vector: if dice.chance(0.98) {
            vector
        } else {
            Vec::new()
        },
        ..Item::default()
    }
}

/// The same collection as the server's, seen by another process: nothing is
/// remembered, and no time-out depends on the machine's speed.
pub fn store(url: &str) -> QdrantItemStore {
    let settings = QdrantSettings {
        collection_name: COLLECTION.to_owned(),
        qdrant_timeout: Duration::from_secs(20),
        qdrant_connect_timeout: Duration::from_secs(20),
        ..QdrantSettings::default()
    };
    catalogue::store(url, &settings)
}
