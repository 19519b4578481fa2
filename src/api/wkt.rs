//! Protobuf's well-known types, converted to and from the domain's.

use prost_types::{
    ListValue, Struct, Timestamp as ProtoTimestamp, Value as ProtoValue, value::Kind,
};
use serde_json::{Map, Number, Value};

use crate::domain::{json::MAX_NESTING, time::Timestamp};

/// States the number of [`MAX_NESTING`].
const TOO_DEEP: &str = "must nest at most 30 deep";

/// A value in an object that is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct InvalidValue {
    /// Its path in the object.
    pub(crate) path: String,
    /// The rule that it breaks.
    pub(crate) rule: &'static str,
}

impl InvalidValue {
    fn new(rule: &'static str) -> Self {
        let path = String::new();
        Self { path, rule }
    }

    fn inside(self, name: &str) -> Self {
        let path = if self.path.is_empty() {
            name.to_owned()
        } else {
            format!("{name}.{}", self.path)
        };
        Self { path, ..self }
    }
}

/// A Struct as JSON. Its numbers must be finite, and its values nest at most
/// [`MAX_NESTING`] deep.
pub(crate) fn json_object(given: Struct) -> Result<Map<String, Value>, InvalidValue> {
    json_fields(given, MAX_NESTING)
}

fn json_fields(given: Struct, levels: usize) -> Result<Map<String, Value>, InvalidValue> {
    fields(given.fields, |value| json_value(value, levels))
}

/// The fields of an object with their values converted. The first error gets the path
/// of its field.
fn fields<T>(
    given: impl IntoIterator<Item = (String, T)>,
    convert: impl Fn(T) -> Result<Value, InvalidValue>,
) -> Result<Map<String, Value>, InvalidValue> {
    given
        .into_iter()
        .map(|(name, value)| match convert(value) {
            Ok(value) => Ok((name, value)),
            Err(inner) => Err(inner.inside(&name)),
        })
        .collect()
}

fn json_value(given: ProtoValue, levels: usize) -> Result<Value, InvalidValue> {
    Ok(match given.kind {
        None | Some(Kind::NullValue(_)) => Value::Null,
        Some(Kind::BoolValue(flag)) => Value::Bool(flag),
        Some(Kind::StringValue(text)) => Value::String(text),
        Some(Kind::NumberValue(number)) => json_number(number)?,
        Some(Kind::StructValue(object)) => Value::Object(json_fields(object, one_deeper(levels)?)?),
        Some(Kind::ListValue(list)) => {
            let levels = one_deeper(levels)?;
            let values = list.values.into_iter();
            let values = values.map(|value| json_value(value, levels));
            Value::Array(values.collect::<Result<_, _>>()?)
        }
    })
}

/// A JSON object as it would be after a way through a Struct, where every number is
/// a double: an event is the same by gRPC and in JSON. Nests as for [`json_object`].
pub(crate) fn like_struct(given: Map<String, Value>) -> Result<Map<String, Value>, InvalidValue> {
    like_struct_fields(given, MAX_NESTING)
}

fn like_struct_fields(
    given: Map<String, Value>,
    levels: usize,
) -> Result<Map<String, Value>, InvalidValue> {
    fields(given, |value| like_struct_value(value, levels))
}

fn like_struct_value(given: Value, levels: usize) -> Result<Value, InvalidValue> {
    Ok(match given {
        Value::Null | Value::Bool(_) | Value::String(_) => given,
        Value::Number(number) => json_number(number.as_f64().unwrap_or_default())?,
        Value::Object(object) => Value::Object(like_struct_fields(object, one_deeper(levels)?)?),
        Value::Array(values) => {
            let levels = one_deeper(levels)?;
            let values = values.into_iter();
            let values = values.map(|value| like_struct_value(value, levels));
            Value::Array(values.collect::<Result<_, _>>()?)
        }
    })
}

fn one_deeper(levels: usize) -> Result<usize, InvalidValue> {
    levels
        .checked_sub(1)
        .ok_or_else(|| InvalidValue::new(TOO_DEEP))
}

fn json_number(number: f64) -> Result<Value, InvalidValue> {
    Number::from_f64(number)
        .map(Value::Number)
        .ok_or_else(|| InvalidValue::new("must be a finite number"))
}

/// A JSON object as a Struct. Values that other programs have stored may nest deeper
/// than clients can decode: those become JSON text.
fn proto_struct(object: &Map<String, Value>) -> Struct {
    proto_fields(object, MAX_NESTING)
}

fn proto_fields(object: &Map<String, Value>, levels: usize) -> Struct {
    proto_members(object.iter().map(|(name, value)| (&**name, value)), levels)
}

fn proto_members<'a>(members: impl Iterator<Item = (&'a str, &'a Value)>, levels: usize) -> Struct {
    let fields = members.map(|(name, value)| (name.to_owned(), proto_value(value, levels)));
    Struct {
        fields: fields.collect(),
    }
}

