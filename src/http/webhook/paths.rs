//! Values at dotted paths of an element. A value in a wrong container makes the element
//! unreadable, and is never taken as missing.

use serde_json::{Map, Value};

use super::element::{SkipReason, unreadable};
use crate::domain::ids::is_missing_id;

/// Whether a value is as good as none.
pub(super) fn is_unset(value: &Value) -> bool {
    value.is_null() || value.as_str() == Some("")
}

/// The value at a path; `None` if it is not set.
pub(super) fn at<'a>(
    payload: &'a Map<String, Value>,
    path: &str,
) -> Result<Option<&'a Value>, SkipReason> {
    let (mut object, mut begin) = (payload, 0);
    while let Some(length) = path[begin..].find('.') {
        let end = begin + length;
        object = match object.get(&path[begin..end]) {
            Some(Value::Object(inner)) => inner,
            Some(value) if !is_unset(value) => {
                return Err(unreadable(&path[..end], "must be an object"));
            }
            Some(_) | None => return Ok(None),
        };
        begin = end + 1;
    }
    Ok(object.get(&path[begin..]).filter(|value| !is_unset(value)))
}

/// The object at a path.
pub(super) fn object_at<'a>(
    payload: &'a Map<String, Value>,
    path: &str,
) -> Result<Option<&'a Map<String, Value>>, SkipReason> {
    match at(payload, path)? {
        None => Ok(None),
        Some(Value::Object(object)) => Ok(Some(object)),
        Some(_) => Err(unreadable(path, "must be an object")),
    }
}

/// The list at a path; empty if it is not set.
pub(super) fn list_at<'a>(
    payload: &'a Map<String, Value>,
    path: &str,
) -> Result<&'a [Value], SkipReason> {
    match at(payload, path)? {
        None => Ok(&[]),
        Some(Value::Array(values)) => Ok(values),
        Some(_) => Err(unreadable(path, "must be a list")),
    }
}

/// The text at a path.
pub(super) fn text_at(
    payload: &Map<String, Value>,
    path: &str,
) -> Result<Option<String>, SkipReason> {
    text_of(at(payload, path)?, path)
}

/// The id at a path.
pub(super) fn id_at(
    payload: &Map<String, Value>,
    path: &str,
) -> Result<Option<String>, SkipReason> {
    id_of(at(payload, path)?, path)
}

/// A text that is not empty. A whole number is accepted as text.
pub(super) fn text_of(value: Option<&Value>, path: &str) -> Result<Option<String>, SkipReason> {
    match value {
        None => Ok(None),
        Some(value) if is_unset(value) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(Value::Number(number)) if !number.is_f64() => Ok(Some(number.to_string())),
        Some(_) => Err(unreadable(path, "must be a text")),
    }
}

/// A text that is not what senders write for a missing one.
pub(super) fn id_of(value: Option<&Value>, path: &str) -> Result<Option<String>, SkipReason> {
    Ok(text_of(value, path)?.filter(|id| !is_missing_id(id)))
}

/// The number at a path.
pub(super) fn number_at(
    payload: &Map<String, Value>,
    path: &str,
) -> Result<Option<f64>, SkipReason> {
    let Some(value) = at(payload, path)? else {
        return Ok(None);
    };
    match value.as_f64() {
        Some(number) => Ok(Some(number)),
        None => Err(unreadable(path, "must be a number")),
    }
}
