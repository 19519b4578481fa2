//! Payloads as JSON, and the paths that name values inside of them.

use std::collections::HashMap;

use qdrant_client::qdrant::{
    ListValue, Struct, Value, WithPayloadSelector, value::Kind, with_payload_selector,
};
use serde_json::{Map, Value as Json};
use tonic::Status;

pub type Payload = Map<String, Json>;

pub fn from_proto(fields: HashMap<String, Value>) -> Result<Payload, Status> {
    fields
        .into_iter()
        .map(|(key, value)| Ok((key, json(value)?)))
        .collect()
}

pub fn to_proto(payload: Payload) -> HashMap<String, Value> {
    payload
        .into_iter()
        .map(|(key, json)| (key, value(json)))
        .collect()
}

pub fn json(value: Value) -> Result<Json, Status> {
    Ok(match value.kind {
        None | Some(Kind::NullValue(_)) => Json::Null,
        Some(Kind::DoubleValue(number)) => {
            let number = serde_json::Number::from_f64(number)
                .ok_or_else(|| Status::invalid_argument("cannot convert to json number"))?;
            Json::Number(number)
        }
        Some(Kind::IntegerValue(number)) => number.into(),
        Some(Kind::StringValue(text)) => text.into(),
        Some(Kind::BoolValue(is)) => is.into(),
        Some(Kind::StructValue(Struct { fields })) => Json::Object(from_proto(fields)?),
        Some(Kind::ListValue(ListValue { values })) => {
            Json::Array(values.into_iter().map(json).collect::<Result<_, _>>()?)
        }
    })
}

fn value(json: Json) -> Value {
    let kind = match json {
        Json::Null => Kind::NullValue(0),
        Json::Bool(is) => Kind::BoolValue(is),
        Json::Number(number) => match number.as_i64() {
            Some(number) => Kind::IntegerValue(number),
            None => Kind::DoubleValue(number.as_f64().unwrap_or(f64::NAN)),
        },
        Json::String(text) => Kind::StringValue(text),
        Json::Array(values) => Kind::ListValue(ListValue {
            values: values.into_iter().map(value).collect(),
        }),
        Json::Object(fields) => Kind::StructValue(Struct {
            fields: to_proto(fields),
        }),
    };
    Value { kind: Some(kind) }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Key(String),
    Index(usize),
    Each,
}

/// A path such as `a.b`, `a[].b`, `a[0]`, or `"a b".c`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path(Vec<Step>);

impl Path {
    pub fn parse(text: &str) -> Result<Self, Status> {
        let malformed =
            || Status::invalid_argument(format!("Failed to convert json path: {text:?}"));
        let mut steps = Vec::new();
        let mut rest = text;
        loop {
            let key = if let Some(quoted) = rest.strip_prefix('"') {
                let (key, after) = quoted.split_once('"').ok_or_else(malformed)?;
                rest = after;
                key
            } else {
                let end = rest
                    .find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '-'))
                    .unwrap_or(rest.len());
                let (key, after) = rest.split_at(end);
                rest = after;
                key
            };
            if key.is_empty() {
                return Err(malformed());
            }
            steps.push(Step::Key(key.to_owned()));
            while let Some(inside) = rest.strip_prefix('[') {
                let (index, after) = inside.split_once(']').ok_or_else(malformed)?;
                steps.push(match index {
                    "" => Step::Each,
                    number => Step::Index(number.parse().map_err(|_| malformed())?),
                });
                rest = after;
            }
            if rest.is_empty() {
                return Ok(Self(steps));
            }
            rest = rest.strip_prefix('.').ok_or_else(malformed)?;
        }
    }

    /// The same with `[]` at its end, as nested conditions take their key.
    pub fn of_elements(mut self) -> Self {
        if self.0.last() != Some(&Step::Each) {
            self.0.push(Step::Each);
        }
        self
    }

    /// Every value there: none, one, or more where the path says `[]`.
    pub fn values<'a>(&self, payload: &'a Payload) -> Vec<&'a Json> {
        let mut found = Vec::new();
        if let [Step::Key(key), rest @ ..] = self.0.as_slice()
            && let Some(value) = payload.get(key)
        {
            collect(value, rest, &mut found);
        }
        found
    }

    pub fn remove(&self, payload: &mut Payload) {
        match self.0.as_slice() {
            [Step::Key(key)] => {
                payload.remove(key);
            }
            [Step::Key(key), rest @ ..] => {
                if let Some(value) = payload.get_mut(key) {
                    remove(value, rest);
                }
            }
            _ => {}
        }
    }
}

fn collect<'a>(value: &'a Json, steps: &[Step], found: &mut Vec<&'a Json>) {
    let Some((step, rest)) = steps.split_first() else {
        found.push(value);
        return;
    };
    match (step, value) {
        (Step::Key(key), Json::Object(fields)) => {
            if let Some(value) = fields.get(key) {
                collect(value, rest, found);
            }
        }
        (Step::Index(index), Json::Array(values)) => {
            if let Some(value) = values.get(*index) {
                collect(value, rest, found);
            }
        }
        (Step::Each, Json::Array(values)) => {
            for value in values {
                collect(value, rest, found);
            }
        }
        _ => {}
    }
}