fn proto_value(value: &Value, levels: usize) -> ProtoValue {
    ProtoValue {
        kind: Some(match value {
            Value::Null => Kind::NullValue(0),
            Value::Bool(flag) => Kind::BoolValue(*flag),
            Value::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or_default()),
            Value::String(text) => Kind::StringValue(text.clone()),
            Value::Array(_) | Value::Object(_) if levels == 0 => {
                Kind::StringValue(value.to_string())
            }
            Value::Array(values) => Kind::ListValue(ListValue {
                values: values
                    .iter()
                    .map(|value| proto_value(value, levels - 1))
                    .collect(),
            }),
            Value::Object(object) => Kind::StructValue(proto_fields(object, levels - 1)),
        }),
    }
}

/// As [`proto_struct`], of the members of an object; `None` if there are none.
pub(crate) fn struct_of<'a>(
    members: impl ExactSizeIterator<Item = (&'a str, &'a Value)>,
) -> Option<Struct> {
    (members.len() > 0).then(|| proto_members(members, MAX_NESTING))
}

/// As [`proto_struct`]; `None` for an empty object.
pub(crate) fn optional_struct(object: &Map<String, Value>) -> Option<Struct> {
    (!object.is_empty()).then(|| proto_struct(object))
}

pub(crate) fn proto_timestamp(time: Timestamp) -> ProtoTimestamp {
    let (seconds, nanos) = time.to_proto_parts();
    ProtoTimestamp { seconds, nanos }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message as _;
    use prost_types::{Struct, Value as ProtoValue, value::Kind};
    use serde_json::{Map, Value, json};

    use super::{json_object, like_struct, proto_fields, proto_struct};
    use crate::{domain::json::MAX_NESTING, proto};

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
        fn json_survives_a_round_trip_through_a_struct(value in any_json()) {
            let object = Map::from_iter([("a".to_owned(), value)]);
            prop_assert_eq!(json_object(proto_struct(&object)), Ok(object));
        }

        #[test]
        fn an_object_like_a_struct_equals_its_round_trip_through_one(
            value in any_json(),
            integer in any::<i64>(),
        ) {
            let object = json!({"a": value, "b": [integer, {"c": integer}]});
            let Value::Object(object) = object else { unreachable!() };
            let round_trip = json_object(proto_struct(&object));
            prop_assert_eq!(like_struct(object), round_trip);
        }
    }

    fn nested(depth: usize) -> Map<String, Value> {
        let value = (0..depth).fold(json!(1.0), |inner, _| json!({"a": inner}));
        Map::from_iter([("a".to_owned(), value)])
    }

    /// As far inside a reply as a Struct can be.
    fn listed(object: &Map<String, Value>) -> proto::RecommendResponse {
        let content = proto::Item {
            attributes: Some(proto_struct(object)),
            ..proto::Item::default()
        };
        let item = proto::RecommendedItem {
            content: Some(content),
            ..proto::RecommendedItem::default()
        };
        proto::RecommendResponse {
            items: vec![item],
            ..proto::RecommendResponse::default()
        }
    }

    #[test]
    fn a_struct_nests_no_deeper_than_clients_can_decode() {
        let deepest = nested(MAX_NESTING);
        assert_eq!(json_object(proto_struct(&deepest)), Ok(deepest.clone()));
        let reply = listed(&deepest);
        let bytes = reply.encode_to_vec();
        assert_eq!(proto::RecommendResponse::decode(&*bytes), Ok(reply));

        let too_deep = proto_fields(&nested(MAX_NESTING + 1), usize::MAX);
        let error = json_object(too_deep).unwrap_err();
        assert_eq!(error.rule, "must nest at most 30 deep");
        assert_eq!(error.path, vec!["a"; MAX_NESTING + 1].join("."));
        assert_eq!(like_struct(nested(MAX_NESTING + 1)), Err(error));
    }

    #[test]
    fn values_that_nest_deeper_become_text() {
        let reply = listed(&nested(MAX_NESTING + 2));
        let bytes = reply.encode_to_vec();
        assert_eq!(proto::RecommendResponse::decode(&*bytes), Ok(reply));
        let read = json_object(proto_struct(&nested(MAX_NESTING + 2))).unwrap();
        let path = format!("/a{}", "/a".repeat(MAX_NESTING));
        let text = Value::Object(read).pointer(&path).cloned();
        assert_eq!(text, Some(json!(r#"{"a":{"a":1.0}}"#)));
    }

    #[test]
    fn a_number_that_is_not_finite_is_reported_with_its_path() {
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
        let error = json_object(outer).unwrap_err();
        assert_eq!(
            (error.path.as_str(), error.rule),
            ("a.b", "must be a finite number")
        );
    }
}
