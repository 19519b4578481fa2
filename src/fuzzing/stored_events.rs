//! Events as any writer may have left them in a buffer.

use std::sync::Arc;

use super::{
    checks::{check_event, check_model_of, must},
    world,
};
use crate::{
    adapters::redis::events::from_score,
    domain::{
        event::{EventLog, StoredEvent},
        event_member::{self, event_id_suffix},
        ranking_config::RankingConfig,
        time::Timestamp,
    },
};

/// Reads a buffer: a line for each event, its score, a space, its member.
/// Accepted if any of them can be read.
///
/// What can be read is an object, says a time that can be written, and is the
/// same event when it is written and read; the model of all of them keeps to
/// its bounds.
pub fn stored_events(data: &[u8]) -> bool {
    let events: Vec<Arc<StoredEvent>> = data
        .split(|byte| *byte == b'\n')
        .filter_map(read)
        .map(Arc::new)
        .collect();
    if events.is_empty() {
        return false;
    }
    let log = EventLog::new(events);
    check_model_of(&world::user(), &log, &RankingConfig::default());
    true
}

fn read(line: &[u8]) -> Option<StoredEvent> {
    let (score, text) = std::str::from_utf8(line).ok()?.split_once(' ')?;
    let score = from_score(score.parse().ok()?);
    let user = world::user();
    let stored = event_member::decode(&user, text, score).ok()?;
    assert_eq!(*stored.member, *text);
    assert!(text.trim_start().starts_with('{'), "no object: {text}");
    check_event(&stored.event);

    let written = must(
        event_member::encode(stored.event.clone()),
        "cannot be written",
    );
    // Its time is in it now.
    let elsewhen = Timestamp::from_micros(1);
    let again = must(
        event_member::decode(&user, &written.member, elsewhen),
        "unread",
    );
    assert_eq!(again, written);
    if let Some(id) = &stored.event.event_id {
        let suffix = must(event_id_suffix(id), "an id without a suffix");
        assert!(written.member.ends_with(&suffix), "{}", written.member);
    }
    Some(stored)
}
