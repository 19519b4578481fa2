//! Protobuf's well-known types to and from the domain's.

use prost_types::{
    ListValue, Struct, Timestamp as ProtoTimestamp, Value as ProtoValue, value::Kind,
};
use serde_json::{Map, Number, Value};

use crate::domain::time::Timestamp;

/// A number in a Struct that JSON cannot hold: NaN or infinite.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NotFinite {
    /// Where in the Struct.
    pub(super) path: String,
}

/// Nesting is bounded by the decoder, which stops at 100 messages.
pub(super) fn json_object(given: Struct) -> Result<Map<String, Value>, NotFinite> {
    given
        .fields
        .into_iter()
        .map(|(name, value)| match json_value(value) {
            Ok(value) => Ok((name, value)),
            Err(inner) => Err(NotFinite {
                path: joined(&name, &inner.path),
            }),
        })
        .collect()
}

fn json_value(given: ProtoValue) -> Result<Value, NotFinite> {
    Ok(match given.kind {
        None | Some(Kind::NullValue(_)) => Value::Null,
        Some(Kind::BoolValue(flag)) => Value::Bool(flag),
        Some(Kind::StringValue(text)) => Value::String(text),
        Some(Kind::NumberValue(number)) => {
            Number::from_f64(number)
                .map(Value::Number)
                .ok_or_else(|| NotFinite {
                    path: String::new(),
                })?
        }
        Some(Kind::StructValue(object)) => Value::Object(json_object(object)?),
        Some(Kind::ListValue(list)) => Value::Array(
            list.values
                .into_iter()
                .map(json_value)
                .collect::<Result<_, _>>()?,
        ),
    })
}

fn joined(name: &str, rest: &str) -> String {
    if rest.is_empty() {
        name.to_owned()
    } else {
        format!("{name}.{rest}")
    }
}

fn proto_struct(object: &Map<String, Value>) -> Struct {
    Struct {
        fields: object
            .iter()
            .map(|(name, value)| (name.clone(), proto_value(value)))
            .collect(),
    }
}

fn proto_value(value: &Value) -> ProtoValue {
    ProtoValue {
        kind: Some(match value {
            Value::Null => Kind::NullValue(0),
            Value::Bool(flag) => Kind::BoolValue(*flag),
            Value::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or_default()),
            Value::String(text) => Kind::StringValue(text.clone()),
            Value::Array(values) => Kind::ListValue(ListValue {
                values: values.iter().map(proto_value).collect(),
            }),
            Value::Object(object) => Kind::StructValue(proto_struct(object)),
        }),
    }
}

/// Nothing for an empty object, which says nothing.
pub(super) fn optional_struct(object: &Map<String, Value>) -> Option<Struct> {
    (!object.is_empty()).then(|| proto_struct(object))
}

pub(super) fn proto_timestamp(time: Timestamp) -> ProtoTimestamp {
    let (seconds, nanos) = time.to_proto_parts();
    ProtoTimestamp { seconds, nanos }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost_types::{Struct, Value as ProtoValue, value::Kind};
    use serde_json::{Map, Value, json};

    use super::{json_object, proto_struct};

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            (-1e300..1e300).prop_map(|number: f64| json!(number)),
            ".{0,8}".prop_map(Value::String),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
                prop::collection::btree_map(".{0,4}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn json_survives_the_way_through_a_struct(value in any_json()) {
            let object = Map::from_iter([("a".to_owned(), value)]);
            prop_assert_eq!(json_object(proto_struct(&object)), Ok(object));
        }
    }

    #[test]
    fn a_number_that_is_not_finite_is_named_by_its_path() {
        let nan = ProtoValue {
            kind: Some(Kind::NumberValue(f64::NAN)),
        };
        let inner = Struct {
            fields: [("b".to_owned(), nan)].into(),
        };
        let outer = Struct {
            fields: [(
                "a".to_owned(),
                ProtoValue {
                    kind: Some(Kind::StructValue(inner)),
                },
            )]
            .into(),
        };
        assert_eq!(json_object(outer).unwrap_err().path, "a.b");
    }
}
