//! Payloads: the values of their fields, and which fields a reply contains.

use std::collections::HashMap;

use qdrant_client::qdrant::{
    GeoPoint, Value, WithPayloadSelector, value::Kind, with_payload_selector::SelectorOptions,
};
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
