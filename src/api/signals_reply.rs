//! The reply of GetUserSignals. All replies that return one model share its encoded form.

use std::sync::Arc;

use bytes::BufMut;
use prost::{
    Message as _,
    encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len},
};

use crate::{
    api::{reply, reply_message::ReplyMessage},
    domain::user_signals::UserSignals,
    engine::SignalsSource,
    proto,
};

/// Number of the field `signals`.
const SIGNALS: u32 = 1;

/// Numbers of the fields of a [`proto::UserSignals`] that hold many texts.
const POSITIVES: u32 = 2;
const NEGATIVES: u32 = 3;
const VIEWED: u32 = 4;
const RECENT_VIEWS: u32 = 5;
const TAG_AFFINITY: u32 = 6;
const TAG_AVERSION: u32 = 7;

/// Numbers of the fields of a map's entry.
const ENTRY_KEY: u32 = 1;
const ENTRY_VALUE: u32 = 2;

/// A [`proto::GetUserSignalsResponse`] in its encoded form.
pub(crate) struct SignalsReply {
    model: Arc<UserSignals>,
    /// The fields of the model that the shared form lacks.
    vectors: Vec<u8>,
    /// The fields after the model.
    rest: proto::GetUserSignalsResponse,
}

impl SignalsReply {
    pub(crate) fn new(
        model: Arc<UserSignals>,
        include_vectors: bool,
        source: SignalsSource,
    ) -> Self {
        let vectors = if include_vectors {
            reply::vectors(&model).encode_to_vec()
        } else {
            Vec::new()
        };
        Self {
            model,
            vectors,
            rest: proto::GetUserSignalsResponse {
                signals: None,
                source: reply::source(source).into(),
            },
        }
    }

    fn shared_form(&self) -> &[u8] {
        self.model
            .encoded
            .get_or_encode(|| without_vectors(&self.model))
    }
}

/// A [`proto::UserSignals`] in its encoded form, without vectors. Texts are written from
/// where they are: a message would hold copies.
fn without_vectors(model: &UserSignals) -> Vec<u8> {
    let rest = proto::UserSignals {
        user_id: model.user_id.as_str().to_owned(),
        ..reply::rest_of_signals(model)
    };
    let mut form = rest.encode_to_vec();
    for (field, ids) in [(VIEWED, &model.viewed), (RECENT_VIEWS, &model.recent_views)] {
        for id in ids {
            put_text(field, id.as_str(), &mut form);
        }
    }
    for (field, weights) in [(POSITIVES, &model.positives), (NEGATIVES, &model.negatives)] {
        for (id, weight) in weights {
            put_weight(field, id.as_str(), *weight, &mut form);
        }
    }
    for (field, weights) in [
        (TAG_AFFINITY, &model.tag_affinity),
        (TAG_AVERSION, &model.tag_aversion),
    ] {
        for (tag, weight) in weights {
            put_weight(field, tag, *weight, &mut form);
        }
    }
    form
}

fn put_text(field: u32, text: &str, form: &mut Vec<u8>) {
    encode_key(field, WireType::LengthDelimited, form);
    encode_varint(text.len() as u64, form);
    form.put_slice(text.as_bytes());
}

/// Writes an entry of a `map<string, double>`.
fn put_weight(field: u32, key: &str, weight: f64, form: &mut Vec<u8>) {
    let text = key_len(ENTRY_KEY) + encoded_len_varint(key.len() as u64) + key.len();
    let entry = text + key_len(ENTRY_VALUE) + size_of::<f64>();
    encode_key(field, WireType::LengthDelimited, form);
    encode_varint(entry as u64, form);
    put_text(ENTRY_KEY, key, form);
    encode_key(ENTRY_VALUE, WireType::SixtyFourBit, form);
    form.put_f64_le(weight);
}

impl ReplyMessage for SignalsReply {
    fn size(&self) -> usize {
        let signals = self.shared_form().len() + self.vectors.len();
        key_len(SIGNALS) + encoded_len_varint(signals as u64) + signals + self.rest.encoded_len()
    }

