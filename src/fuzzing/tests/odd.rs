//! Well-formed JSON and TOML with values in it that nobody expects.

use proptest::{prelude::*, sample::Index};
use serde_json::{Map, Value, json};

/// A list in a list in a list, so many deep.
pub(super) fn nested(depth: usize) -> Value {
    (0..depth).fold(json!(1), |inner, _| json!([inner]))
}

/// An object in an object in an object, so many deep.
pub(super) fn nested_object(depth: usize) -> Value {
    (0..depth).fold(json!(1), |inner, _| json!({"a": inner}))
}

pub(super) fn odd_number() -> impl Strategy<Value = f64> {
    prop_oneof![
        prop::sample::select(vec![
            0.0,
            -0.0,
            1.0,
            -1.0,
            0.5,
            f64::MAX,
            f64::MIN,
            f64::MIN_POSITIVE,
            5e-324,
            1e-300,
            1e300,
            1e17,
            4_294_967_296.0,
            1e6,
        ]),
        any::<f64>().prop_filter("finite", |number| number.is_finite()),
    ]
}

/// A text that is empty, long, blank, or of letters with a will of their own.
pub(super) fn odd_text() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec![
            "",
            " ",
            ":",
            "a:b",
            "\0",
            "\u{7f}\u{85}",
            "\u{130}",
            "ﬃ\u{2019}s",
            "\u{345}ΌΣ",
            "e\u{301}",
            "-_-",
            "12345678901234567-12345678901234567",
            "99999999999999999999-1",
            "+1-+1",
            "9999-12-31T23:59:59.999999Z",
            "-009999-01-02T02:00:00Z",
            "2026-06-10T11:00:00.123456789+23:59",
            "2026-06-10",
            "ffffffffffffffff",
            "in 1800, 2100 and 2099",
            "next_button",
            "rating",
        ])
        .prop_map(str::to_owned),
        "\\PC{0,6}",
        any::<String>(),
        (1..700_usize).prop_map(|length| "é".repeat(length)),
    ]
}

pub(super) fn odd_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(|number| json!(number)),
        any::<u64>().prop_map(|number| json!(number)),
        odd_number().prop_map(|number| json!(number)),
        odd_text().prop_map(Value::String),
    ];
    let small = leaf.clone().prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            prop::collection::vec((odd_text(), inner), 0..4)
                .prop_map(|entries| Value::Object(Map::from_iter(entries))),
        ]
    });
    prop_oneof![
        4 => leaf,
        2 => small,
        1 => (1..120_usize).prop_map(nested),
        1 => (1..120_usize).prop_map(nested_object),
    ]
}

#[derive(Clone, Debug)]
enum Twist {
    /// A value becomes another.
    Replace(Index, Value),
    /// An object gets an entry.
    Add(Index, String, Value),
    /// An entry takes another entry's name.
    Rename(Index, Index),
    /// A list holds what it holds so many times.
    Repeat(Index, usize),
    /// All numbers inside become this one.
    Flood(Index, f64),
}

fn any_twist() -> impl Strategy<Value = Twist> {
    let at = any::<Index>;
    prop_oneof![
        6 => (at(), odd_value()).prop_map(|(at, value)| Twist::Replace(at, value)),
        2 => (at(), odd_text(), odd_value())
            .prop_map(|(at, name, value)| Twist::Add(at, name, value)),
        1 => (at(), at()).prop_map(|(at, name)| Twist::Rename(at, name)),
        1 => (at(), 2..6_usize).prop_map(|(at, times)| Twist::Repeat(at, times)),
        2 => (at(), odd_number()).prop_map(|(at, number)| Twist::Flood(at, number)),
    ]
}

