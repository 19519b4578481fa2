//! Filters: the places of the points that meet their conditions.

use qdrant_client::qdrant::{
    Condition, DatetimeRange, FieldCondition, Filter, GeoPoint, GeoRadius, PayloadSchemaType,
    Range, condition::ConditionOneOf, r#match::MatchValue,
};
use recsys::domain::time::Timestamp;
use tonic::Status;

use super::{
    payload,
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
        Some(ConditionOneOf::HasVector(has_vector)) => {
            let name = &has_vector.has_vector;
            Ok(collection
                .points
                .places_where(|point| point.vectors.contains_key(name)))
        }
        Some(ConditionOneOf::Field(field)) => of_field(field, collection),
        Some(ConditionOneOf::Filter(nested)) => places(nested, collection),
        Some(ConditionOneOf::IsEmpty(empty)) => {
            let path = payload::path(&empty.key)?;
            Ok(collection
                .points
                .places_where(|point| payload::is_empty(&point.payload, &path)))
        }
        other => Err(unsupported(format!("the condition {other:?}"))),
    }
}

fn of_field(field: &FieldCondition, collection: &StoredCollection) -> Result<PlaceSet, Status> {
    let key = field.key.as_str();
    let path = payload::path(key)?;
    let is_nested = path.len() > 1 || path[0] != key;
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
    let of_range = FieldCondition {
        key: field.key.clone(),
        range: field.range,
        datetime_range: field.datetime_range,
        ..FieldCondition::default()
    };
    if let (Some(range), None) = (field.range, field.datetime_range)
        && *field == of_range
    {
        let kinds = [PayloadSchemaType::Integer, PayloadSchemaType::Float];
        collection.check_indexed_as(key, &kinds)?;
        return Ok(collection.points.places_where(|point| {
            payload::numbers(&point.payload, &path).any(|number| is_in(&range, number))
        }));
    }
    if let (None, Some(range)) = (field.range, field.datetime_range)
        && *field == of_range
    {
        collection.check_indexed_as(key, &[PayloadSchemaType::Datetime])?;
        return Ok(collection.points.places_where(|point| {
            payload::times(&point.payload, &path).any(|time| is_between(&range, time))
        }));
    }
    match (value, field.geo_radius) {
        (Some(MatchValue::Boolean(flag)), None) if *field == of_match => {
            collection.check_indexed_as(key, &[PayloadSchemaType::Bool])?;
            Ok(collection.points.places_where(|point| {
                payload::flags(&point.payload, &path).any(|value| value == *flag)
            }))
        }
        (Some(MatchValue::Keyword(keyword)), None) if *field == of_match && is_nested => {
            collection.check_indexed(key, PayloadSchemaType::Keyword)?;
            Ok(collection.points.places_where(|point| {
                payload::texts(&point.payload, &path).any(|text| text == keyword)
            }))
        }
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

fn is_in(range: &Range, number: f64) -> bool {
    range.lt.is_none_or(|bound| number < bound)
        && range.lte.is_none_or(|bound| number <= bound)
        && range.gt.is_none_or(|bound| number > bound)
        && range.gte.is_none_or(|bound| number >= bound)
}

fn is_between(range: &DatetimeRange, time: Timestamp) -> bool {
    let micros = |bound: qdrant_client::qdrant::Timestamp| {
        bound.seconds * 1_000_000 + i64::from(bound.nanos) / 1_000
    };
    let time = time.as_micros();
    range.lt.is_none_or(|bound| time < micros(bound))
        && range.lte.is_none_or(|bound| time <= micros(bound))
        && range.gt.is_none_or(|bound| time > micros(bound))
        && range.gte.is_none_or(|bound| time >= micros(bound))
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
