//! Filters: the places of the points that meet their conditions.

use qdrant_client::qdrant::{
    Condition, FieldCondition, Filter, GeoPoint, GeoRadius, PayloadSchemaType,
    condition::ConditionOneOf, r#match::MatchValue,
};
use tonic::Status;

use super::{
    payload::{self, check_field},
    places::PlaceSet,
    store::{StoredCollection, StoredId, unsupported},
};

pub fn places(filter: &Filter, collection: &StoredCollection) -> Result<PlaceSet, Status> {
    let mut found = PlaceSet::all(collection.points.len());
    for one in &filter.must {
        found.intersect(&condition(one, collection)?);
    }
    for one in &filter.must_not {
        found.subtract(&condition(one, collection)?);
    }
    if !filter.should.is_empty() {
        found.intersect(&in_at_least(1, &filter.should, collection)?);
    }
    if let Some(min) = &filter.min_should {
        found.intersect(&in_at_least(min.min_count, &min.conditions, collection)?);
    }
    Ok(found)
}

fn in_at_least(
    least: u64,
    conditions: &[Condition],
    collection: &StoredCollection,
) -> Result<PlaceSet, Status> {
    let mut counts = vec![0; collection.points.len()];
    for one in conditions {
        for place in condition(one, collection)?.iter() {
            counts[place] += 1;
        }
    }
    let mut found = PlaceSet::none(counts.len());
    for (place, count) in counts.into_iter().enumerate() {
        if count >= least {
            found.insert(place);
        }
    }
    Ok(found)
}

pub fn condition(condition: &Condition, collection: &StoredCollection) -> Result<PlaceSet, Status> {
    match &condition.condition_one_of {
        Some(ConditionOneOf::HasId(has_id)) => {
            let ids = StoredId::read_all(has_id.has_id.clone())?;
            Ok(collection.points.places_of(&ids))
        }
        Some(ConditionOneOf::Field(field)) => of_field(field, collection),
        other => Err(unsupported(format!("the condition {other:?}"))),
    }
}

fn of_field(field: &FieldCondition, collection: &StoredCollection) -> Result<PlaceSet, Status> {
    let key = field.key.as_str();
    check_field(key)?;
    let of_match = FieldCondition {
        key: field.key.clone(),
        r#match: field.r#match.clone(),
        ..FieldCondition::default()
    };
    let of_circle = FieldCondition {
        key: field.key.clone(),
        geo_radius: field.geo_radius,
        ..FieldCondition::default()
    };
    let value = field
        .r#match
        .as_ref()
        .and_then(|one| one.match_value.as_ref());
    match (value, field.geo_radius) {
        (Some(MatchValue::Keyword(keyword)), None) if *field == of_match => {
            collection.check_indexed(key, PayloadSchemaType::Keyword)?;
            let keywords = std::slice::from_ref(keyword);
            Ok(collection.points.places_with(key, keywords))
        }
        (Some(MatchValue::Keywords(any)), None) if *field == of_match => {
            collection.check_indexed(key, PayloadSchemaType::Keyword)?;
            Ok(collection.points.places_with(key, &any.strings))
        }
        (None, Some(circle)) if *field == of_circle => {
            collection.check_indexed(key, PayloadSchemaType::Geo)?;
            Ok(collection.points.places_where(|point| {
                payload::geo_points(&point.payload, key).any(|at| is_within(circle, at))
            }))
        }
        _ => Err(unsupported(format!("the condition {field:?}"))),
    }
}

fn is_within(circle: GeoRadius, at: GeoPoint) -> bool {
    haversine_m(circle.center.unwrap_or_default(), at) < f64::from(circle.radius)
}

/// Metres along the surface of a sphere with the Earth's mean radius.
fn haversine_m(a: GeoPoint, b: GeoPoint) -> f64 {
    const RADIUS_M: f64 = 6_371_008.8;
    let (lat_a, lat_b) = (a.lat.to_radians(), b.lat.to_radians());
    let lat = (lat_b - lat_a) / 2.0;
    let lon = (b.lon - a.lon).to_radians() / 2.0;
    let h = lat.sin().powi(2) + lat_a.cos() * lat_b.cos() * lon.sin().powi(2);
    2.0 * RADIUS_M * h.sqrt().asin()
}