/// Every value inside, each before what it holds.
fn nodes<'v>(value: &'v Value, path: &mut Vec<Step>, found: &mut Vec<Vec<Step>>) {
    found.push(path.clone());
    let mut enter = |step: Step, inner: &'v Value| {
        path.push(step);
        nodes(inner, path, found);
        path.pop();
    };
    match value {
        Value::Array(values) => {
            for (index, inner) in values.iter().enumerate() {
                enter(Step::Index(index), inner);
            }
        }
        Value::Object(object) => {
            for (name, inner) in object {
                enter(Step::Name(name.clone()), inner);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[derive(Clone)]
enum Step {
    Index(usize),
    Name(String),
}

/// The value at the end of a random path; shallow ones as often as deep ones.
fn pick(value: &mut Value, at: Index) -> &mut Value {
    let mut paths = Vec::new();
    nodes(value, &mut Vec::new(), &mut paths);
    let shallow: Vec<Vec<Step>> = paths
        .iter()
        .filter(|path| path.len() <= 1)
        .cloned()
        .collect();
    let among = if at.index(2) == 0 { &shallow } else { &paths };
    let path = at.get(among);
    path.iter().fold(value, |value, step| match step {
        Step::Index(index) => &mut value[*index],
        Step::Name(name) => &mut value[name.as_str()],
    })
}

fn apply(value: &mut Value, twist: Twist) {
    match twist {
        Twist::Replace(at, odd) => *pick(value, at) = odd,
        Twist::Add(at, name, odd) => {
            if let Value::Object(object) = pick(value, at) {
                object.insert(name, odd);
            }
        }
        Twist::Rename(at, name) => {
            let Value::Object(object) = value else { return };
            let names: Vec<String> = object.keys().cloned().collect();
            if names.is_empty() {
                return;
            }
            if let Some(moved) = object.remove(at.get(&names)) {
                object.insert(name.get(&names).clone(), moved);
            }
        }
        Twist::Flood(at, number) => flood(pick(value, at), number),
        Twist::Repeat(at, times) => {
            if let Value::Array(values) = pick(value, at) {
                let held = std::mem::take(values);
                *values = std::iter::repeat_n(held, times).flatten().collect();
            }
        }
    }
}

fn flood(value: &mut Value, number: f64) {
    match value {
        Value::Number(_) => *value = json!(number),
        Value::Array(values) => values.iter_mut().for_each(|value| flood(value, number)),
        Value::Object(object) => object.values_mut().for_each(|value| flood(value, number)),
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

fn twisted(values: Vec<Value>) -> impl Strategy<Value = Value> {
    let twists = prop::collection::vec(any_twist(), 1..4);
    (any::<Index>(), twists).prop_map(move |(seed, twists)| {
        let mut value = seed.get(&values).clone();
        for twist in twists {
            apply(&mut value, twist);
        }
        value
    })
}

/// Those of the seeds that are JSON, twisted.
pub(super) fn json(seeds: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let values: Vec<Value> = seeds
        .iter()
        .filter_map(|seed| serde_json::from_slice(seed).ok())
        .collect();
    twisted(values).prop_map(|value| value.to_string().into_bytes())
}

/// Lines of a score and a member, members and scores twisted.
pub(super) fn lines(seeds: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let members: Vec<Value> = seeds
        .iter()
        .flat_map(|seed| std::str::from_utf8(seed).unwrap().lines())
        .map(|line| serde_json::from_str(line.split_once(' ').unwrap().1).unwrap())
        .collect();
    let score = prop_oneof![
        3 => (0..2_000_000_000_u32).prop_map(|seconds| seconds.to_string()),
        1 => any::<f64>().prop_map(|score| score.to_string()),
    ];
    let line = (score, twisted(members)).prop_map(|(score, member)| format!("{score} {member}"));
    prop::collection::vec(line, 1..5).prop_map(|lines| lines.join("\n").into_bytes())
}

/// TOML knows other numbers than JSON does, and no null.
fn toml_value(value: &Value, strange: Option<f64>) -> toml::Value {
    match value {
        Value::Null => toml::Value::Float(strange.unwrap_or(f64::NAN)),
        Value::Bool(flag) => toml::Value::Boolean(*flag),
        Value::Number(number) => match number.as_i64() {
            Some(whole) => toml::Value::Integer(whole),
            None => toml::Value::Float(number.as_f64().unwrap()),
        },
        Value::String(text) => toml::Value::String(text.clone()),
        Value::Array(values) => {
            let values = values.iter().map(|value| toml_value(value, strange));
            toml::Value::Array(values.collect())
        }
        Value::Object(object) => {
            let entries = object.iter();
            toml::Value::Table(
                entries
                    .map(|(name, value)| (name.clone(), toml_value(value, strange)))
                    .collect(),
            )
        }
    }
}

/// Ranking files, twisted: mostly a number in the place of a number.
pub(super) fn toml(seeds: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let values: Vec<Value> = seeds
        .iter()
        .map(|seed| toml::from_str(std::str::from_utf8(seed).unwrap()).unwrap())
        .collect();
    let numbers = prop::collection::vec((any::<Index>(), odd_number()), 1..4);
    let other = values.clone();
    let replaced = (any::<Index>(), numbers).prop_map(move |(seed, numbers)| {
        let mut value = seed.get(&other).clone();
        for (at, number) in numbers {
            flood(pick(&mut value, at), number);
        }
        value
    });
    let strange = prop::sample::select(vec![f64::NAN, f64::INFINITY, f64::NEG_INFINITY]);
    (prop_oneof![3 => replaced, 1 => twisted(values)], strange).prop_map(|(value, strange)| {
        let text = toml::to_string(&toml_value(&value, Some(strange)));
        text.unwrap_or_default().into_bytes()
    })
}
