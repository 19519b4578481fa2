//! Payloads: the values of their fields, and which fields a reply contains.

use std::collections::HashMap;

use qdrant_client::qdrant::{
    GeoPoint, Struct, Value, WithPayloadSelector, value::Kind,
    with_payload_selector::SelectorOptions,
};
use recsys::domain::time::Timestamp;
use tonic::Status;

use super::store::unsupported;

pub type Payload = HashMap<String, Value>;

/// Refuses paths into nested values.
pub fn check_field(name: &str) -> Result<(), Status> {
    if name.contains(['.', '[', '"']) {
        return Err(unsupported(format!("the payload path {name}")));
    }
    Ok(())
}

/// The keys of a path into nested values, such as `a."b c"`.
pub fn path(text: &str) -> Result<Vec<String>, Status> {
    let mut keys = Vec::new();
    let mut rest = text;
    loop {
        let key;
        (key, rest) = match rest.strip_prefix('"') {
            Some(quoted) => quoted
                .split_once('"')
                .ok_or_else(|| unsupported(format!("the payload path {text}")))?,
            None => rest.split_at(rest.find('.').unwrap_or(rest.len())),
        };
        if key.contains('[') {
            return Err(unsupported(format!("the payload path {text}")));
        }
        keys.push(key.to_owned());
        match rest.strip_prefix('.') {
            Some(more) => rest = more,
            None => return Ok(keys),
        }
    }
}

/// Merges fields into a payload, or into the object at a path, which is created also in
/// place of another value. Fields that are null are removed.
pub fn merge(payload: &mut Payload, path: &[String], given: Payload) {
    let mut object = payload;
    for key in path {
        let value = object.entry(key.clone()).or_default();
        if !matches!(value.kind, Some(Kind::StructValue(_))) {
            value.kind = Some(Kind::StructValue(Struct::default()));
        }
        let Some(Kind::StructValue(inner)) = &mut value.kind else {
            unreachable!("it is an object now");
        };
        object = &mut inner.fields;
    }
    for (name, value) in given {
        match value.kind {
            None | Some(Kind::NullValue(_)) => object.remove(&name),
            Some(_) => object.insert(name, value),
        };
    }
}

/// Removes the value at a path, if there is one.
pub fn remove(payload: &mut Payload, path: &[String]) {
    let Some((last, outer)) = path.split_last() else {
        return;
    };
    let mut object = payload;
    for key in outer {
        match object.get_mut(key).and_then(|value| value.kind.as_mut()) {
            Some(Kind::StructValue(inner)) => object = &mut inner.fields,
            _ => return,
        }
    }
    object.remove(last);
}

fn nested<'a>(payload: &'a Payload, path: &[String]) -> Option<&'a Value> {
    let (first, keys) = path.split_first()?;
    keys.iter()
        .try_fold(payload.get(first)?, |value, key| match &value.kind {
            Some(Kind::StructValue(object)) => object.fields.get(key),
            _ => None,
        })
}

fn elements<'a>(payload: &'a Payload, path: &[String]) -> &'a [Value] {
    match nested(payload, path) {
        None => &[],
        Some(Value {
            kind: Some(Kind::ListValue(list)),
        }) => &list.values,
        Some(value) => std::slice::from_ref(value),
    }
}

/// Whether a field is missing, null or an empty list.
pub fn is_empty(payload: &Payload, path: &[String]) -> bool {
    match nested(payload, path).and_then(|value| value.kind.as_ref()) {
        None | Some(Kind::NullValue(_)) => true,
        Some(Kind::ListValue(list)) => list.values.is_empty(),
        Some(_) => false,
    }
}

pub fn numbers(payload: &Payload, path: &[String]) -> impl Iterator<Item = f64> {
    let elements = elements(payload, path).iter();
    elements.filter_map(|value| match value.kind {
        Some(Kind::DoubleValue(number)) => Some(number),
        Some(Kind::IntegerValue(number)) => Some(number as f64),
        _ => None,
    })
}

pub fn flags(payload: &Payload, path: &[String]) -> impl Iterator<Item = bool> {
    let elements = elements(payload, path).iter();
    elements.filter_map(|value| match value.kind {
        Some(Kind::BoolValue(flag)) => Some(flag),
        _ => None,
    })
}

pub fn texts<'a>(payload: &'a Payload, path: &[String]) -> impl Iterator<Item = &'a str> {
    let elements = elements(payload, path).iter();
    elements.filter_map(|value| match &value.kind {
        Some(Kind::StringValue(text)) => Some(text.as_str()),
        _ => None,
    })
}

pub fn times(payload: &Payload, path: &[String]) -> impl Iterator<Item = Timestamp> {
    texts(payload, path).filter_map(Timestamp::parse_iso8601)
}

/// The elements of a field that is a list, or else its only value.
fn values<'a>(payload: &'a Payload, field: &str) -> &'a [Value] {
    match payload.get(field) {
        None => &[],
        Some(Value {
            kind: Some(Kind::ListValue(list)),
        }) => &list.values,
        Some(value) => std::slice::from_ref(value),
    }
}

pub fn keywords<'a>(payload: &'a Payload, field: &str) -> impl Iterator<Item = &'a str> {
    let values = values(payload, field).iter();
    values.filter_map(|value| match &value.kind {
        Some(Kind::StringValue(text)) => Some(text.as_str()),
        _ => None,
    })
}

pub fn geo_points(payload: &Payload, field: &str) -> impl Iterator<Item = GeoPoint> {
    let number = |value: &Value| match value.kind {
        Some(Kind::DoubleValue(number)) => Some(number),
        Some(Kind::IntegerValue(number)) => Some(number as f64),
        _ => None,
    };
    let values = values(payload, field).iter();
    values.filter_map(move |value| match &value.kind {
        Some(Kind::StructValue(point)) => Some(GeoPoint {
            lat: number(point.fields.get("lat")?)?,
            lon: number(point.fields.get("lon")?)?,
        }),
        _ => None,
    })
}

/// Which fields of a payload a reply contains.
pub enum PayloadSelection {
    All,
    Nothing,
    Only(Vec<String>),
}

impl PayloadSelection {
    pub fn read(selector: Option<WithPayloadSelector>, default: bool) -> Result<Self, Status> {
        let options = match selector {
            Some(selector) => selector.selector_options,
            None => Some(SelectorOptions::Enable(default)),
        };
        match options {
            Some(SelectorOptions::Enable(true)) => Ok(Self::All),
            Some(SelectorOptions::Enable(false)) => Ok(Self::Nothing),
            Some(SelectorOptions::Include(include)) => {
                include
                    .fields
                    .iter()
                    .try_for_each(|field| check_field(field))?;
                Ok(Self::Only(include.fields))
            }
            Some(SelectorOptions::Exclude(_)) => Err(unsupported("excluded payload fields")),
            None => Err(Status::invalid_argument("No PayloadSelector")),
        }
    }

    pub fn apply(&self, payload: &Payload) -> Payload {
        match self {
            Self::All => payload.clone(),
            Self::Nothing => Payload::new(),
            Self::Only(fields) => fields
                .iter()
                .filter_map(|field| Some((field.clone(), payload.get(field)?.clone())))
                .collect(),
        }
    }
}
