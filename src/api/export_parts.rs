//! Divides an export into messages of a limited size.

use std::collections::VecDeque;

use prost::Message as _;

use crate::{
    api::reply,
    domain::{associations::InterestList, user_signals::UserSignals, vector::UnitVector},
    ports::StoredText,
    proto::{ExportUserPagesResponse, UserSignals as SignalsPart},
};

/// Largest message.
pub(crate) const MAX_PART_BYTES: usize = 1 << 20;
/// Room for the content of a message: the rest is for the keys of its few single fields.
const CONTENT_BYTES: usize = MAX_PART_BYTES - 256;
/// What an element of a list or map takes on the wire besides its texts, at most.
const ELEMENT_BYTES: usize = 32;

/// The parts of an export that were made and not sent yet.
#[derive(Default)]
pub(crate) struct Parts {
    full: VecDeque<ExportUserPagesResponse>,
    last: ExportUserPagesResponse,
    /// Bytes of `last`, or a few more.
    bytes: usize,
}

impl Parts {
    /// The next part that is full.
    pub(crate) fn next(&mut self) -> Option<ExportUserPagesResponse> {
        self.full.pop_front()
    }

    /// No more is added: the last part is full. An export has at least one.
    pub(crate) fn finish(&mut self) {
        self.full.push_back(std::mem::take(&mut self.last));
        self.bytes = 0;
    }

    /// The part that has room for this many bytes.
    fn with_room(&mut self, bytes: usize) -> &mut ExportUserPagesResponse {
        if self.bytes + bytes > CONTENT_BYTES {
            self.finish();
        }
        self.bytes += bytes;
        &mut self.last
    }

    pub(crate) fn event(&mut self, stored: StoredText) {
        if let Some(event) = stored.event {
            let event = reply::event(&event.event);
            let bytes = event.encoded_len() + ELEMENT_BYTES;
            if bytes <= CONTENT_BYTES {
                self.with_room(bytes).events.push(event);
            }
        }
        let mut rest = stored.text.as_str();
        loop {
            let (piece, left) = piece(rest);
            let part = self.with_room(piece.len() + ELEMENT_BYTES);
            part.stored_events.push(piece.to_owned());
            rest = left;
            if rest.is_empty() {
                return;
            }
            part.stored_event_continues = true;
            self.finish();
        }
    }

    pub(crate) fn stored_model(&mut self, model: &str) {
        let mut rest = model;
        while !rest.is_empty() {
            let (piece, left) = piece(rest);
            let part = self.with_room(piece.len() + ELEMENT_BYTES);
            part.stored_model.push_str(piece);
            rest = left;
            if !rest.is_empty() {
                self.finish();
            }
        }
    }

    pub(crate) fn signals(&mut self, signals: &UserSignals) {
        let mut rest = reply::rest_of_signals(signals);
        rest.user_id = signals.user_id.as_str().to_owned();
        let demographics = rest.demographics.take();
        let bytes = rest.encoded_len() + ELEMENT_BYTES;
        self.with_room(bytes).signals = Some(rest);
        for (name, value) in demographics.unwrap_or_default().fields {
            let bytes = name.len() + value.encoded_len();
            let part = self.signals_part(bytes);
            let demographics = part.demographics.get_or_insert_default();
            demographics.fields.insert(name, value);
        }
        for (id, weight) in &signals.positives {
            let part = self.signals_part(id.as_str().len());
            part.positives.insert(id.to_string(), *weight);
        }
        for (id, weight) in &signals.negatives {
            let part = self.signals_part(id.as_str().len());
            part.negatives.insert(id.to_string(), *weight);
        }
        for id in &signals.viewed {
            let part = self.signals_part(id.as_str().len());
            part.viewed.push(id.to_string());
        }
        for id in &signals.recent_views {
            let part = self.signals_part(id.as_str().len());
            part.recent_views.push(id.to_string());
        }
        for (tag, weight) in &signals.tag_affinity {
            let part = self.signals_part(tag.len());
            part.tag_affinity.insert(tag.clone(), *weight);
        }
        for (tag, weight) in &signals.tag_aversion {
            let part = self.signals_part(tag.len());
            part.tag_aversion.insert(tag.clone(), *weight);
        }
        for number in signals.taste_vector.iter().flat_map(UnitVector::values) {
            self.signals_part(4).taste_vector.push(number);
        }
        for number in signals.recency_vector.iter().flat_map(UnitVector::values) {
            self.signals_part(4).recency_vector.push(number);
        }
    }

    pub(crate) fn interests(&mut self, list: &InterestList) {
        for entry in reply::interests(list) {
            let bytes = entry.encoded_len() + ELEMENT_BYTES;
            self.with_room(bytes).interests.push(entry);
        }
    }

    /// The model of the part that has room for an element with this many bytes of text.
    fn signals_part(&mut self, bytes: usize) -> &mut SignalsPart {
        self.with_room(bytes + ELEMENT_BYTES)
            .signals
            .get_or_insert_default()
    }
}

/// The start of a text that fits into a part, and the rest.
fn piece(text: &str) -> (&str, &str) {
    let room = CONTENT_BYTES - ELEMENT_BYTES;
    text.split_at(text.floor_char_boundary(room))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use prost::Message as _;

    use super::{MAX_PART_BYTES, Parts};
    use crate::{
        domain::{ids::UserId, user_signals::UserSignals},
        ports::StoredText,
        proto,
    };

    fn all(mut parts: Parts) -> Vec<proto::ExportUserPagesResponse> {
        parts.finish();
        let parts: Vec<_> = std::iter::from_fn(|| parts.next()).collect();
        for part in &parts {
            let size = part.encoded_len();
            assert!(size <= MAX_PART_BYTES, "{size}");
        }
        parts
    }

    fn text(text: String) -> StoredText {
        StoredText { text, event: None }
    }

    #[test]
    fn texts_of_any_length_are_divided_and_can_be_joined() {
        let texts = [
            "a".to_owned(),
            "é".repeat(1_300_000),
            String::new(),
            "b".into(),
        ];
        let mut parts = Parts::default();
        texts
            .iter()
            .for_each(|given| parts.event(text(given.clone())));
        parts.stored_model(&"m€".repeat(700_000));
        let parts = all(parts);
        assert!(parts.len() > 4, "{}", parts.len());
        let mut joined: Vec<String> = Vec::new();
        let mut continues = false;
        for part in &parts {
            for (index, piece) in part.stored_events.iter().enumerate() {
                match joined.last_mut() {
                    Some(last) if continues && index == 0 => last.push_str(piece),
                    _ => joined.push(piece.clone()),
                }
            }
            if !part.stored_events.is_empty() {
                continues = part.stored_event_continues;
            }
        }
        assert_eq!(joined, texts);
        let model: String = parts
            .iter()
            .map(|part| part.stored_model.as_str())
            .collect();
        assert_eq!(model, "m€".repeat(700_000));
    }

    #[test]
    fn a_large_model_is_divided_and_can_be_united() {
        let mut signals = UserSignals::empty(UserId::parse("u").unwrap());
        signals.positives = (0..20_000)
            .map(|index| (format!("{index:0>100}").into(), f64::from(index)))
            .collect();
        let mut parts = Parts::default();
        parts.signals(&signals);
        let parts = all(parts);
        assert!(parts.len() > 2, "{}", parts.len());
        let united: BTreeMap<String, f64> = parts
            .iter()
            .flat_map(|part| part.signals.clone().unwrap_or_default().positives)
            .collect();
        assert_eq!(united.len(), 20_000);
        assert_eq!(parts[0].signals.as_ref().unwrap().user_id, "u");
    }
}
