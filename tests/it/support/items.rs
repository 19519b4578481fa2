//! Items for tests.

use recsys::domain::{
    geo::GeoPoint,
    item::{Item, Tag},
    vector::UnitVector,
};

/// Builds an item step by step.
pub struct ItemBuilder(Item);

pub fn item(id: &str) -> ItemBuilder {
    ItemBuilder(Item::new(id))
}

impl ItemBuilder {
    pub fn tag(mut self, facet: &str, label: &str, weight: f64) -> Self {
        self.0.tags.push(Tag {
            facet: facet.to_owned(),
            label: label.to_owned(),
            weight,
        });
        self
    }

    pub fn vector(mut self, values: &[f32]) -> Self {
        self.0.vector = Some(UnitVector::new(values).expect("a vector other than 0"));
        self
    }

    pub fn at(mut self, latitude: f64, longitude: f64) -> Self {
        let point = GeoPoint::new(latitude, longitude).expect("valid coordinates");
        self.0.locations.push(point);
        self
    }

    pub fn of_type(mut self, content_type: &str) -> Self {
        self.0.content_type = content_type.to_owned();
        self
    }

    pub fn words(mut self, count: u32) -> Self {
        self.0.word_count = count;
        self
    }

    pub fn build(self) -> Item {
        self.0
    }
}

/// `count` items `i000`, `i001`, ... whose vectors form a half circle. Each has the theme
/// of its sixth of the half circle.
pub fn half_circle(count: usize) -> Vec<Item> {
    (0..count)
        .map(|index| {
            let angle = std::f32::consts::PI * index as f32 / count as f32;
            item(&format!("i{index:03}"))
                .vector(&[angle.cos(), angle.sin()])
                .tag("theme", &format!("sixth {}", index * 6 / count), 1.0)
                .words(100)
                .build()
        })
        .collect()
}
