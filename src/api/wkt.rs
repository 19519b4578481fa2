//! Protobuf's well-known types to and from the domain's.

use prost_types::{
    ListValue, Struct, Timestamp as ProtoTimestamp, Value as ProtoValue, value::Kind,
};
use serde_json::{Map, Number, Value};

use crate::domain::{json::MAX_NESTING, time::Timestamp};

/// With the number of [`MAX_NESTING`].
const TOO_DEEP: &str = "must nest at most 30 deep";

/// A value in a Struct that is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Untaken {
    /// Where in the Struct.
    pub(crate) path: String,
    /// The rule that it breaks.
    pub(crate) rule: &'static str,
}

impl Untaken {
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

/// Takes numbers that JSON can hold, and values that nest at most
/// [`MAX_NESTING`] deep.
pub(crate) fn json_object(given: Struct) -> Result<Map<String, Value>, Untaken> {
    json_fields(given, MAX_NESTING)
}

fn json_fields(given: Struct, room: usize) -> Result<Map<String, Value>, Untaken> {
    given
        .fields
        .into_iter()
        .map(|(name, value)| match json_value(value, room) {
            Ok(value) => Ok((name, value)),
            Err(inner) => Err(inner.inside(&name)),
        })
        .collect()
}

fn json_value(given: ProtoValue, room: usize) -> Result<Value, Untaken> {
    let inner_room = || room.checked_sub(1).ok_or_else(|| Untaken::new(TOO_DEEP));
    Ok(match given.kind {
        None | Some(Kind::NullValue(_)) => Value::Null,
        Some(Kind::BoolValue(flag)) => Value::Bool(flag),
        Some(Kind::StringValue(text)) => Value::String(text),
        Some(Kind::NumberValue(number)) => Number::from_f64(number)
            .map(Value::Number)
            .ok_or_else(|| Untaken::new("must be a finite number"))?,
        Some(Kind::StructValue(object)) => Value::Object(json_fields(object, inner_room()?)?),
        Some(Kind::ListValue(list)) => {
            let room = inner_room()?;
            let values = list.values.into_iter();
            Value::Array(
                values
                    .map(|value| json_value(value, room))
                    .collect::<Result<_, _>>()?,
            )
        }
    })
}

/// What other programs have stored may nest deeper than clients can decode:
/// that is told as JSON text.
fn proto_struct(object: &Map<String, Value>) -> Struct {
    proto_fields(object, MAX_NESTING)
}

fn proto_fields(object: &Map<String, Value>, room: usize) -> Struct {
    Struct {
        fields: object
            .iter()
            .map(|(name, value)| (name.clone(), proto_value(value, room)))
            .collect(),
    }
}

fn proto_value(value: &Value, room: usize) -> ProtoValue {
    ProtoValue {
        kind: Some(match value {
            Value::Null => Kind::NullValue(0),
            Value::Bool(flag) => Kind::BoolValue(*flag),
            Value::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or_default()),
            Value::String(text) => Kind::StringValue(text.clone()),
            Value::Array(_) | Value::Object(_) if room == 0 => Kind::StringValue(value.to_string()),
            Value::Array(values) => Kind::ListValue(ListValue {
                values: values
                    .iter()
                    .map(|value| proto_value(value, room - 1))
                    .collect(),
            }),
            Value::Object(object) => Kind::StructValue(proto_fields(object, room - 1)),
        }),
    }
}

/// A Struct as deep as the object, for [`json_object`] to judge. JSON that was
/// read nests no deeper than its reader allows.
pub(crate) fn whole_struct(object: &Map<String, Value>) -> Struct {
    proto_fields(object, usize::MAX)
}

/// Nothing for an empty object, which says nothing.
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

    use super::{json_object, proto_fields, proto_struct};
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
        fn json_survives_the_way_through_a_struct(value in any_json()) {
            let object = Map::from_iter([("a".to_owned(), value)]);
            prop_assert_eq!(json_object(proto_struct(&object)), Ok(object));
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
    fn a_struct_nests_no_deeper_than_a_client_can_decode() {
        let deepest = nested(MAX_NESTING);
        assert_eq!(json_object(proto_struct(&deepest)), Ok(deepest.clone()));
        let reply = listed(&deepest);
        let bytes = reply.encode_to_vec();
        assert_eq!(proto::RecommendResponse::decode(&*bytes), Ok(reply));

        let too_deep = proto_fields(&nested(MAX_NESTING + 1), usize::MAX);
        let error = json_object(too_deep).unwrap_err();
        assert_eq!(error.rule, "must nest at most 30 deep");
        assert_eq!(error.path, vec!["a"; MAX_NESTING + 1].join("."));
    }

    #[test]
    fn what_others_nested_deeper_is_told_as_text() {
        let reply = listed(&nested(MAX_NESTING + 2));
        let bytes = reply.encode_to_vec();
        assert_eq!(proto::RecommendResponse::decode(&*bytes), Ok(reply));
        let told = json_object(proto_struct(&nested(MAX_NESTING + 2))).unwrap();
        let path = format!("/a{}", "/a".repeat(MAX_NESTING));
        let text = Value::Object(told).pointer(&path).cloned();
        assert_eq!(text, Some(json!(r#"{"a":{"a":1.0}}"#)));
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
        let error = json_object(outer).unwrap_err();
        assert_eq!(
            (error.path.as_str(), error.rule),
            ("a.b", "must be a finite number")
        );
    }
}
