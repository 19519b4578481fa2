//! The output of the tour. anstream removes colours unless it is a terminal.

use std::{collections::HashMap, path::Path};

use anstream::println;
use anstyle::{AnsiColor, Style};
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use super::{
    day::{Day, VISITOR},
    names::title,
};
use crate::proto::{
    EventMeaning, IngestOutcome, ItemRole, RecommendResponse, RecommendStrategy, RecommendedItem,
    SignalsSource, UserSignals,
};

const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();
const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default();
const SPECIAL: Style = AnsiColor::Magenta.on_default().bold();

const TITLE_WIDTH: usize = 40;
const EVENT_WIDTH: usize = 14;
const WHY_WIDTH: usize = 56;
const TAG_WIDTH: usize = 36;
const BAR_WIDTH: f64 = 20.0;
const TAGS_SHOWN: usize = 6;

fn heading(text: &str) {
    println!("\n{BOLD}{text}{BOLD:#}");
}

pub(super) fn welcome(catalogue: Option<&Path>) {
    println!("{BOLD}recsys quickstart{BOLD:#}");
    match catalogue {
        None => println!("The sample catalogue: the Harbour Museum of Lindholm, an invented town."),
        Some(path) => println!("The catalogue of {}.", path.display()),
    }
    println!(
        "{DIM}Everything is in memory and ends with this process; everything that follows\n\
         comes through the gRPC API, as your own backend would use it.{DIM:#}"
    );
}

pub(super) fn guests(users: usize, events: usize) {
    println!(
        "{DIM}{users} synthetic visitors came before: {events} events, so that lists show what others chose.{DIM:#}"
    );
}

pub(super) fn story(day: &Day) {
    heading(&format!("1. A day of {VISITOR}, a new user (times in UTC)"));
    for step in &day.steps {
        println!("{DIM}{}{DIM:#}  {}", day.time_of(step), step.text);
    }
}

pub(super) fn sent(sent: usize, accepted: usize, last: &[(IngestOutcome, u32)]) {
    heading("2. The backend sends the events");
    println!("BatchIngestEvents  {sent} events, {accepted} accepted");
    for (delivery, (outcome, buffered)) in ["the last event", "the same, sent again"]
        .into_iter()
        .zip(last)
    {
        let outcome = outcome.as_str_name().trim_start_matches("INGEST_OUTCOME_");
        println!("IngestEvent        {delivery}: {outcome}, {buffered} events buffered");
    }
}

pub(super) fn model(
    signals: &UserSignals,
    source: SignalsSource,
    titles: &HashMap<String, String>,
) {
    heading("3. What recsys learned (GetUserSignals)");
    let behavior = signals.behavior.unwrap_or_default();
    let source = source.as_str_name().trim_start_matches("SIGNALS_SOURCE_");
    println!(
        "{} events: {} items seen, {} liked, {} disliked or ignored {DIM}({source}){DIM:#}",
        signals.event_count, behavior.n_views, behavior.n_positive, behavior.n_negative
    );
    tags("likes", GOOD, signals.tag_affinity.iter());
    tags("dislikes", BAD, signals.tag_aversion.iter());
    println!("latest items");
    for id in signals.recent_views.iter().take(5) {
        println!("  {}", titles.get(id).unwrap_or(id));
    }
}

fn tags<'a>(name: &str, style: Style, tags: impl Iterator<Item = (&'a String, &'a f64)>) {
    let mut tags: Vec<_> = tags.collect();
    tags.sort_by(|a, b| b.1.total_cmp(a.1).then_with(|| a.0.cmp(b.0)));
    if tags.is_empty() {
        return;
    }
    println!("{name}");
    for (tag, weight) in tags.into_iter().take(TAGS_SHOWN) {
        let bar = "█".repeat((weight * BAR_WIDTH).round().max(1.0) as usize);
        println!(
            "  {} {style}{bar}{style:#} {weight:.2}",
            fitted(tag, TAG_WIDTH)
        );
    }
}

