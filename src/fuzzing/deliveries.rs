//! Deliveries of RudderStack and Segment.

use serde_json::Value;

use super::{
    requests::{check_refusal, check_stored_event},
    world,
};
use crate::{
    api::{limits::Limits, parse},
    http::webhook::{
        elements::elements,
        mapping::{self, Element},
    },
};

/// Elements that a delivery may have.
const MOST: usize = 1_000;

/// Reads a delivery. Accepted if any of its elements becomes an event.
///
/// A list of JSON has the elements that any reader finds in it. Each that is
/// accepted keeps the promises of an event that came by gRPC, and has the
/// element's name for its id; what is left out is told why.
pub fn deliveries(data: &[u8]) -> bool {
    let limits = Limits::default();
    let elements = match elements(data, MOST) {
        Ok(elements) => elements,
        Err(why) => {
            assert!(!why.to_string().is_empty());
            check_refused(data);
            return false;
        }
    };
    assert!(elements.len() <= MOST);
    check_elements(data, &elements);
    let accepted = elements.into_iter().filter(|text| {
        let Element { message_id, event } = mapping::read(text);
        match event {
            Ok(event) => match parse::validate(event, "event", world::now(), &limits) {
                Ok(stored) => {
                    assert_eq!(stored.event.event_id, message_id);
                    check_stored_event(&stored, &limits);
                    true
                }
                Err(error) => {
                    check_refusal(error);
                    false
                }
            },
            Err(reason) => {
                assert!(!reason.to_string().is_empty());
                false
            }
        }
    });
    accepted.count() > 0
}

/// What is JSON and in order is not refused.
fn check_refused(data: &[u8]) {
    match serde_json::from_slice(data) {
        Ok(Value::Object(_)) => panic!("an object is refused"),
        Ok(Value::Array(list)) => assert!(list.len() > MOST, "a list is refused"),
        Ok(Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) | Err(_) => {}
    }
}

fn check_elements(data: &[u8], elements: &[&str]) {
    let known = match serde_json::from_slice(data) {
        Ok(Value::Array(list)) => list,
        Ok(other) => vec![other],
        Err(_) => return,
    };
    assert_eq!(elements.len(), known.len());
    for (text, known) in elements.iter().zip(known) {
        assert_eq!(serde_json::from_str::<Value>(text).ok(), Some(known));
    }
}
