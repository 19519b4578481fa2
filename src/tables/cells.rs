//! Values as exports spell them.

use serde_json::{Number, Value};

use crate::domain::time::Timestamp;

/// Epoch times below this are seconds, …
const MILLIS_FROM: f64 = 1e11;
/// … below this milliseconds, and microseconds from there on.
const MICROS_FROM: f64 = 1e14;

/// A cell of a file without types: empty is absent, JSON is what it says.
pub(super) fn cell(text: &str) -> Option<Value> {
    let text = text.trim();
    if text.is_empty() {
        return None;
    }
    if text.starts_with(['[', '{'])
        && let Ok(value) = serde_json::from_str(text)
    {
        return Some(value);
    }
    Some(Value::String(text.to_owned()))
}

/// An id: a text, or a whole number, which spreadsheets write as `2001.0`. A text
/// of a file without types may be a number, too.
pub(super) fn id(value: &Value, untyped: bool) -> Result<String, &'static str> {
    match value {
        Value::String(text) if untyped => Ok(whole(text.trim()).to_owned()),
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => Ok(whole(&number.to_string()).to_owned()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => {
            Err("must be a text or a number")
        }
    }
}

/// `2001.0` as `2001`; any other text unchanged.
fn whole(text: &str) -> &str {
    match text.split_once('.') {
        Some((whole, zeros))
            if !whole.is_empty()
                && whole.bytes().all(|byte| byte.is_ascii_digit())
                && !zeros.is_empty()
                && zeros.bytes().all(|byte| byte == b'0') =>
        {
            whole
        }
        Some(_) | None => text,
    }
}

/// A number, also one written as text.
pub(super) fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
    .filter(|number: &f64| number.is_finite())
}

/// A number in JSON; `null` for what has none.
pub(super) fn json_number(number: f64) -> Value {
    if number.fract() == 0.0 && number.abs() < 9e15 {
        return Value::Number(Number::from(number as i64));
    }
    Number::from_f64(number).map_or(Value::Null, Value::Number)
}

/// Yes or no.
pub(super) fn flag(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(flag) => Some(*flag),
        Value::Number(number) => number.as_f64().map(|number| number != 0.0),
        Value::String(text) => match text.trim().to_ascii_lowercase().as_str() {
            "true" | "t" | "yes" | "y" | "1" => Some(true),
            "false" | "f" | "no" | "n" | "0" => Some(false),
            _ => None,
        },
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// One text: of a list its texts, joined by spaces.
pub(super) fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Array(values) => {
            let texts: Option<Vec<String>> = values.iter().map(text).collect();
            texts.map(|texts| texts.join(" "))
        }
        Value::Null | Value::Bool(_) | Value::Object(_) => None,
    }
}

/// The entries of a list: a JSON list, or one text whose entries `|` separates.
pub(super) fn list(value: &Value) -> Vec<Value> {
    match value {
        Value::Array(values) => values.clone(),
        Value::String(text) => text
            .split('|')
            .map(str::trim)
            .filter(|entry| !entry.is_empty())
            .map(|entry| Value::String(entry.to_owned()))
            .collect(),
        Value::Null => Vec::new(),
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => vec![value.clone()],
    }
}

/// A time: RFC 3339, also with a space for the `T`, with ` UTC`, ` +0000` or
/// ` +0000 UTC` at its end, or without an offset, which is UTC; or seconds, milliseconds or
/// microseconds since 1970, as number or text.
pub(super) fn time(value: &Value) -> Option<Timestamp> {
    if let Some(number) = number(value) {
        return epoch(number);
    }
    let Value::String(text) = value else {
        return None;
    };
    let text = text.trim();
    if let Some(time) = Timestamp::parse_iso8601(text) {
        return Some(time);
    }
    let upper = text.to_ascii_uppercase();
    let zulu = ["UTC", "GMT"]
        .iter()
        .find_map(|zone| upper.strip_suffix(zone));
    if let Some(naive) = zulu {
        // Go's times have an offset before the zone.
        return time(&Value::String(naive.trim_end().to_owned()));
    }
    // An offset after a space, or without its colon.
    let sign = text.rfind(['+', '-']).filter(|sign| *sign > 10)?;
    let (naive, offset) = text.split_at(sign);
    let digits: String = offset.chars().filter(char::is_ascii_digit).collect();
    let (hours, minutes) = match digits.len() {
        2 => (digits.as_str(), "00"),
        4 => digits.split_at(2),
        _ => return None,
    };
    let sign = &offset[..1];
    Timestamp::parse_iso8601(&format!("{}{sign}{hours}:{minutes}", naive.trim_end()))
}

fn epoch(number: f64) -> Option<Timestamp> {
    let size = number.abs();
    let micros = if size < MILLIS_FROM {
        number * 1e6
    } else if size < MICROS_FROM {
        number * 1e3
    } else {
        number
    };
    let time = Timestamp::from_micros(micros.round() as i64);
    time.is_representable().then_some(time)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{cell, id, list, number, time};

    #[test]
    fn ids_are_texts_or_whole_numbers() {
        for (value, untyped, typed) in [
            (json!("a.0"), "a.0", "a.0"),
            (json!(7), "7", "7"),
            (json!(2001.0), "2001", "2001"),
            (json!(" 2001.00 "), "2001", " 2001.00 "),
            (json!("007"), "007", "007"),
            (json!("1.5"), "1.5", "1.5"),
        ] {
            assert_eq!(id(&value, true).unwrap(), untyped);
            assert_eq!(id(&value, false).unwrap(), typed);
        }
        assert!(id(&json!([1]), true).is_err());
    }

    #[test]
    fn times_are_read_in_every_spelling() {
        let expected = time(&json!("2026-11-29T18:39:52Z")).unwrap();
        for value in [
            json!("2026-11-29 18:39:52 UTC"),
            json!("2026-11-29 18:39:52.000 +0000"),
            json!("2026-11-29 19:39:52 +0100 UTC"),
            json!("2026-11-29 18:39:52+0000"),
            json!("2026-11-29T19:39:52 +01:00"),
            json!("2026-11-29 18:39:52"),
            json!(1_795_977_592),
            json!("1795977592"),
            json!(1_795_977_592_000_i64),
            json!("1795977592000.0"),
            json!(1_795_977_592_000_000_i64),
        ] {
            assert_eq!(time(&value), Some(expected), "{value}");
        }
        assert_eq!(
            time(&json!("2026-11-29")),
            time(&json!("2026-11-29T00:00:00Z"))
        );
        for value in [
            json!("soon"),
            json!(""),
            json!(1e300),
            json!(null),
            json!("18:39"),
        ] {
            assert_eq!(time(&value), None, "{value}");
        }
    }

    #[test]
    fn cells_are_absent_texts_or_json() {
        assert_eq!(cell("  "), None);
        assert_eq!(cell("[1, 2]"), Some(json!([1, 2])));
        assert_eq!(cell("[draft] a title"), Some(json!("[draft] a title")));
        assert_eq!(list(&json!("A| B |")), [json!("A"), json!("B")]);
        assert_eq!(number(&json!("60")), Some(60.0));
        assert_eq!(number(&json!("NaN")), None);
    }
}
