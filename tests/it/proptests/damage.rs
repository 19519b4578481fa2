//! Strategies that damage valid input: bytes, values in JSON, lines of TOML and fields
//! of protobuf messages.

use proptest::{collection::vec, prelude::*, sample::Index};
use serde_json::{Value, json};

/// Bytes that tend to break parsers.
const ODD_BYTES: [&[u8]; 8] = [
    b"\0",
    b"\xff\xff\xff\xff\x0f",
    b"1e999",
    b"null",
    b"[[[[[[[[",
    b"\"",
    b"\n",
    "\u{130}".as_bytes(),
];

/// A seed with one to three places where bytes are removed, inserted, or both.
pub(super) fn bytes(seeds: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let inserted = prop_oneof![
        Just(Vec::new()),
        prop::sample::select(&ODD_BYTES[..]).prop_map(<[u8]>::to_vec),
        vec(any::<u8>(), 1..8),
    ];
    let edits = vec((any::<Index>(), 0..20_usize, inserted), 1..4);
    (any::<Index>(), edits).prop_map(move |(seed, edits)| {
        let mut bytes = seed.get(&seeds).clone();
        for (at, removed, inserted) in edits {
            let at = at.index(bytes.len() + 1);
            let end = (at + removed).min(bytes.len());
            bytes.splice(at..end, inserted);
        }
        bytes
    })
}

fn odd_number() -> impl Strategy<Value = f64> {
    const ODD: [f64; 11] = [
        0.0,
        -0.0,
        -1.0,
        1.0,
        0.5,
        f64::MAX,
        f64::MIN,
        5e-324,
        1e300,
        1e17,
        1e6,
    ];
    prop_oneof![prop::sample::select(&ODD[..]), -1e9..1e9_f64]
}

fn odd_text() -> impl Strategy<Value = String> {
    const ODD: [&str; 14] = [
        "",
        " ",
        ":",
        "a:b",
        "\0",
        "\u{7f}\u{85}",
        "\u{130}",
        "\u{345}ΌΣ",
        "e\u{301}",
        "99999999999999999999-1",
        "9999-12-31T23:59:59.999999Z",
        "2026-06-10T11:00:00.123456789+23:59",
        "next_button",
        "rating",
    ];
    prop_oneof![
        prop::sample::select(&ODD[..]).prop_map(str::to_owned),
        "\\PC{0,6}",
        (1..700_usize).prop_map(|length| "é".repeat(length)),
    ]
}

fn odd_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        1 => Just(Value::Null),
        1 => any::<bool>().prop_map(Value::Bool),
        1 => any::<i64>().prop_map(|number| json!(number)),
        3 => odd_number().prop_map(|number| json!(number)),
        3 => odd_text().prop_map(Value::String),
    ];
    prop_oneof![
        6 => leaf.clone(),
        1 => vec(leaf.clone(), 0..4).prop_map(Value::Array),
        1 => (odd_text(), leaf).prop_map(|(name, value)| json!({name: value})),
        1 => (odd_number(), 1..20_usize).prop_map(|(number, count)| json!(vec![number; count])),
        1 => (1..120_usize).prop_map(|depth| (0..depth).fold(json!(1), |inner, _| json!([inner]))),
        1 => (1..120_usize).prop_map(|depth| (0..depth).fold(json!(1), |inner, _| json!({"a": inner}))),
    ]
}

/// The JSON pointers of a value and of all that is in it.
fn pointers(value: &Value, at: String, found: &mut Vec<String>) {
    match value {
        Value::Array(values) => {
            for (index, inner) in values.iter().enumerate() {
                pointers(inner, format!("{at}/{index}"), found);
            }
        }
        Value::Object(object) => {
            for (name, inner) in object {
                let name = name.replace('~', "~0").replace('/', "~1");
                pointers(inner, format!("{at}/{name}"), found);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
    found.push(at);
}

/// A seed in JSON with one to three values replaced, or added to an object.
pub(super) fn json(seeds: Vec<String>) -> impl Strategy<Value = String> {
    let edits = vec((any::<Index>(), odd_text(), odd_value()), 1..4);
    (any::<Index>(), edits).prop_map(move |(seed, edits)| {
        let mut value: Value = serde_json::from_str(&seeds[seed.index(seeds.len())]).unwrap();
        for (at, name, odd) in edits {
            let mut places = Vec::new();
            pointers(&value, String::new(), &mut places);
            let place = value.pointer_mut(&places[at.index(places.len())]).unwrap();
            match place.as_object_mut() {
                Some(object) => drop(object.insert(name, odd)),
                None => *place = odd,
            }
        }
        value.to_string()
    })
}

/// A seed in TOML with one to three of its lines' values replaced.
pub(super) fn toml(seeds: Vec<String>) -> impl Strategy<Value = String> {
    const ODD: [&str; 16] = [
        "nan", "inf", "-inf", "-1", "0", "0.0", "-0.0", "1", "0.5", "1.0", "1e308", "5e-324", "[]",
        "[1, 1]", "\"\"", "true",
    ];
    let value = prop::sample::select(&ODD[..]);
    let edits = vec((any::<Index>(), value), 1..4);
    (any::<Index>(), edits).prop_map(move |(seed, edits)| {
        let text = &seeds[seed.index(seeds.len())];
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        for (at, value) in edits {
            let at = at.index(lines.len());
            let line = &mut lines[at];
            if let Some((name, _)) = line.split_once(" = ") {
                *line = format!("{name} = {value}");
            }
        }
        lines.join("\n")
    })
}

/// Encoded fields that any protobuf message may carry. After a valid message they
/// replace or extend its fields, since the last value of a field counts.
pub(super) fn fields() -> impl Strategy<Value = Vec<u8>> {
    let number = || 1..=14_u64;
    let special = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0, f64::MAX];
    let double = prop_oneof![odd_number(), prop::sample::select(special.to_vec())];
    let scalar = prop_oneof![
        (number(), any::<u64>())
            .prop_map(|(field, value)| [varint(field << 3), varint(value)].concat()),
        (number(), 0..6_u64)
            .prop_map(|(field, value)| [varint(field << 3), varint(value)].concat()),
        (number(), double).prop_map(|(field, value)| [
            varint(field << 3 | 1),
            value.to_le_bytes().to_vec()
        ]
        .concat()),
        (number(), odd_text()).prop_map(|(field, text)| delimited(field, text.into_bytes())),
    ];
    let one = scalar.prop_recursive(3, 16, 4, move |inner| {
        (number(), vec(inner, 0..4)).prop_map(|(field, inner)| delimited(field, inner.concat()))
    });
    vec(one, 1..4).prop_map(|fields| fields.concat())
}

/// A length-delimited field: a text or a message.
pub(super) fn delimited(field: u64, bytes: Vec<u8>) -> Vec<u8> {
    [varint(field << 3 | 2), varint(bytes.len() as u64), bytes].concat()
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}
