//! Values as exports spell them.

use serde_json::{Number, Value};

use crate::domain::{ids::is_missing_id, time::Timestamp};

/// Epoch times below this are seconds, …
const MILLIS_FROM: f64 = 1e11;
/// … below this milliseconds, and microseconds from there on.
const MICROS_FROM: f64 = 1e14;

/// Whole numbers from here on are not exact in the type of JSON's numbers with a
/// fraction or an exponent.
const INEXACT_FROM: f64 = 9_007_199_254_740_992.0;
/// Digits of a number that is exact.
const MAX_DIGITS: usize = 15;
/// What databases write into CSV for no value.
const NO_VALUE: &str = "\\N";

/// A cell of a file without types: empty is absent, JSON is what it says.
pub(super) fn cell(text: &str) -> Option<Value> {
    let text = text.trim();
    if text.is_empty() || text == NO_VALUE {
        return None;
    }
    if text.starts_with(['[', '{'])
        && let Ok(value) = serde_json::from_str(text)
    {
        return Some(value);
    }
    Some(Value::String(text.to_owned()))
}

/// An attribute of a file without types: `39.90` is a number, `true` a boolean, all else
/// a text, also what has a leading zero. Where semicolons separate the columns, `39,90`
/// is a number, too.
pub(super) fn attribute(value: Value, has_decimal_comma: bool) -> Value {
    let Value::String(text) = &value else {
        return value;
    };
    if text.eq_ignore_ascii_case("true") || text.eq_ignore_ascii_case("false") {
        return Value::Bool(text.eq_ignore_ascii_case("true"));
    }
    let point = if has_decimal_comma && !text.contains('.') {
        text.replacen(',', ".", 1)
    } else {
        text.clone()
    };
    if !is_plain_number(&point) {
        return value;
    }
    point.parse().map_or(value, json_number)
}

/// Whether a text is digits, with a sign and a fraction at most, without a leading zero.
fn is_plain_number(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let are_digits = |text: &str| !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
    are_digits(whole)
        && are_digits(fraction)
        && (whole == "0" || !whole.starts_with('0'))
        && whole.len() + fraction.len() <= MAX_DIGITS
}

/// A value as MongoDB exports it, such as `{"$oid": "…"}` or `{"$date": "…"}`: the value
/// within.
pub(super) fn without_type(value: Value) -> Value {
    const TYPES: [&str; 6] = [
        "$oid",
        "$date",
        "$numberInt",
        "$numberLong",
        "$numberDouble",
        "$numberDecimal",
    ];
    match value {
        Value::Object(mut object) if object.len() == 1 => {
            let within = TYPES.iter().find_map(|name| object.remove(*name));
            within.map_or(Value::Object(object), without_type)
        }
        Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::String(_)
        | Value::Array(_)
        | Value::Object(_) => value,
    }
}

/// An id: a text, or a whole number, which spreadsheets write as `2001.0`. A text
/// of a file without types may be a number, too. `None` for how programs write that
/// there is none.
pub(super) fn id(value: &Value, untyped: bool) -> Result<Option<String>, &'static str> {
    match value {
        Value::String(text) if is_missing_id(text) => Ok(None),
        Value::String(text) if untyped => Ok(Some(whole(text.trim()).to_owned())),
        Value::String(text) => Ok(Some(text.clone())),
        Value::Number(number)
            if number.is_f64() && number.as_f64().is_none_or(|id| id.abs() >= INEXACT_FROM) =>
        {
            Err("has more digits than a number of JSON holds: write it in quotes")
        }
        Value::Number(number) => Ok(Some(whole(&number.to_string()).to_owned())),
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

/// The labels of tags: as [`list`], and without `|` a text is separated by commas or
/// semicolons.
pub(super) fn labels(value: &Value) -> Vec<Value> {
    let Value::String(text) = value else {
        return list(value);
    };
    if text.contains('|') || !text.contains([',', ';']) {
        return list(value);
    }
    let labels = text.split([',', ';']).map(str::trim);
    labels
        .filter(|label| !label.is_empty())
        .map(|label| Value::String(label.to_owned()))
        .collect()
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

    use super::{attribute, cell, id, labels, list, number, time, without_type};

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
            assert_eq!(id(&value, true).unwrap().unwrap(), untyped);
            assert_eq!(id(&value, false).unwrap().unwrap(), typed);
        }
        assert!(id(&json!([1]), true).is_err());
        assert_eq!(
            id(&json!(u64::MAX), false).unwrap().unwrap(),
            u64::MAX.to_string()
        );
        let long: serde_json::Value = serde_json::from_str("12345678901234567890123").unwrap();
        assert!(id(&long, false).unwrap_err().contains("in quotes"));
        for missing in ["", " ", "null", "NULL", "None", "NaN", "undefined"] {
            for untyped in [true, false] {
                assert_eq!(id(&json!(missing), untyped), Ok(None), "{missing:?}");
            }
        }
    }

    #[test]
    fn attributes_of_tables_are_numbers_booleans_or_texts() {
        for (text, expected) in [
            ("39.90", json!(39.9)),
            ("-3", json!(-3)),
            ("0.5", json!(0.5)),
            ("0", json!(0)),
            ("True", json!(true)),
            ("false", json!(false)),
            ("007", json!("007")),
            ("1e5", json!("1e5")),
            ("1.2.3", json!("1.2.3")),
            ("39.90 EUR", json!("39.90 EUR")),
            ("12,50", json!("12,50")),
            (".5", json!(".5")),
            ("4006381333931234567", json!("4006381333931234567")),
            ("yes", json!("yes")),
        ] {
            assert_eq!(attribute(json!(text), false), expected, "{text}");
        }
        for (text, expected) in [
            ("12,50", json!(12.5)),
            ("12.50", json!(12.5)),
            ("1,2,3", json!("1,2,3")),
            ("1.234,5", json!("1.234,5")),
        ] {
            assert_eq!(attribute(json!(text), true), expected, "{text}");
        }
        assert_eq!(attribute(json!([1]), false), json!([1]));
    }

    #[test]
    fn values_of_mongodb_are_those_within() {
        for (value, expected) in [
            (json!({"$oid": "507f1f77"}), json!("507f1f77")),
            (
                json!({"$date": {"$numberLong": "1795977592000"}}),
                json!("1795977592000"),
            ),
            (json!({"$other": 1}), json!({"$other": 1})),
            (json!({"$oid": 1, "more": 2}), json!({"$oid": 1, "more": 2})),
            (json!(7), json!(7)),
        ] {
            assert_eq!(without_type(value), expected);
        }
    }

    #[test]
    fn labels_are_separated_by_bars_else_by_commas_or_semicolons() {
        for (text, expected) in [
            ("A|B, C", json!(["A", "B, C"])),
            ("A, B,", json!(["A", "B"])),
            ("A; B", json!(["A", "B"])),
            ("A B", json!(["A B"])),
        ] {
            assert_eq!(json!(labels(&json!(text))), expected, "{text}");
        }
        assert_eq!(labels(&json!(["A, B"])), [json!("A, B")]);
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
        assert_eq!(cell("\\N"), None);
        assert_eq!(cell("[1, 2]"), Some(json!([1, 2])));
        assert_eq!(cell("[draft] a title"), Some(json!("[draft] a title")));
        assert_eq!(list(&json!("A| B |")), [json!("A"), json!("B")]);
        assert_eq!(number(&json!("60")), Some(60.0));
        assert_eq!(number(&json!("NaN")), None);
    }
}
