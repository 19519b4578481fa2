//! JSON from outside: what is accepted, and how an error is reported.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor, value::MapAccessDeserializer},
};
use serde_json::{Value, error::Category};

/// Maximum depth of nested lists and objects in an attribute or an answer.
///
/// Protobuf libraries decode at most 100 nested messages. An object takes three
/// of them, and a list of items takes a few more.
pub const MAX_NESTING: usize = 30;

/// Why a text is not JSON: where it ends, or the character that cannot stand where it
/// does, with its column.
#[must_use]
pub fn not_json(text: &str, error: &serde_json::Error) -> String {
    if error.is_eof() {
        return "not JSON: it ends in the middle of a value".to_owned();
    }
    // serde_json has no kinds for these, only texts.
    let text_of_error = error.to_string();
    if text_of_error.starts_with("recursion limit") {
        return "its lists and objects nest too deep".to_owned();
    }
    let column = error.column();
    if text_of_error.starts_with("control character") {
        return format!(
            "not JSON at column {column}: a text holds a control character; write it as an \
             escape, such as \\t"
        );
    }
    let line = text.lines().nth(error.line().saturating_sub(1));
    let rest = line.and_then(|line| line.get(column.saturating_sub(1)..));
    let advice = match rest.and_then(|rest| rest.chars().next()) {
        Some('\'') => "; texts stand in double quotes".to_owned(),
        Some('N' | 'I') => "; write null for a number that is none".to_owned(),
        Some(character) => format!(": {character:?} is not expected"),
        None => String::new(),
    };
    format!("not JSON at column {column}{advice}")
}

/// Whether lists and objects are nested deeper than `max_depth`.
#[must_use]
pub fn nests_deeper(value: &Value, max_depth: usize) -> bool {
    let deeper = |inner: &Value| nests_deeper(inner, max_depth - 1);
    match value {
        Value::Array(values) => max_depth == 0 || values.iter().any(deeper),
        Value::Object(object) => max_depth == 0 || object.values().any(deeper),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// Describes a JSON error by kind and position only. serde's own message quotes
/// values, which can be personal data.
#[must_use]
pub fn json_fault(error: &serde_json::Error) -> String {
    let fault = match error.classify() {
        Category::Io => "unreadable",
        Category::Syntax => "no JSON",
        Category::Data => "unexpected type",
        Category::Eof => "truncated",
    };
    format!("{fault} at line {} column {}", error.line(), error.column())
}

/// Deserializes `T` from a JSON object only: serde also accepts a list of values
/// for a struct.
#[derive(Clone, Copy, Debug)]
pub struct JsonObject<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for JsonObject<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ObjectVisitor<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
            type Value = JsonObject<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<JsonObject<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(JsonObject)
            }
        }

        deserializer.deserialize_map(ObjectVisitor(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{nests_deeper, not_json};

    #[test]
    fn an_error_says_what_is_wrong_with_the_text() {
        for (text, expected) in [
            ("{\"a\":", "not JSON: it ends in the middle of a value"),
            (
                "{'a':1}",
                "not JSON at column 2; texts stand in double quotes",
            ),
            (
                "{\"a\":NaN}",
                "not JSON at column 6; write null for a number that is none",
            ),
            ("{oops", "not JSON at column 2: 'o' is not expected"),
            (
                "{\"a\":\"b\tc\"}",
                "not JSON at column 8: a text holds a control character; write it as an escape, \
                 such as \\t",
            ),
            (&"[".repeat(200), "its lists and objects nest too deep"),
        ] {
            let error = serde_json::from_str::<serde_json::Value>(text).unwrap_err();
            assert_eq!(not_json(text, &error), expected);
        }
    }

    #[test]
    fn lists_and_objects_both_count_towards_the_depth() {
        assert!(!nests_deeper(&json!(1), 0));
        assert!(nests_deeper(&json!([]), 0));
        let value = json!([1, {"a": [], "b": 2}]);
        assert!(nests_deeper(&value, 2));
        assert!(!nests_deeper(&value, 3));
    }
}
