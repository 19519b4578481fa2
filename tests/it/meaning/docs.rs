//! The worked numbers of `docs/concepts/meaning.md`.

use std::sync::Arc;

use recsys::domain::{
    event::{EndReason, EventLog, InteractionEvent},
    event_member,
    ids::{ContentId, UserId},
    item::{CatalogueItem, Items},
    ranking_config::RankingConfig,
    signals::{self, ItemExplanation},
    time::Timestamp,
};
use serde_json::json;

use crate::support::{items::item, server::NOW};

/// The events of one item, a minute apart, the last one at the time of the model.
#[derive(Default)]
struct Story(Vec<InteractionEvent>);

impl Story {
    fn event(mut self, event_type: &str) -> Self {
        let user = UserId::parse("ada").unwrap();
        let now = Timestamp::parse_iso8601(NOW).unwrap();
        let mut event = InteractionEvent::new(user, event_type, now);
        event.content_id = Some("i".into());
        self.0.push(event);
        self
    }

    fn last(&mut self) -> &mut InteractionEvent {
        self.0.last_mut().unwrap()
    }

    fn dwell(mut self, seconds: f64) -> Self {
        self.last().dwell_seconds = Some(seconds);
        self
    }

    fn end(mut self, reason: EndReason) -> Self {
        self.last().end_reason = Some(reason);
        self
    }

    fn rating(mut self, stars: f64) -> Self {
        self.last()
            .survey_answers
            .insert("rating".into(), json!(stars));
        self
    }

    fn explained(mut self) -> ItemExplanation {
        let count = self.0.len();
        for (index, event) in self.0.iter_mut().enumerate() {
            let before = std::time::Duration::from_secs(60 * (count - 1 - index) as u64);
            event.time = event.time.minus(before);
        }
        let config = RankingConfig::default();
        let catalogue_item = item("i").words(100).build();
        let items: Items = [(
            "i".into(),
            Arc::new(CatalogueItem::new(catalogue_item, &config.canonicalizer())),
        )]
        .into_iter()
        .collect();
        let stored = self
            .0
            .into_iter()
            .map(|event| Arc::new(event_member::encode(event).unwrap()));
        let log = EventLog::new(stored.collect());
        let now = Timestamp::parse_iso8601(NOW).unwrap();
        let mut explained = signals::explain(&log, &items, now, &config);
        let user = UserId::parse("ada").unwrap();
        let model = signals::build(&user, &log, &items, now, &config);
        let explained = explained.remove(0);
        let weights = [&model.positives, &model.negatives];
        let weight = weights
            .iter()
            .find_map(|map| map.get(&ContentId::from("i")));
        assert_eq!(weight.copied().unwrap_or(0.0), explained.weight());
        assert_eq!(model.done.contains(&"i".into()), explained.done);
        explained
    }
}

fn row(events: &str, explained: &ItemExplanation) -> String {
    let explicit = explained
        .explicit
        .map_or("none".to_owned(), |explicit| format!("{explicit:.2}"));
    let done = if explained.done { ", done" } else { "" };
    format!(
        "| {events} | {:.3} | {:.3} | {:.3} | {:.3} | {explicit} | {:.3} | {}{done} |",
        explained.dwell,
        explained.completion,
        explained.revisit,
        explained.behavior,
        explained.strength,
        explained.opinion.as_str(),
    )
    .replace('-', "−")
}

#[test]
fn the_worked_numbers_are_those_of_the_code() {
    let start = Story::default;
    let stories = [
        ("`purchase`", start().event("purchase")),
        ("`product_viewed`", start().event("product_viewed")),
        (
            "`product_viewed` for 2 s",
            start().event("product_viewed").dwell(2.0),
        ),
        (
            "`product_viewed` for 60 s",
            start().event("product_viewed").dwell(60.0),
        ),
        (
            "`add_to_cart`, then `remove_from_cart`",
            start().event("add_to_cart").event("remove_from_cart"),
        ),
        (
            "`purchase`, then `refund`",
            start().event("purchase").event("refund"),
        ),
        (
            "`purchase`, then `add_to_cart`, then `remove_from_cart`",
            start()
                .event("purchase")
                .event("add_to_cart")
                .event("remove_from_cart"),
        ),
        (
            "`review` with rating 1 after 60 s",
            start().event("review").dwell(60.0).rating(1.0),
        ),
        (
            "`purchase`, then `review` with rating 3",
            start().event("purchase").event("review").rating(3.0),
        ),
        (
            "`CONTENT_VIEW_ENDED` after 30 s by the next button",
            start()
                .event("CONTENT_VIEW_ENDED")
                .dwell(30.0)
                .end(EndReason::NextButton),
        ),
        (
            "`CONTENT_VIEW_ENDED` after 1 s, abandoned",
            start()
                .event("CONTENT_VIEW_ENDED")
                .dwell(1.0)
                .end(EndReason::Abandon),
        ),
    ];
    let page = include_str!("../../../docs/concepts/meaning.md");
    let rows: Vec<String> = stories
        .into_iter()
        .map(|(events, story)| row(events, &story.explained()))
        .collect();
    let shown: Vec<&str> = page
        .lines()
        .skip_while(|line| !line.starts_with("| events of the item |"))
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .collect();
    assert_eq!(
        shown,
        rows,
        "docs/concepts/meaning.md should have:\n{}",
        rows.join("\n")
    );
}
