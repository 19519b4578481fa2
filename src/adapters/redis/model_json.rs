//! The stored form of a user model: the reference engine's keys, between keys of
//! recsys.
//!
//! The first key is the model's rank, the (version, built_at) that orders models,
//! as text of fixed width. The save script compares it without decoding JSON,
//! whose numbers lose digits in Lua.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::Arc,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::{Deserialize, Serialize, Serializer, de::Error as _};
use serde_json::{Map, Value};

use crate::{
    domain::{
        associations::InterestList,
        encoded_form::EncodedForm,
        ids::{ContentId, UserId},
        json::JsonObject,
        time::Timestamp,
        user_signals::{Behavior, UserSignals},
        vector::UnitVector,
    },
    ports::{ModelSlot, StoredModel, Version},
};

/// The start of every model that recsys writes; its rank follows.
pub(crate) const START: &str = r#"{"version":""#;
/// Digits of each half of a rank.
pub(super) const VERSION_DIGITS: usize = 17;
/// Bytes of a rank: version, hyphen, microseconds of `built_at`.
pub(crate) const RANK_LENGTH: usize = 2 * VERSION_DIGITS + 1;
/// The first bytes of a model, which identify it among those of its user: a save
/// never replaces a model by another of the same rank.
pub(super) const HEAD_BYTES: usize = START.len() + RANK_LENGTH + 1;
/// Largest absolute weight of an item or a tag: sums of weights stay finite.
/// Actual weights are far smaller.
const MAX_WEIGHT: f64 = 1e9;
/// What follows the rank in the marker of an erasure: its version and its time.
pub(super) const ERASED_END: &str = r#"","erased":true}"#;

