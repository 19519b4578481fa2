//! Whether an event is in a buffer already, by the id that its sender gave it.

use std::sync::Arc;

use crate::{
    domain::event::{InteractionEvent, StoredEvent},
    ports::EVENT_ID_SPAN,
};

/// Whether one of the events, which are in the order of their times, has the
/// event's id at about its time.
pub(super) fn hold(events: &[Arc<StoredEvent>], event: &InteractionEvent) -> bool {
    let Some(id) = &event.event_id else {
        return false;
    };
    let from = event.time.minus(EVENT_ID_SPAN);
    let to = event.time.plus(EVENT_ID_SPAN);
    let start = events.partition_point(|known| known.event.time < from);
    events[start..]
        .iter()
        .take_while(|known| known.event.time <= to)
        .any(|known| known.event.event_id.as_ref() == Some(id))
}