fn remove(value: &mut Json, steps: &[Step]) {
    match (steps, value) {
        ([Step::Key(key)], Json::Object(fields)) => {
            fields.remove(key);
        }
        ([Step::Key(key), rest @ ..], Json::Object(fields)) => {
            if let Some(value) = fields.get_mut(key) {
                remove(value, rest);
            }
        }
        ([Step::Each], Json::Array(values)) => values.clear(),
        ([Step::Each, rest @ ..], Json::Array(values)) => {
            for value in values {
                remove(value, rest);
            }
        }
        ([Step::Index(index), rest @ ..], Json::Array(values)) => {
            if let Some(value) = values.get_mut(*index)
                && !rest.is_empty()
            {
                remove(value, rest);
            }
        }
        _ => {}
    }
}

/// Which part of a payload to answer with.
pub enum Selection {
    All,
    Nothing,
    Only(Vec<Path>),
    Without(Vec<Path>),
}

impl Selection {
    pub fn read(selector: Option<WithPayloadSelector>, default: bool) -> Result<Self, Status> {
        use with_payload_selector::SelectorOptions;
        let paths = |fields: Vec<String>| -> Result<Vec<Path>, Status> {
            fields.iter().map(|field| Path::parse(field)).collect()
        };
        let Some(selector) = selector else {
            return Ok(if default { Self::All } else { Self::Nothing });
        };
        Ok(match selector.selector_options {
            Some(SelectorOptions::Enable(true)) => Self::All,
            Some(SelectorOptions::Enable(false)) => Self::Nothing,
            Some(SelectorOptions::Include(include)) => Self::Only(paths(include.fields)?),
            Some(SelectorOptions::Exclude(exclude)) => Self::Without(paths(exclude.fields)?),
            None => return Err(Status::invalid_argument("No PayloadSelector")),
        })
    }

    pub fn apply(&self, payload: &Payload) -> HashMap<String, Value> {
        let same = |wanted: &Path, at: &[Step]| wanted.0.iter().zip(at).all(|(a, b)| a == b);
        match self {
            Self::All => to_proto(payload.clone()),
            Self::Nothing => HashMap::new(),
            Self::Only(paths) => to_proto(kept(payload, &mut Vec::new(), &|at| {
                paths.iter().any(|path| same(path, at))
            })),
            Self::Without(paths) => to_proto(kept(payload, &mut Vec::new(), &|at| {
                !paths
                    .iter()
                    .any(|path| path.0.len() <= at.len() && same(path, at))
            })),
        }
    }
}

fn kept(fields: &Payload, at: &mut Vec<Step>, keep: &dyn Fn(&[Step]) -> bool) -> Payload {
    let mut left = Payload::new();
    for (key, value) in fields {
        at.push(Step::Key(key.clone()));
        if keep(at) {
            left.insert(key.clone(), kept_value(value, at, keep));
        }
        at.pop();
    }
    left
}

fn kept_value(value: &Json, at: &mut Vec<Step>, keep: &dyn Fn(&[Step]) -> bool) -> Json {
    match value {
        Json::Object(fields) => Json::Object(kept(fields, at, keep)),
        Json::Array(values) => {
            at.push(Step::Each);
            let left = values
                .iter()
                .map(|value| kept_value(value, at, keep))
                .collect();
            at.pop();
            Json::Array(left)
        }
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => value.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn values(payload: Json, path: &str) -> Json {
        let Json::Object(payload) = payload else {
            panic!("a payload is an object")
        };
        let path = Path::parse(path).unwrap();
        path.values(&payload).into_iter().cloned().collect()
    }

    #[test]
    fn paths_go_into_objects_and_with_brackets_into_arrays() {
        let payload = json!({"a": {"b": [1, 2]}, "c": [{"d": 3}, {"d": [4]}, {}], "e f": 5});
        assert_eq!(values(payload.clone(), "a.b"), json!([[1, 2]]));
        assert_eq!(values(payload.clone(), "a.b[]"), json!([1, 2]));
        assert_eq!(values(payload.clone(), "a.b[1]"), json!([2]));
        assert_eq!(values(payload.clone(), "c[].d"), json!([3, [4]]));
        assert_eq!(values(payload.clone(), "c.d"), json!([]));
        assert_eq!(values(payload.clone(), "\"e f\""), json!([5]));
        assert_eq!(values(payload, "nothing.here"), json!([]));
    }

    #[test]
    fn paths_that_are_none_are_refused() {
        for text in ["", "a.", ".a", "a[", "a[x]", "a b", "a..b", "\"a"] {
            assert!(Path::parse(text).is_err(), "{text:?}");
        }
    }
}