pub(super) fn list(list: &RecommendResponse) {
    heading("4. What the visitor should see next (Recommend)");
    println!(
        "{DIM} #  {}  score  why{DIM:#}",
        fitted("title", TITLE_WIDTH)
    );
    for item in &list.items {
        let name = item
            .content
            .as_ref()
            .map_or_else(|| item.content_id.clone(), title);
        let explored = item.role() == ItemRole::Exploration;
        let style = if explored { SPECIAL } else { Style::new() };
        println!(
            "{style}{:>2}  {}  {:>5.3}  {}{style:#}",
            item.rank,
            fitted(&name, TITLE_WIDTH),
            item.score,
            shortened(why(item), WHY_WIDTH),
        );
    }
    let diagnostics = list.diagnostics.clone().unwrap_or_default();
    let strategy = match list.strategy() {
        RecommendStrategy::Warm => "warm: ranked by what the visitor liked",
        RecommendStrategy::Cold => "cold: nothing liked yet, a sample",
        RecommendStrategy::Unspecified => "",
    };
    println!(
        "{DIM}{strategy}\nordered by score and variety together; {} candidates; request {}{DIM:#}",
        diagnostics.pool_size, list.request_id
    );
}

fn why(item: &RecommendedItem) -> &str {
    if item.role() == ItemRole::Exploration {
        "* exploration: deliberately off-profile"
    } else if item.reason.is_empty() {
        "part of a random sample"
    } else {
        &item.reason
    }
}

pub(super) fn shop<'a>(
    lines: impl Iterator<Item = (&'a str, &'a str, EventMeaning)>,
    signals: &UserSignals,
) {
    heading("5. Another visitor, with the event names of a shop");
    for (event_type, title, meaning) in lines {
        let stored = if meaning == EventMeaning::None {
            ": not stored, no list could use it"
        } else {
            ""
        };
        let meaning = meaning.as_str_name().trim_start_matches("EVENT_MEANING_");
        println!(
            "{}  {}  {meaning}{stored}",
            fitted(event_type, EVENT_WIDTH),
            fitted(title, TITLE_WIDTH)
        );
    }
    println!(
        "{} liked, {} disliked {DIM}(recsys ranking show: what each event type is worth){DIM:#}",
        signals.positives.len(),
        signals.negatives.len()
    );
}

pub(super) fn next_steps(address: &str, example: &str, exit: bool) {
    heading("6. Continue with grpcurl");
    let call = |data: &str, method: &str| {
        println!("grpcurl -plaintext -d '{data}' \\\n  {address} recsys.v1.{method}");
    };
    println!("grpcurl -plaintext {address} list");
    // An id is any text: it is quoted for JSON and for the shell.
    let id = serde_json::Value::from(example)
        .to_string()
        .replace('\'', r"'\''");
    call(
        &format!(
            r#"{{"event":{{"user_id":"me","event_type":"CONTENT_VIEW_ENDED","content_id":{id},"dwell_seconds":60,"end_reason":"END_REASON_NEXT_BUTTON"}}}}"#
        ),
        "RecommenderService/IngestEvent",
    );
    call(r#"{"user_id":"me"}"#, "RecommenderService/GetUserSignals");
    call(
        r#"{"user_id":"me","limit":5,"include_content":true}"#,
        "RecommenderService/Recommend",
    );
    if exit {
        println!("\nThese need a server: run `recsys serve`, or quickstart without --exit.");
    } else {
        println!("\nServing on {address} until Ctrl-C.");
    }
}

/// Cut or padded to exactly `width` columns.
fn fitted(text: &str, width: usize) -> String {
    let text = shortened(text, width);
    let missing = width.saturating_sub(text.width());
    text + &" ".repeat(missing)
}

/// Cut to at most `width` columns, with an ellipsis at the cut.
fn shortened(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut cut = String::new();
    let mut used = 1;
    for c in text.chars() {
        used += c.width().unwrap_or(0);
        if used > width {
            break;
        }
        cut.push(c);
    }
    cut + "…"
}

#[cfg(test)]
mod tests {
    use unicode_width::UnicodeWidthStr as _;

    use super::{fitted, shortened};

    #[test]
    fn texts_fit_their_columns_in_any_script() {
        for text in [
            "",
            "short",
            "日本語の長い題名です",
            "a title that is far too long",
        ] {
            assert_eq!(fitted(text, 12).width(), 12, "{text}");
        }
        assert_eq!(shortened("abcdef", 4), "abc…");
        assert_eq!(shortened("abcd", 4), "abcd");
    }
}
