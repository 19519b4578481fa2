//! The items of a world, and how likely each is at a moment.

use serde_json::json;

use super::settings::WorldSettings;
use crate::{
    domain::{
        item::{Item, Tag},
        vector::UnitVector,
    },
    eval::rng::SeededRng,
};

/// Days in which a launched item loses half of its novelty.
const NOVELTY_HALF_LIFE_DAYS: f64 = 7.0;
/// How many times more popular than later an item is when it is launched.
const NOVELTY: f64 = 9.0;

/// An item with what makes users choose it.
#[derive(Clone, Debug)]
pub(super) struct WorldItem {
    pub(super) theme: usize,
    /// The day of its launch; before, it cannot be chosen. Of items that were
    /// there from the start, 0.
    launch: u32,
    /// Popularity without novelty.
    weight: f64,
    pub(super) complements: Vec<u32>,
}

impl WorldItem {
    /// Popularity on a day.
    pub(super) fn weight_on(&self, day: u32) -> f64 {
        let Some(age) = day.checked_sub(self.launch) else {
            return 0.0;
        };
        let novelty = if self.launch == 0 {
            0.0
        } else {
            NOVELTY * (-f64::from(age) / NOVELTY_HALF_LIFE_DAYS).exp2()
        };
        self.weight * (1.0 + novelty)
    }
}

pub(super) fn make_items(settings: &WorldSettings) -> Vec<WorldItem> {
    let mut rng = SeededRng::new(settings.seed, 1);
    let count = settings.items;
    // Which item is the most popular has nothing to do with its id.
    let mut ranks: Vec<usize> = (1..=count).collect();
    rng.shuffle(&mut ranks);
    ranks
        .into_iter()
        .map(|rank| {
            let is_launched = rng.chance(settings.launched);
            let days = settings.days.saturating_sub(1).max(1) as usize;
            WorldItem {
                theme: rng.below(settings.themes.max(1)),
                launch: if is_launched {
                    1 + rng.below(days) as u32
                } else {
                    0
                },
                weight: (rank as f64).powf(-settings.popularity_skew),
                complements: (0..settings.complements)
                    .map(|_| rng.below(count) as u32)
                    .collect(),
            }
        })
        .collect()
}

/// The id of an item.
pub(super) fn item_id(item: u32) -> String {
    format!("p{item:05}")
}

/// The items as a catalogue describes them.
pub(super) fn make_catalogue(settings: &WorldSettings, items: &[WorldItem]) -> Vec<Item> {
    let mut rng = SeededRng::new(settings.seed, 2);
    let centres: Vec<Vec<f64>> = (0..settings.themes.max(1))
        .map(|_| normals(&mut rng, settings.vector_size))
        .collect();
    (0..)
        .zip(items)
        .map(|(index, item)| {
            let is_accurate = rng.chance(settings.tag_accuracy);
            let theme = if is_accurate {
                item.theme
            } else {
                rng.below(settings.themes.max(1))
            };
            let mut described = Item::new(item_id(index));
            described.title = format!("Product {index} of theme {theme}");
            described.content_type = "product".to_owned();
            described.tags = [
                ("theme", format!("theme {theme}")),
                ("colour", format!("colour {}", rng.below(8))),
            ]
            .map(|(facet, label)| Tag {
                facet: facet.to_owned(),
                label,
                weight: 1.0,
            })
            .to_vec();
            let noise = normals(&mut rng, settings.vector_size);
            let signal = settings.vector_signal;
            let mixed = centres[item.theme].iter().zip(noise);
            let mixed = mixed.map(|(centre, noise)| centre * signal + noise * (1.0 - signal));
            described.vector = UnitVector::from_f64(&mixed.collect::<Vec<f64>>());
            let price = 500 + rng.below(20_000);
            described
                .attributes
                .insert("price".to_owned(), json!(price as f64 / 100.0));
            described
        })
        .collect()
}

fn normals(rng: &mut SeededRng, count: usize) -> Vec<f64> {
    (0..count).map(|_| rng.normal()).collect()
}
