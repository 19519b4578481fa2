//! Lists as a table and as JSON.

use std::fmt::Write as _;

use serde_json::{Value, json};
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use crate::proto::{
    ColdReason, EmptyReason, ItemRole, RecommendDiagnostics, RecommendResponse, RecommendedItem,
};

/// Widest columns; longer texts are cut.
const MAX_ID_WIDTH: usize = 32;
const MAX_TITLE_WIDTH: usize = 40;

/// The list as one JSON object, with the names of the API.
pub(super) fn json(list: &RecommendResponse) -> Value {
    let diagnostics = list.diagnostics.clone().unwrap_or_default();
    let exploration = diagnostics.exploration.clone().unwrap_or_default();
    let items: Vec<Value> = list.items.iter().map(item_json).collect();
    json!({
        "request_id": list.request_id,
        "strategy": list.strategy().as_str_name(),
        "items": items,
        "diagnostics": {
            "pool_size": diagnostics.pool_size,
            "scored": diagnostics.scored,
            "generators": diagnostics.generators,
            "cold_reason": diagnostics.cold_reason().as_str_name(),
            "cold_start_fallback": diagnostics.cold_start_fallback,
            "seen_fallback": diagnostics.seen_fallback,
            "popular_fallback": diagnostics.popular_fallback,
            "reason": diagnostics.reason().as_str_name(),
            "exploration": {
                "content_id": exploration.content_id,
                "slot": exploration.slot,
                "skipped": exploration.skipped().as_str_name(),
            },
            "degraded": diagnostics.degraded,
            "signals_source": diagnostics.signals_source().as_str_name(),
            "unknown_context_ids": diagnostics.unknown_context_ids,
            "placement": diagnostics.placement,
            "experiment": diagnostics.experiment,
            "variant": diagnostics.variant,
        },
    })
}

fn item_json(item: &RecommendedItem) -> Value {
    json!({
        "rank": item.rank,
        "content_id": item.content_id,
        "title": title(item),
        "score": item.score,
        "role": item.role().as_str_name(),
        "reason": item.reason,
        "breakdown": item.breakdown,
        "matched_tags": item.matched_tags,
        "similar_to": item.similar_to,
        "similar_because": item.similar_because,
    })
}

/// The list as a table, and what is to be known of it.
pub(super) fn text(list: &RecommendResponse) -> String {
    let mut text = String::new();
    // Writing to a text cannot fail.
    _ = write_all(&mut text, list);
    text
}

fn write_all(text: &mut String, list: &RecommendResponse) -> std::fmt::Result {
    let rows: Vec<[String; 4]> = list.items.iter().map(row).collect();
    let width = |column: usize, max: usize| {
        let widths = rows.iter().map(|row| row[column].width());
        widths.max().unwrap_or(0).min(max)
    };
    let (ids, titles) = (width(1, MAX_ID_WIDTH), width(2, MAX_TITLE_WIDTH));
    for (item, [score, id, title, reason]) in list.items.iter().zip(&rows) {
        let (id, title) = (fitted(id, ids), fitted(title, titles));
        let line = format!("{:>3}  {score:>7}  {id}  {title}  {reason}", item.rank);
        writeln!(text, "{}", line.trim_end())?;
    }
    let diagnostics = list.diagnostics.clone().unwrap_or_default();
    if list.items.is_empty() {
        writeln!(text, "The list is empty: {}", why_empty(&diagnostics))?;
    }
    for line in remarks(&diagnostics) {
        writeln!(text, "{line}")?;
    }
    Ok(())
}

fn row(item: &RecommendedItem) -> [String; 4] {
    let mut reason = printable(&item.reason);
    if item.role() == ItemRole::Exploration {
        reason.push_str(" (exploration)");
    }
    [
        format!("{:.3}", item.score),
        printable(&item.content_id),
        printable(title(item)),
        reason,
    ]
}

fn title(item: &RecommendedItem) -> &str {
    item.content.as_ref().map_or("", |content| &content.title)
}

fn why_empty(diagnostics: &RecommendDiagnostics) -> &'static str {
    match diagnostics.reason() {
        EmptyReason::Unspecified => "the server does not say why",
        EmptyReason::CatalogEmpty => "the catalogue has no items",
        EmptyReason::NoItemMatches => "no item meets the restrictions",
        EmptyReason::AllSeenOrExcluded => "the matching items are seen or excluded",
        EmptyReason::NoPopularity => "nobody engaged with a matching item lately",
    }
}

