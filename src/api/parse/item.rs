//! Items.

use prost::Message as _;

use crate::{
    api::{error::ApiError, limits::Limits, parse::checks::Checks, wkt},
    domain::{
        geo::GeoPoint,
        item::{Item, Tag},
        vector::UnitVector,
    },
    proto,
};

/// Reads an item at `field`.
pub(crate) fn item(item: proto::Item, field: &str, limits: &Limits) -> Result<Item, ApiError> {
    let mut checks = Checks::new(limits);
    let read = item_fields(&mut checks, item, field);
    checks.finish(read)
}

/// Reads an item at `field`. `None` requires that a rule is broken.
pub(super) fn item_fields(checks: &mut Checks<'_>, item: proto::Item, field: &str) -> Option<Item> {
    let limits = checks.limits;
    let at = |name: &str| format!("{field}.{name}");

    let (size, max) = (item.encoded_len(), limits.max_item_bytes);
    if size > max {
        checks.broken(field, format!("takes {size} bytes, at most {max}"));
    }
    checks.count(&at("years"), item.years.len(), limits.max_tags);
    let other_places = item.other_locations.len();
    checks.count(&at("other_locations"), other_places, limits.max_tags);
    let id = checks.content_id(&at("content_id"), item.content_id);
    let content_type = checks
        .optional_id(&at("content_type"), item.content_type)
        .unwrap_or_default();
    let tags = tags(checks, &at("tags"), item.tags);
    let locations = places(checks, field, item.location, item.other_locations);
    let vector = vector(checks, &at("vector"), &item.vector);
    let attributes = wkt::json_object(item.attributes.unwrap_or_default())
        .map_err(|error| {
            let field = format!("{}.{}", at("attributes"), error.path);
            checks.broken(field, error.rule);
        })
        .ok();
    attributes.map(|attributes| Item {
        content_type,
        title: item.title,
        text: item.text,
        tags,
        word_count: item.word_count,
        has_image: item.has_image,
        locations,
        image_url: item.image_url,
        public_url: item.public_url,
        years: item.years,
        vector,
        attributes,
        ..Item::new(id)
    })
}

fn tags(checks: &mut Checks<'_>, field: &str, given: Vec<proto::Tag>) -> Vec<Tag> {
    if !checks.count(field, given.len(), checks.limits.max_tags) {
        return Vec::new();
    }
    given
        .into_iter()
        .enumerate()
        .map(|(index, tag)| {
            let at = |name: &str| format!("{field}[{index}].{name}");
            let tag = Tag {
                facet: checks
                    .optional_id(&at("facet"), tag.facet)
                    .unwrap_or_default(),
                label: checks
                    .optional_id(&at("label"), tag.label)
                    .unwrap_or_default(),
                weight: tag.weight.unwrap_or(1.0),
            };
            for (name, rule) in tag.broken_rules() {
                checks.broken(at(name), rule);
            }
            tag
        })
        .collect()
}

fn places(
    checks: &mut Checks<'_>,
    field: &str,
    first: Option<proto::GeoPoint>,
    others: Vec<proto::GeoPoint>,
) -> Vec<GeoPoint> {
    let named = first
        .map(|point| ("location".to_owned(), point))
        .into_iter()
        .chain(
            others
                .into_iter()
                .enumerate()
                .map(|(index, point)| (format!("other_locations[{index}]"), point)),
        );
    named
        .filter_map(|(name, point)| checks.point(&format!("{field}.{name}"), point))
        .collect()
}

fn vector(checks: &mut Checks<'_>, field: &str, given: &[f32]) -> Option<UnitVector> {
    if given.is_empty() {
        return None;
    }
    let vector = UnitVector::new(given);
    if vector.is_none() {
        checks.broken(field, "must hold finite numbers that are not all 0");
    }
    vector
}
