//! What a reader should know of a log, and what makes it useless.

use std::{collections::HashSet, time::Duration};

use crate::{
    config::{ReplayFlags, SeenFlag},
    eval::log::{LogPart, ReplayLog},
};

/// Event types that an error lists.
const MAX_TYPES: usize = 8;

/// Refuses a log on which nothing can be measured.
pub(super) fn check(
    log: &ReplayLog,
    flags: &ReplayFlags,
    event_types: &[(String, usize)],
) -> Result<(), String> {
    let facts = &log.facts;
    if log.events.iter().all(|event| event.item.is_none()) {
        return Err(format!(
            "{}: no event names an item; say which column does, for example --map \
             content_id=product",
            flags.events.display()
        ));
    }
    if facts.likes == 0 {
        let listed: Vec<String> = event_types
            .iter()
            .take(MAX_TYPES)
            .map(|(name, count)| format!("{name} ({count})"))
            .collect();
        return Err(format!(
            "{}: no event counts as a like, so there is nothing to predict; the event types are \
             {}; likes are ratings of at least 4 and types with a strength, such as purchase, \
             like or view: name the right column with --map event_type=COLUMN, or give your \
             types a strength in the ranking file",
            flags.events.display(),
            listed.join(", ")
        ));
    }
    if facts.items_with_events == 0
        && let Some(catalog) = &flags.catalog
    {
        let named = log.items.get(facts.items).map_or("", |id| id.as_str());
        let known = log.items.first().map_or("", |id| id.as_str());
        return Err(format!(
            "{}: none of its {} items is named by an event; the catalogue has items such as \
             {known:?}, the events such as {named:?}: both files must use the same ids; if \
             another column has them, name it with --catalog-map id=COLUMN or --map \
             content_id=COLUMN",
            catalog.display(),
            facts.items
        ));
    }
    Ok(())
}

/// What a reader should know of a log.
pub(super) fn of(log: &ReplayLog, flags: &ReplayFlags) -> Vec<String> {
    let facts = &log.facts;
    let mut notes = Vec::new();
    if facts.out_of_order > 0 {
        notes.push(format!(
            "the events were not in the order of time ({} stand after a later one): they were \
             sorted",
            facts.out_of_order
        ));
    }
    if log.events.len() > 1 && facts.first == facts.last {
        notes.push(
            "all events have the same time: lists could not use what other users did before, so \
             they are worse than those of a running service. Give each event its own time"
                .to_owned(),
        );
    }
    if facts.duplicates > 0 {
        notes.push(format!(
            "{} events repeat an earlier one and were left out",
            facts.duplicates
        ));
    }
    if facts.likes_of_unknown_items > 0 {
        notes.push(format!(
            "{} of {} likes are of items that the catalogue lacks: no list can hold them, and \
             they count as misses",
            facts.likes_of_unknown_items, facts.likes
        ));
    }
    notes.extend(mostly_seen(log, flags.seen));
    notes.extend(
        flags
            .window_days
            .and_then(|window| outside_window(log, window)),
    );
    let has_content =
        |item: &crate::domain::item::Item| !item.tags.is_empty() || item.vector.is_some();
    if flags.catalog.is_none() {
        notes.push(
            "without --catalog nothing is known of the items: lists by tags and vectors are random"
                .to_owned(),
        );
    } else if !log.catalogue.iter().any(has_content) {
        notes.push(
            "no item of the catalogue has tags or a vector: lists by content are random".to_owned(),
        );
    }
    let first_tested = log
        .events
        .iter()
        .position(|event| event.part == LogPart::Evaluation);
    let later_training = log
        .events
        .iter()
        .skip(first_tested.unwrap_or(log.events.len()))
        .filter(|event| event.part == LogPart::Training)
        .count();
    if later_training > 0 {
        notes.push(format!(
            "{later_training} of the events of --train are later than the first one of --events: \
             each is learned at its time"
        ));
    }
    notes
}

/// Likes of items that the user had events of before, if they are most of all: lists
/// that hide seen items cannot hold them.
fn mostly_seen(log: &ReplayLog, seen: SeenFlag) -> Option<String> {
    if seen == SeenFlag::Allow {
        return None;
    }
    let mut pairs = HashSet::new();
    let (mut likes, mut hidden) = (0_usize, 0_usize);
    for event in &log.events {
        let Some(item) = event.item else { continue };
        let is_first = pairs.insert((event.user, item));
        likes += usize::from(event.is_like);
        hidden += usize::from(event.is_like && !is_first);
    }
    (2 * hidden > likes).then(|| {
        format!(
            "{hidden} of {likes} likes are of items that the user had seen before, such as \
             purchases after a view: lists that hide seen items cannot hold them, and they count \
             as misses; --seen allow lists such items again"
        )
    })
}

/// Events that no list sees any more at the end of the log.
fn outside_window(log: &ReplayLog, window: Duration) -> Option<String> {
    let end = log.events.last()?.time.minus(window);
    let outside = log.events.partition_point(|event| event.time < end);
    (outside > 0).then(|| {
        format!(
            "{outside} of {} events are older than {} days at the end of the log and do not count \
             any more there; leave out --window-days to count all {:.0} days",
            log.events.len(),
            window.as_secs() / 86_400,
            log.span_days()
        )
    })
}
