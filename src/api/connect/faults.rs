//! What is wrong with a JSON value that is not a message of its kind, in plain words.

use prost_reflect::{Cardinality, FieldDescriptor, Kind, MessageDescriptor};
use serde_json::Value;

use crate::api::error::Violation;

/// The rules that a value breaks, at most [`MAX_FAULTS`].
pub(super) fn faults(kind: &MessageDescriptor, value: &Value) -> Vec<Violation> {
    let mut found = Vec::new();
    match value {
        Value::Object(_) => message(kind, value, "", &mut found),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            add(&mut found, "the request", "must be an object: {...}");
        }
    }
    found
}

const MAX_FAULTS: usize = 16;

fn add(found: &mut Vec<Violation>, field: &str, rule: &str) {
    if found.len() < MAX_FAULTS {
        found.push(Violation {
            field: field.to_owned(),
            rule: rule.to_owned(),
        });
    }
}

fn message(kind: &MessageDescriptor, value: &Value, path: &str, found: &mut Vec<Violation>) {
    let rule = match kind.full_name() {
        "google.protobuf.Timestamp" => {
            let text = value.as_str().map(str::parse::<jiff::Timestamp>);
            if !matches!(text, Some(Ok(_))) {
                let rule = "must be a time in RFC 3339, such as \"2026-01-31T09:30:00Z\"";
                add(found, path, rule);
            }
            return;
        }
        "google.protobuf.FieldMask" => {
            if value.as_str().is_none_or(|text| text.contains('_')) {
                let rule = "must be one text: paths in lowerCamelCase, separated by commas, such as \
                            \"title,attributes.price\"";
                add(found, path, rule);
            }
            return;
        }
        "google.protobuf.Value" => return,
        "google.protobuf.Struct" => {
            if !value.is_object() {
                add(found, path, "must be an object: {...}");
            }
            return;
        }
        _ => "must be an object: {...}",
    };
    let Value::Object(members) = value else {
        return add(found, path, rule);
    };
    for (name, value) in members {
        if found.len() >= MAX_FAULTS {
            return;
        }
        let by_name = kind.get_field_by_json_name(name);
        let Some(field) = by_name.or_else(|| kind.get_field_by_name(name)) else {
            add(found, &inside(path, name), "is not a field of this message");
            continue;
        };
        field_value(&field, value, &inside(path, field.name()), found);
    }
}

fn inside(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

fn field_value(field: &FieldDescriptor, value: &Value, path: &str, found: &mut Vec<Violation>) {
    if value.is_null() {
        return;
    }
    if field.is_map() {
        let Value::Object(entries) = value else {
            return add(found, path, "must be an object: {...}");
        };
        if let Kind::Message(entry) = field.kind() {
            for (name, value) in entries {
                single(
                    &entry.map_entry_value_field().kind(),
                    value,
                    &inside(path, name),
                    found,
                );
            }
        }
    } else if field.cardinality() == Cardinality::Repeated {
        let Value::Array(elements) = value else {
            return add(found, path, "must be a list: [...]");
        };
        for (index, element) in elements.iter().enumerate() {
            if found.len() >= MAX_FAULTS {
                return;
            }
            single(&field.kind(), element, &format!("{path}[{index}]"), found);
        }
    } else {
        single(&field.kind(), value, path, found);
    }
}

fn single(kind: &Kind, value: &Value, path: &str, found: &mut Vec<Violation>) {
    let whole = |least: i128, most: i128| {
        let number = match value {
            Value::Number(number) => number.as_i128().or_else(|| {
                let number = number.as_f64()?;
                (number.fract() == 0.0 && number.abs() < 1e18).then_some(number as i128)
            }),
            Value::String(text) => text.parse().ok(),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
        };
        number.is_some_and(|number| (least..=most).contains(&number))
    };
    let rule = match kind {
        Kind::Message(inner) => return message(inner, value, path, found),
        Kind::Bool => value
            .is_boolean()
            .then_some(())
            .ok_or("must be true or false".to_owned()),
        Kind::String => value
            .is_string()
            .then_some(())
            .ok_or("must be a text in quotes".to_owned()),
        Kind::Bytes => value
            .is_string()
            .then_some(())
            .ok_or("must be bytes in base 64, in quotes".to_owned()),
        Kind::Double | Kind::Float => {
            let number = match value {
                Value::Number(number) => number.as_f64(),
                Value::String(text) => text.parse::<f64>().ok(),
                Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
            };
            let is_small = |number: f64| *kind == Kind::Double || (number as f32).is_finite();
            match number {
                None => Err("must be a number".to_owned()),
                Some(number) if number.is_finite() && !is_small(number) => {
                    Err("must be a number of 32 bits".to_owned())
                }
                Some(_) => Ok(()),
            }
        }
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => whole(i32::MIN.into(), i32::MAX.into())
            .then_some(())
            .ok_or("must be a whole number of 32 bits".to_owned()),
        Kind::Uint32 | Kind::Fixed32 => whole(0, u32::MAX.into())
            .then_some(())
            .ok_or("must be a whole number from 0 to 4294967295".to_owned()),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => whole(i64::MIN.into(), i64::MAX.into())
            .then_some(())
            .ok_or("must be a whole number of 64 bits".to_owned()),
        Kind::Uint64 | Kind::Fixed64 => whole(0, u64::MAX.into())
            .then_some(())
            .ok_or("must be a whole number of 64 bits, at least 0".to_owned()),
        Kind::Enum(names) => {
            let is_value = match value {
                Value::String(name) => names.get_value_by_name(name).is_some(),
                Value::Number(number) => number.as_i64().is_some(),
                Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => false,
            };
            is_value.then_some(()).ok_or_else(|| {
                let names: Vec<_> = names
                    .values()
                    .map(|value| value.name().to_owned())
                    .collect();
                format!("must be one of {}", names.join(", "))
            })
        }
    };
    if let Err(rule) = rule {
        add(found, path, &rule);
    }
}
