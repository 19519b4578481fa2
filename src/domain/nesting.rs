//! How deep JSON may nest in what is kept.

use serde_json::Value;

/// How many lists and objects may be inside each other in an attribute or an
/// answer. Protobuf libraries decode no more than 100 messages inside each
/// other, an object takes three, and a list of items that has it some more.
pub const MAX_NESTING: usize = 30;

/// Whether more than `most` lists and objects are inside each other.
#[must_use]
pub fn nests_deeper(value: &Value, most: usize) -> bool {
    let deeper = |inner: &Value| nests_deeper(inner, most - 1);
    match value {
        Value::Array(values) => most == 0 || values.iter().any(deeper),
        Value::Object(object) => most == 0 || object.values().any(deeper),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::nests_deeper;

    #[test]
    fn lists_and_objects_count_alike() {
        assert!(!nests_deeper(&json!(1), 0));
        assert!(nests_deeper(&json!([]), 0));
        let value = json!([1, {"a": [], "b": 2}]);
        assert!(nests_deeper(&value, 2));
        assert!(!nests_deeper(&value, 3));
    }
}