#[derive(Serialize)]
struct ModelRef<'a> {
    version: String,
    user_id: &'a str,
    #[serde(serialize_with = "weights")]
    positives: &'a BTreeMap<ContentId, f64>,
    #[serde(serialize_with = "weights")]
    negatives: &'a BTreeMap<ContentId, f64>,
    #[serde(serialize_with = "ids")]
    viewed: &'a [ContentId],
    #[serde(serialize_with = "ids")]
    recent_views: &'a [ContentId],
    tag_affinity: &'a BTreeMap<String, f64>,
    tag_aversion: &'a BTreeMap<String, f64>,
    taste_vector: Option<Vec<f32>>,
    recency_vector: Option<Vec<f32>>,
    behavior: BehaviorJson,
    demographics: &'a Map<String, Value>,
    built_at: Option<String>,
    event_count: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    ranking: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    incomplete: bool,
    #[serde(serialize_with = "ids", skip_serializing_if = "<[_]>::is_empty")]
    done: &'a [ContentId],
    /// The packed interest list in base64.
    #[serde(skip_serializing_if = "String::is_empty")]
    interests: String,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct BehaviorJson {
    n_views: usize,
    n_positive: usize,
    n_negative: usize,
    avg_dwell_ratio: f64,
    completion_rate: f64,
    revisit_rate: f64,
    depth: f64,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ModelJson {
    version: Option<String>,
    erased: bool,
    positives: BTreeMap<String, f64>,
    negatives: BTreeMap<String, f64>,
    viewed: Vec<String>,
    recent_views: Vec<String>,
    tag_affinity: BTreeMap<String, f64>,
    tag_aversion: BTreeMap<String, f64>,
    taste_vector: Option<Vec<f32>>,
    recency_vector: Option<Vec<f32>>,
    behavior: BehaviorJson,
    demographics: Map<String, Value>,
    event_count: usize,
    ranking: Option<String>,
    incomplete: bool,
    done: Vec<String>,
    interests: String,
}

/// Whether a value is the marker of an erased user.
pub(super) fn is_marker(value: &[u8]) -> bool {
    value
        .strip_prefix(START.as_bytes())
        .and_then(|rest| rest.split_at_checked(RANK_LENGTH))
        .is_some_and(|(rank, end)| {
            std::str::from_utf8(rank).is_ok_and(|rank| parse_rank(rank).is_some())
                && end == ERASED_END.as_bytes()
        })
}

/// A rank as text.
pub(super) fn rank(version: Version, built_at: Option<Timestamp>) -> String {
    let micros = built_at.map_or(0, |time| time.as_micros().max(0));
    format!(
        "{:0width$}-{micros:0width$}",
        version.0,
        width = VERSION_DIGITS
    )
}

fn weights<S: Serializer>(map: &BTreeMap<ContentId, f64>, out: S) -> Result<S::Ok, S::Error> {
    out.collect_map(map.iter().map(|(id, weight)| (id.as_str(), weight)))
}

fn ids<S: Serializer>(ids: &[ContentId], out: S) -> Result<S::Ok, S::Error> {
    out.collect_seq(ids.iter().map(ContentId::as_str))
}

/// Encodes a model.
///
/// # Errors
/// If the profile answers nest too deeply for JSON.
pub fn encode(model: &StoredModel) -> Result<String, serde_json::Error> {
    let signals = &*model.signals;
    let mut text = Vec::with_capacity(expected_bytes(signals));
    serde_json::to_writer(
        &mut text,
        &ModelRef {
            version: rank(model.version, signals.built_at),
            user_id: signals.user_id.as_str(),
            positives: &signals.positives,
            negatives: &signals.negatives,
            viewed: &signals.viewed,
            recent_views: &signals.recent_views,
            tag_affinity: &signals.tag_affinity,
            tag_aversion: &signals.tag_aversion,
            taste_vector: signals.taste_vector.as_ref().map(UnitVector::to_vec),
            recency_vector: signals.recency_vector.as_ref().map(UnitVector::to_vec),
            behavior: BehaviorJson {
                n_views: signals.behavior.n_views,
                n_positive: signals.behavior.n_positive,
                n_negative: signals.behavior.n_negative,
                avg_dwell_ratio: signals.behavior.avg_dwell_ratio,
                completion_rate: signals.behavior.completion_rate,
                revisit_rate: signals.behavior.revisit_rate,
                depth: signals.behavior.depth,
            },
            demographics: &signals.demographics,
            built_at: signals.built_at.map(|time| time.to_string()),
            event_count: signals.event_count,
            ranking: model.ranking.map(|ranking| format!("{ranking:016x}")),
            incomplete: model.incomplete,
            done: &signals.done,
            interests: encode_interests(&signals.interests),
        },
    )?;
    // JSON is always UTF-8.
    String::from_utf8(text).map_err(serde::ser::Error::custom)
}

/// A rough size of a model's text, so that its buffer is allocated once.
fn expected_bytes(signals: &UserSignals) -> usize {
    const BASE_BYTES: usize = 1_024;
    const NUMBER_BYTES: usize = 12;
    const WEIGHT_BYTES: usize = 48;
    const ID_BYTES: usize = 24;
    let vectors = [&signals.taste_vector, &signals.recency_vector];
    let numbers: usize = vectors.into_iter().flatten().map(UnitVector::size).sum();
    let weights = signals.positives.len()
        + signals.negatives.len()
        + signals.tag_affinity.len()
        + signals.tag_aversion.len();
    let ids = signals.viewed.len() + signals.recent_views.len() + signals.done.len();
    BASE_BYTES + numbers * NUMBER_BYTES + weights * WEIGHT_BYTES + ids * ID_BYTES
}

/// Decodes the value of a user's model key, whichever program wrote it. A model of
/// the reference engine has no rank: it counts as older than any other.
///
/// # Errors
/// If it is not JSON of the shared shape, or a weight is too large.
pub fn decode(user: &UserId, value: &[u8]) -> Result<ModelSlot, serde_json::Error> {
    let JsonObject(model): JsonObject<ModelJson> = serde_json::from_slice(value)?;
    let rank = model.version.as_deref().and_then(parse_rank);
    let (version, built_at) = rank.unwrap_or((Version(0), None));
    if model.erased {
        return Ok(ModelSlot::Erased(version));
    }
    let maps = [
        &model.positives,
        &model.negatives,
        &model.tag_affinity,
        &model.tag_aversion,
    ];
    if maps
        .into_iter()
        .flat_map(BTreeMap::values)
        .any(|weight| weight.abs() > MAX_WEIGHT)
    {
        return Err(serde_json::Error::custom("a weight is too large"));
    }
    let vector = |values: Option<Vec<f32>>| values.and_then(|values| UnitVector::new(&values));
    let (viewed, recent_views) = views(model.viewed, model.recent_views);
    let done: BTreeSet<ContentId> = model.done.into_iter().map(ContentId::from).collect();
    let by_id = |map: BTreeMap<String, f64>| -> BTreeMap<ContentId, f64> {
        map.into_iter()
            .map(|(id, weight)| (ContentId::from(id), weight))
            .collect()
    };
    let signals = UserSignals {
        user_id: user.clone(),
        positives: by_id(model.positives),
        negatives: by_id(model.negatives),
        viewed,
        recent_views,
        tag_affinity: model.tag_affinity,
        tag_aversion: model.tag_aversion,
        taste_vector: vector(model.taste_vector),
        recency_vector: vector(model.recency_vector),
        behavior: Behavior {
            n_views: model.behavior.n_views,
            n_positive: model.behavior.n_positive,
            n_negative: model.behavior.n_negative,
            avg_dwell_ratio: model.behavior.avg_dwell_ratio,
            completion_rate: model.behavior.completion_rate,
            revisit_rate: model.behavior.revisit_rate,
            depth: model.behavior.depth,
        },
        demographics: model.demographics,
        built_at,
        event_count: model.event_count,
        done: done.into_iter().collect(),
        interests: decode_interests(&model.interests)?,
        encoded: EncodedForm::default(),
    };
    Ok(ModelSlot::Present(StoredModel {
        version,
        incomplete: model.incomplete,
        ranking: model
            .ranking
            .and_then(|text| u64::from_str_radix(&text, 16).ok()),
        signals: Arc::new(signals),
    }))
}

/// `""` for an empty list.
fn encode_interests(list: &InterestList) -> String {
    if list.entries().is_empty() {
        return String::new();
    }
    BASE64_STANDARD.encode(list.encode())
}

fn decode_interests(text: &str) -> Result<InterestList, serde_json::Error> {
    if text.is_empty() {
        return Ok(InterestList::default());
    }
    let bytes = BASE64_STANDARD.decode(text);
    let bytes = bytes.map_err(serde_json::Error::custom)?;
    InterestList::decode(&bytes).map_err(serde_json::Error::custom)
}

/// The viewed items, sorted, and the same items with the latest first. Each list
/// has each item once, also those that only the other one had.
fn views(viewed: Vec<String>, recent: Vec<String>) -> (Vec<ContentId>, Vec<ContentId>) {
    let mut viewed: Vec<ContentId> = viewed.into_iter().map(ContentId::from).collect();
    viewed.sort_unstable();
    let mut recent: Vec<ContentId> = recent.into_iter().map(ContentId::from).collect();
    let mut seen: HashSet<&ContentId> = HashSet::with_capacity(recent.len());
    let agree = viewed.len() == recent.len()
        && viewed.is_sorted_by(|a, b| a < b)
        && recent.iter().all(|id| seen.insert(id))
        && viewed.iter().all(|id| seen.contains(id));
    if !agree {
        let mut seen: HashSet<ContentId> = HashSet::new();
        recent.extend(viewed);
        recent.retain(|id| seen.insert(id.clone()));
        viewed = recent.clone();
        viewed.sort_unstable();
    }
    (viewed, recent)
}

/// `None` for text that the save script does not take for a rank either.
pub(super) fn parse_rank(text: &str) -> Option<(Version, Option<Timestamp>)> {
    let (version, built_at) = text.split_once('-')?;
    let is_half =
        |half: &str| half.len() == VERSION_DIGITS && half.bytes().all(|byte| byte.is_ascii_digit());
    if !is_half(version) || !is_half(built_at) {
        return None;
    }
    let built_at = built_at.parse().ok().filter(|micros| *micros > 0);
    Some((
        Version(version.parse().ok()?),
        built_at.map(Timestamp::from_micros),
    ))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};

    use super::{ERASED_END, RANK_LENGTH, START, decode, encode, is_marker, rank};
    use crate::{
        domain::{
            ids::{ContentId, UserId},
            time::Timestamp,
            user_signals::UserSignals,
            vector::UnitVector,
        },
        ports::{ModelSlot, StoredModel, Version},
    };

    fn model() -> StoredModel {
        let mut signals = UserSignals::empty(UserId::parse("u").unwrap());
        signals
            .positives
            .insert("7".into(), 0.123_456_789_012_345_68);
        signals.negatives.insert("é".into(), 0.1);
        signals.viewed = vec!["7".into()];
        signals.recent_views = vec!["7".into()];
        signals.tag_affinity.insert("theme:café".into(), 1.0);
        signals.taste_vector = UnitVector::new(&[0.6, 0.8]);
        signals.built_at = Some(Timestamp::from_micros(1_795_202_581_123_456));
        signals.event_count = 3;
        signals.done = vec!["7".into()];
        signals.demographics.insert("age".into(), json!("25"));
        StoredModel {
            version: Version(1_797_794_581_123),
            ranking: Some(u64::MAX),
            incomplete: false,
            signals: Arc::new(signals),
        }
    }

    #[test]
    fn a_model_is_decoded_as_encoded_and_begins_with_its_rank() {
        let text = encode(&model()).unwrap();
        let rank = &text[START.len()..START.len() + RANK_LENGTH];
        assert!(text.starts_with(START));
        assert_eq!(rank, "00001797794581123-01795202581123456");
        assert_eq!(
            decode(&UserId::parse("u").unwrap(), text.as_bytes()).unwrap(),
            ModelSlot::Present(model())
        );
    }

    #[test]
    fn an_incomplete_model_is_marked() {
        let incomplete = StoredModel {
            incomplete: true,
            ..model()
        };
        let text = encode(&incomplete).unwrap();
        let read = decode(&UserId::parse("u").unwrap(), text.as_bytes()).unwrap();
        assert_eq!(read, ModelSlot::Present(incomplete));
        assert!(!encode(&model()).unwrap().contains("incomplete"));
    }

    #[test]
    fn the_shared_keys_are_in_the_shared_order_after_the_version() {
        let text = encode(&model()).unwrap();
        let object: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(object["user_id"], "u");
        let positions: Vec<usize> = [
            "version",
            "user_id",
            "positives",
            "negatives",
            "viewed",
            "recent_views",
            "tag_affinity",
            "tag_aversion",
            "taste_vector",
            "recency_vector",
            "behavior",
            "demographics",
            "built_at",
            "event_count",
            "ranking",
            "done",
        ]
        .iter()
        .map(|key| text.find(&format!("\"{key}\":")).unwrap())
        .collect();
        assert!(positions.is_sorted());
    }

    #[test]
    fn a_marker_is_decoded_as_an_erased_user() {
        let erased_at = Timestamp::from_micros(1_795_202_581_123_456);
        let rank = rank(Version(5), Some(erased_at));
        let marker = format!("{START}{rank}{ERASED_END}");
        let slot = decode(&UserId::parse("u").unwrap(), marker.as_bytes()).unwrap();
        assert_eq!(slot, ModelSlot::Erased(Version(5)));
        assert!(is_marker(marker.as_bytes()));
        assert!(!is_marker(encode(&model()).unwrap().as_bytes()));
    }

    #[test]
    fn a_rank_of_another_width_is_ignored() {
        let user = UserId::parse("u").unwrap();
        for version in [
            "18446744073709551615-1",
            "1-9223372036854775807",
            "+0000000000000005-00000000000000007",
            "00000000000000005-+0000000000000007",
            "00000000000000005",
        ] {
            let value = json!({"version": version}).to_string();
            let ModelSlot::Present(read) = decode(&user, value.as_bytes()).unwrap() else {
                panic!("a model");
            };
            assert_eq!(read.rank(), (Version(0), None), "{version}");
            let text = encode(&read).unwrap();
            assert_eq!(&text[START.len() + RANK_LENGTH..][..1], "\"");
        }
    }

    #[test]
    fn both_lists_of_viewed_items_have_the_same_items() {
        let user = UserId::parse("u").unwrap();
        let value = json!({"viewed": ["c", "a", "c", "b"], "recent_views": ["b", "d", "b"]});
        let slot = decode(&user, value.to_string().as_bytes()).unwrap();
        let ModelSlot::Present(read) = slot else {
            panic!("a model");
        };
        assert_eq!(
            read.signals.viewed,
            ["a", "b", "c", "d"].map(ContentId::from)
        );
        assert_eq!(
            read.signals.recent_views,
            ["b", "d", "a", "c"].map(ContentId::from)
        );
    }

    #[test]
    fn a_model_with_too_large_weights_is_unreadable() {
        let user = UserId::parse("u").unwrap();
        for map in ["positives", "negatives", "tag_affinity", "tag_aversion"] {
            for weight in [1e308, -1e308] {
                let value = json!({map: {"a:b": weight, "a:c": weight}}).to_string();
                assert!(decode(&user, value.as_bytes()).is_err(), "{value}");
            }
        }
    }

    #[test]
    fn malformed_values_are_errors_and_missing_keys_take_their_defaults() {
        let user = UserId::parse("u").unwrap();
        for value in ["", "{", "[]", "7", r#"{"positives":3}"#] {
            assert!(decode(&user, value.as_bytes()).is_err(), "{value}");
        }
        let ModelSlot::Present(bare) = decode(&user, b"{\"extra\":[1]}").unwrap() else {
            panic!("a model");
        };
        assert_eq!((bare.version, bare.ranking), (Version(0), None));
    }
}
