//! The report of an explanation, as text.

use std::fmt::Write as _;

use crate::{
    domain::{
        meaning::EventMeaning,
        signals::{ItemEvent, ItemExplanation, Opinion},
    },
    engine::UserExplanation,
};

/// The explanation as text.
pub(super) fn text(explained: &UserExplanation) -> String {
    let mut text = String::new();
    // Writing to a text cannot fail.
    _ = write_all(&mut text, explained);
    text
}

fn write_all(text: &mut String, explained: &UserExplanation) -> std::fmt::Result {
    let signals = &explained.signals;
    let opinions = |opinion| {
        let items = explained.items.iter();
        items.filter(|item| item.opinion == opinion).count()
    };
    let temperature = if signals.is_cold() { "cold" } else { "warm" };
    writeln!(
        text,
        "{}: {temperature}; {} events, {} items: {} liked, {} disliked, {} neutral; {} ignored",
        printable(signals.user_id.as_str()),
        signals.event_count,
        explained.items.len(),
        opinions(Opinion::Liked),
        opinions(Opinion::Disliked),
        opinions(Opinion::Neutral),
        signals.ignored().count(),
    )?;
    let meanings = explained.meanings.iter().filter(|(_, count)| *count > 0);
    let meanings: Vec<String> = meanings
        .map(|(meaning, count)| format!("{count} {}", meaning.as_str()))
        .collect();
    if meanings.is_empty() {
        return writeln!(
            text,
            "No events are stored: none arrived for this id, or all are older than the window."
        );
    }
    writeln!(text, "events by meaning: {}", meanings.join(", "))?;
    if signals.is_cold() {
        writeln!(text, "{}", why_cold(explained))?;
    }
    for item in &explained.items {
        write_item(text, item, explained)?;
    }
    Ok(())
}

/// What to do about a cold model.
fn why_cold(explained: &UserExplanation) -> &'static str {
    let count = |meaning| {
        let mut meanings = explained.meanings.iter();
        meanings
            .find(|(other, _)| *other == meaning)
            .map_or(0, |(_, count)| *count)
    };
    if explained.items.is_empty() {
        "Nothing is liked, because no event names an item in content_id."
    } else if count(EventMeaning::Like) + count(EventMeaning::Dislike) == 0 {
        "Nothing is liked: all events of items are views, and none was long enough. Purchases, \
         likes and the like need a type in the ranking file's [[events]]."
    } else {
        "Nothing is liked: see the strength of each item."
    }
}

fn write_item(
    text: &mut String,
    item: &ItemExplanation,
    explained: &UserExplanation,
) -> std::fmt::Result {
    let title = match &item.title {
        Some(title) if title.is_empty() => String::new(),
        Some(title) => format!(" “{}”", printable(title)),
        None => " (not in the catalogue)".to_owned(),
    };
    let done = if item.done { ", done" } else { "" };
    writeln!(
        text,
        "\n{}{title}: {}{done}",
        printable(item.content_id.as_str()),
        item.opinion.as_str(),
    )?;
    for event in &item.events {
        writeln!(text, "  {}", event_text(event))?;
    }
    let dwell = match item.dwell_seconds {
        Some(seconds) => format!("{seconds:.0} s of {:.0} s reading", item.reading_seconds),
        None => "no dwell time".to_owned(),
    };
    let survey = if item.survey == 0.0 {
        String::new()
    } else {
        format!(" + {:.3} rating", item.survey)
    };
    writeln!(
        text,
        "  behavior {:.3} = {:.3} dwell ({dwell}) + {:.3} completion + {:.3} revisit \
         ({} visits){survey}",
        item.behavior, item.dwell, item.completion, item.revisit, item.visits,
    )?;
    let strength = match item.explicit {
        None => "the behavior's: nothing is explicit".to_owned(),
        Some(explicit) if explicit < 0.0 => {
            format!("explicit {explicit:.3}: negative, so it decides")
        }
        Some(explicit) if explicit >= item.behavior => {
            format!("explicit {explicit:.3}: the larger of both")
        }
        Some(explicit) => format!("the behavior's: explicit {explicit:.3} is smaller"),
    };
    writeln!(text, "  strength {:.3} ({strength})", item.strength)?;
    let days = explained.now.days_since(item.last);
    if item.opinion == Opinion::Neutral {
        return writeln!(text, "  weight 0: between the thresholds");
    }
    writeln!(
        text,
        "  weight {:.3} (|strength| × decay {:.3} after {days:.1} days)",
        item.weight(),
        item.decay,
    )
}

fn event_text(event: &ItemEvent) -> String {
    let mut parts = vec![match event.rule {
        None => "no rule".to_owned(),
        Some(rule) => {
            let weak = if rule.weak { " weak" } else { "" };
            let done = if rule.done { " done" } else { "" };
            format!("strength {}{weak}{done}", rule.strength)
        }
    }];
    parts.extend(event.rating.map(|rating| format!("rating {rating}")));
    parts.extend(event.dwell_seconds.map(|seconds| format!("{seconds:.0} s")));
    parts.extend(event.end_reason.map(|reason| reason.as_str().to_owned()));
    format!(
        "{}  {}  {}",
        event.time,
        printable(&event.event_type),
        parts.join(", ")
    )
}

/// A text from outside, without what could control a terminal.
fn printable(text: &str) -> String {
    let shown = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    text.chars().map(shown).collect()
}