    fn write(&self, buffer: &mut impl BufMut) {
        // Fields of a message may come in any order.
        let form = self.shared_form();
        encode_key(SIGNALS, WireType::LengthDelimited, buffer);
        encode_varint((form.len() + self.vectors.len()) as u64, buffer);
        buffer.put_slice(form);
        buffer.put_slice(&self.vectors);
        self.rest.write(buffer);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use prost::Message as _;
    use serde_json::json;

    use super::SignalsReply;
    use crate::{
        api::{reply, reply_cost, reply_message::ReplyMessage as _},
        domain::{ids::UserId, time::Timestamp, user_signals::UserSignals, vector::UnitVector},
        engine::SignalsSource,
        proto,
    };

    fn blank() -> UserSignals {
        UserSignals::empty(UserId::parse("u").unwrap())
    }

    fn full() -> UserSignals {
        let id = |number: usize| format!("item {number}").as_str().into();
        let mut model = blank();
        model.positives = (0..300).map(|number| (id(number), 0.1)).collect();
        model.negatives = [(id(7), 1.0), ("".into(), 0.0)].into();
        model.viewed = (0..300).map(id).collect();
        model.recent_views = (0..300).rev().map(id).collect();
        model.tag_affinity = [("theme:sea".to_owned(), 1.0)].into();
        model.tag_aversion = [("theme:land".to_owned(), 0.5)].into();
        model.taste_vector = UnitVector::new(&[1.0, -2.0, 3.0]);
        model.recency_vector = UnitVector::new(&[0.5; 384]);
        model.behavior.n_views = 300;
        model.behavior.depth = 0.25;
        let demographics = json!({"age": 40, "likes": ["a", null], "more": {"b": true}});
        model.demographics = demographics.as_object().unwrap().clone();
        model.built_at = Some(Timestamp::from_micros(1_700_000_000_123_456));
        model.event_count = 4_000;
        model
    }

    fn encoded(model: &Arc<UserSignals>, include_vectors: bool, source: SignalsSource) -> Vec<u8> {
        let reply = SignalsReply::new(Arc::clone(model), include_vectors, source);
        let mut bytes = Vec::new();
        reply.write(&mut bytes);
        assert_eq!(bytes.len(), reply.size());
        bytes
    }

    #[test]
    fn a_reply_equals_the_plain_message() {
        let mut without_tags = full();
        without_tags.tag_affinity.clear();
        without_tags.taste_vector = None;
        for model in [blank(), full(), without_tags].map(Arc::new) {
            for (include_vectors, source) in [
                (false, SignalsSource::Materialized),
                (true, SignalsSource::Rebuilt),
                (false, SignalsSource::Empty),
            ] {
                let mut signals = reply::signals(&model);
                if !include_vectors {
                    signals.taste_vector.clear();
                    signals.recency_vector.clear();
                }
                let plain = proto::GetUserSignalsResponse {
                    signals: Some(signals),
                    source: reply::source(source).into(),
                };
                let bytes = encoded(&model, include_vectors, source);
                // A plain message lacks an empty key of 2 bytes and a value 0 of 9 bytes.
                let defaults = model.negatives.get("").map_or(0, |_| 2 + 9);
                assert_eq!(bytes.len(), plain.encoded_len() + defaults);
                let decoded = proto::GetUserSignalsResponse::decode(&*bytes).unwrap();
                assert_eq!(decoded, plain);
            }
        }
    }

    #[test]
    fn a_changed_model_is_encoded_again() {
        let model = Arc::new(full());
        let before = encoded(&model, false, SignalsSource::Materialized);
        let mut changed = (*model).clone();
        changed.event_count += 1;
        let after = encoded(&Arc::new(changed), false, SignalsSource::Materialized);
        let events = |bytes: &[u8]| {
            let reply = proto::GetUserSignalsResponse::decode(bytes).unwrap();
            reply.signals.unwrap().event_count
        };
        assert_eq!((events(&before), events(&after)), (4_000, 4_001));
    }

    #[test]
    fn a_reply_takes_no_more_than_its_bound() {
        let model = Arc::new(full());
        // Before and after the model has its encoded form.
        for _ in 0..2 {
            let bound = reply_cost::shared_signals(&model);
            let bytes = encoded(&model, true, SignalsSource::Materialized);
            assert!(bytes.len() <= bound, "{} of {bound}", bytes.len());
        }
    }
}
