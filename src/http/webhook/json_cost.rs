//! What a JSON text costs once it is parsed, read from the text alone.

/// A `serde_json::Value`.
const VALUE_BYTES: usize = 32;
/// A name and a value in an object.
const MEMBER_BYTES: usize = 24 + VALUE_BYTES;
/// Overhead of an allocation.
const ALLOCATION_BYTES: usize = 32;
/// A list that grows has up to twice its values allocated, and once more while they are
/// moved. The nodes of a large object are at least 5/11 full.
const GROWTH: usize = 3;
/// The least capacity of a list that is not empty.
const MIN_LIST: usize = 4;
/// The capacity of a node of an object.
const NODE_CAPACITY: usize = 11;

/// What a JSON text costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct JsonCost {
    /// The number of its values.
    pub(crate) values: usize,
    /// An upper bound of the memory of its values.
    pub(crate) bytes: usize,
}

/// Reads what a text costs. The text need not be valid JSON: parsing stops where it
/// breaks.
pub(crate) fn json_cost(text: &str) -> JsonCost {
    let mut cost = JsonCost {
        values: 1,
        bytes: VALUE_BYTES,
    };
    let mut begin_of_string = None;
    let mut escaped = false;
    // A list or object that has begun, until its first value, or its end.
    let mut opened = None;
    for (at, byte) in text.bytes().enumerate() {
        if let Some(begin) = begin_of_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => {
                    cost.bytes += at - begin + ALLOCATION_BYTES;
                    begin_of_string = None;
                }
                _ => {}
            }
            continue;
        }
        if byte.is_ascii_whitespace() {
            continue;
        }
        if let Some(capacity) = opened.take()
            && !matches!(byte, b']' | b'}')
        {
            cost.values += 1;
            cost.bytes += GROWTH * VALUE_BYTES + capacity + ALLOCATION_BYTES;
        }
        match byte {
            b'"' => begin_of_string = Some(at),
            b',' => {
                cost.values += 1;
                cost.bytes += GROWTH * VALUE_BYTES;
            }
            b':' => cost.bytes += GROWTH * MEMBER_BYTES,
            b'[' => opened = Some(MIN_LIST * VALUE_BYTES),
            b'{' => opened = Some(NODE_CAPACITY * MEMBER_BYTES),
            _ => {}
        }
    }
    if let Some(begin) = begin_of_string {
        cost.bytes += text.len() - begin + ALLOCATION_BYTES;
    }
    cost
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::json_cost;

    /// Memory of a parsed value, counted from its capacities.
    fn memory(value: &Value) -> usize {
        match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => 0,
            Value::String(text) => text.capacity(),
            Value::Array(values) => {
                values.capacity() * size_of::<Value>() + values.iter().map(memory).sum::<usize>()
            }
            Value::Object(object) => {
                // At most 11 in a node, which is at least 5/11 full unless it is the root.
                let entry = size_of::<String>() + size_of::<Value>();
                let slots = (object.len() * 11 / 5).max(usize::from(!object.is_empty()) * 11);
                let inner = object
                    .iter()
                    .map(|(name, value)| name.capacity() + memory(value));
                slots * entry + inner.sum::<usize>()
            }
        }
    }

    fn values(value: &Value) -> usize {
        1 + match value {
            Value::Array(values) => values.iter().map(self::values).sum(),
            Value::Object(object) => object.values().map(values).sum(),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
        }
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<i32>().prop_map(|number| json!(number)),
            ".{0,20}".prop_map(Value::String),
        ];
        leaf.prop_recursive(4, 64, 12, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..12).prop_map(Value::Array),
                prop::collection::btree_map(".{0,4}", inner, 0..12)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_parsed_text_takes_no_more_than_its_cost(value in any_json()) {
            let text = value.to_string();
            let parsed: Value = serde_json::from_str(&text).unwrap();
            let cost = json_cost(&text);
            prop_assert!(cost.bytes >= memory(&parsed), "{cost:?} of {text}");
            prop_assert_eq!(cost.values, values(&parsed), "{}", text);
        }
    }

    #[test]
    fn many_small_values_cost_far_more_than_their_text() {
        let text = format!("[{}0]", "0,".repeat(100_000));
        let cost = json_cost(&text);
        assert_eq!(cost.values, 100_002);
        let parsed: Value = serde_json::from_str(&text).unwrap();
        assert!(memory(&parsed) > 10 * text.len());
        assert!(cost.bytes >= memory(&parsed));
    }
}