/// What a reader of the list should know of it.
fn remarks(diagnostics: &RecommendDiagnostics) -> Vec<String> {
    let mut remarks = Vec::new();
    let cold = match diagnostics.cold_reason() {
        ColdReason::Unspecified | ColdReason::NoUser => None,
        ColdReason::UnknownUser => Some("nothing is known of the user"),
        ColdReason::NoPositiveEvents => Some("no event of the user makes an item liked"),
        ColdReason::UserStateUnavailable => Some("the user's model could not be read"),
        ColdReason::CatalogWithoutFeatures => {
            Some("the items that it is based on have neither tags nor vectors nor users")
        }
    };
    if let Some(reason) = cold {
        remarks.push(format!("Not personal: {reason}."));
    }
    if diagnostics.popular_fallback {
        remarks.push("Nothing is similar to the item: these are popular items.".to_owned());
    }
    if diagnostics.cold_start_fallback {
        let remark = "These items are a random sample. Other users' choices count about a minute \
                      after their events.";
        remarks.push(remark.to_owned());
    }
    if diagnostics.seen_fallback {
        let remark = "No unseen item meets the restrictions: these are seen ones.";
        remarks.push(remark.to_owned());
    }
    if !diagnostics.unknown_context_ids.is_empty() {
        let ids = diagnostics.unknown_context_ids.join(", ");
        remarks.push(format!("Not in the catalogue: {}.", printable(&ids)));
    }
    if !diagnostics.degraded.is_empty() {
        let degraded = diagnostics.degraded.join(", ");
        remarks.push(format!("Made without: {}.", printable(&degraded)));
    }
    remarks
}

fn printable(text: &str) -> String {
    text.replace(char::is_control, "\u{fffd}")
}

/// A text of exactly this width: cut, or filled up with spaces.
fn fitted(text: &str, width: usize) -> String {
    if text.width() <= width {
        let spaces = " ".repeat(width - text.width());
        return format!("{text}{spaces}");
    }
    let mut cut = String::new();
    let mut used = 1;
    for character in text.chars() {
        let next = character.width().unwrap_or(0);
        if used + next > width {
            break;
        }
        cut.push(character);
        used += next;
    }
    let spaces = " ".repeat(width.saturating_sub(used));
    format!("{cut}…{spaces}")
}

#[cfg(test)]
mod tests {
    use super::{fitted, text};
    use crate::proto::{
        EmptyReason, Item, RecommendDiagnostics, RecommendResponse, RecommendedItem,
    };

    #[test]
    fn columns_have_one_width_in_any_script() {
        assert_eq!(fitted("abc", 5), "abc  ");
        assert_eq!(fitted("abcdef", 5), "abcd…");
        assert_eq!(fitted("時計の針", 6), "時計… ");
    }

    #[test]
    fn a_list_is_a_table_without_control_characters() {
        let item = |rank, id: &str, title: &str| RecommendedItem {
            rank,
            content_id: id.into(),
            score: 1.25,
            reason: "Popular this week".into(),
            content: Some(Item {
                title: title.into(),
                ..Item::default()
            }),
            ..RecommendedItem::default()
        };
        let list = RecommendResponse {
            items: vec![item(1, "a", "The\u{1b}[2J Clock"), item(2, "bcd", "")],
            ..RecommendResponse::default()
        };
        assert_eq!(
            text(&list),
            "  1    1.250  a    The\u{fffd}[2J Clock  Popular this week\n  \
             2    1.250  bcd                 Popular this week\n"
        );
    }

    #[test]
    fn an_empty_list_says_why() {
        let diagnostics = RecommendDiagnostics {
            reason: EmptyReason::NoPopularity.into(),
            degraded: vec!["associations".into()],
            unknown_context_ids: vec!["x".into(), "y".into()],
            ..RecommendDiagnostics::default()
        };
        let list = RecommendResponse {
            diagnostics: Some(diagnostics),
            ..RecommendResponse::default()
        };
        assert_eq!(
            text(&list),
            "The list is empty: nobody engaged with a matching item lately\n\
             Not in the catalogue: x, y.\nMade without: associations.\n"
        );
    }

    #[test]
    fn a_random_sample_says_when_to_ask_again() {
        let diagnostics = RecommendDiagnostics {
            cold_start_fallback: true,
            ..RecommendDiagnostics::default()
        };
        let list = RecommendResponse {
            items: vec![RecommendedItem::default()],
            diagnostics: Some(diagnostics),
            ..RecommendResponse::default()
        };
        let text = text(&list);
        assert!(
            text.ends_with(
                "These items are a random sample. Other users' choices count about a minute \
                 after their events.\n"
            ),
            "{text}"
        );
    }
}
