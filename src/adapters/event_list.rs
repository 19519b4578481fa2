//! A user's events in buffer order, by (time, member bytes): what every buffer
//! does with them.

use std::{cmp::Ordering, sync::Arc};

use crate::{
    domain::{
        event::{InteractionEvent, StoredEvent},
        time::Timestamp,
    },
    ports::EVENT_ID_SPAN,
};

/// Whether one of the events has the given event's id within
/// [`EVENT_ID_SPAN`] of its time. False if the event has no id.
pub(super) fn contains_id_of(events: &[Arc<StoredEvent>], event: &InteractionEvent) -> bool {
    let Some(id) = &event.event_id else {
        return false;
    };
    let from = event.time.minus(EVENT_ID_SPAN);
    let to = event.time.plus(EVENT_ID_SPAN);
    let start = events.partition_point(|other| other.event.time < from);
    events[start..]
        .iter()
        .take_while(|other| other.event.time <= to)
        .any(|other| other.event.event_id.as_ref() == Some(id))
}

/// Inserts an event that is not among them at its place.
pub(super) fn insert(events: &mut Vec<Arc<StoredEvent>>, event: Arc<StoredEvent>) {
    let place = events.partition_point(|other| other.buffer_order(&event) == Ordering::Less);
    events.insert(place, event);
}

/// How many of the oldest events an append prunes: those before `oldest`, and
/// those beyond the newest `max_events`.
pub(super) fn prunable(events: &[Arc<StoredEvent>], oldest: Timestamp, max_events: usize) -> usize {
    before(events, oldest).max(events.len().saturating_sub(max_events))
}

/// How many of the oldest events must go so that the members of the others have at
/// most this many bytes. The newest always stays.
pub(super) fn beyond(events: &[Arc<StoredEvent>], max_bytes: usize) -> usize {
    let mut bytes: usize = events.iter().map(|event| event.member.len()).sum();
    events
        .iter()
        .take(events.len().saturating_sub(1))
        .take_while(|event| {
            let is_beyond = bytes > max_bytes;
            bytes -= event.member.len();
            is_beyond
        })
        .count()
}

/// How many of the events are before a time.
pub(super) fn before(events: &[Arc<StoredEvent>], time: Timestamp) -> usize {
    events.partition_point(|event| event.event.time < time)
}
