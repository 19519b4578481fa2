//! Synthetic visitors who came before the tour: lists are also made of what others
//! chose.

use std::collections::BTreeSet;

use prost_types::Timestamp;

use crate::{
    eval::rng::SeededRng,
    proto::{InteractionEvent, Item},
};

/// Number of visitors.
const GUESTS: u64 = 300;
/// Items that each of them chooses.
const CHOICES: usize = 6;
/// A visitor's choices lie among this many items with similar tags.
const REACH: usize = 10;
/// What they do with the items that they choose, in turn.
const EVENT_TYPES: [&str; 2] = ["like", "view"];
const MINUTE: i64 = 60;
/// Time between the visits of two of them: all came within a week.
const BETWEEN_VISITS: i64 = 30 * MINUTE;

/// The events of all visitors, up to an hour before `now`. They choose among these items,
/// the same ones each time.
pub(super) fn events(list_id: &str, items: Vec<Item>, now: Timestamp) -> Vec<InteractionEvent> {
    let items = by_theme(items);
    let guests = (0..GUESTS).flat_map(|guest| {
        let chosen = choices(guest, items.len());
        let items = chosen.into_iter().filter_map(|index| items.get(index));
        let arrived = now.seconds - 60 * MINUTE - BETWEEN_VISITS * guest.cast_signed();
        let visit = items.zip(EVENT_TYPES.iter().cycle()).zip(0..);
        let visit = visit.map(|((item, event_type), number)| InteractionEvent {
            user_id: format!("guest-{guest:03}"),
            event_type: (*event_type).to_owned(),
            event_id: format!("{list_id}-guest-{guest:03}-{number}"),
            event_time: Some(Timestamp {
                seconds: arrived + MINUTE * number,
                nanos: 0,
            }),
            content_id: item.content_id.clone(),
            ..InteractionEvent::default()
        });
        visit.collect::<Vec<_>>()
    });
    guests.collect()
}

/// Each item once, items with the same main tag beside each other.
fn by_theme(mut items: Vec<Item>) -> Vec<Item> {
    let theme = |item: &Item| {
        let tags = item.tags.iter();
        let main = tags.max_by(|a, b| {
            let (a_weight, b_weight) = (a.weight.unwrap_or(1.0), b.weight.unwrap_or(1.0));
            a_weight.total_cmp(&b_weight)
        });
        let main = main.map(|tag| (tag.facet.clone(), tag.label.clone()));
        (main, item.content_id.clone())
    };
    items.sort_by_cached_key(theme);
    items.dedup_by(|a, b| a.content_id == b.content_id);
    items
}

/// The items that a visitor chooses, by index.
fn choices(guest: u64, items: usize) -> Vec<usize> {
    let mut chosen = BTreeSet::new();
    let mut random = SeededRng::new(guest, 0);
    let first = random.below(items);
    let wanted = CHOICES.min(items);
    // More draws than are ever needed: an item may be drawn again.
    for _ in 0..20 * CHOICES {
        if chosen.len() == wanted {
            break;
        }
        chosen.insert((first + random.below(REACH)) % items);
    }
    chosen.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::{CHOICES, GUESTS, choices, events};
    use crate::proto::{Item, Tag};

    fn item(id: usize, label: &str) -> Item {
        Item {
            content_id: format!("i{id}"),
            tags: vec![Tag {
                facet: "theme".into(),
                label: label.into(),
                weight: None,
            }],
            ..Item::default()
        }
    }

    #[test]
    fn visitors_choose_items_with_similar_tags_and_the_same_each_time() {
        let label = |id: usize| ["clocks", "ships", "maps", "letters"][id % 4];
        let items: Vec<Item> = (0..80).map(|id| item(id, label(id))).collect();
        let now = prost_types::Timestamp {
            seconds: 1_800_000_000,
            nanos: 0,
        };
        let sent = events("list", items.clone(), now);
        assert_eq!(sent.len(), GUESTS as usize * CHOICES);
        let reversed = items.into_iter().rev().collect();
        assert_eq!(sent, events("list", reversed, now));

        let mut of_one_theme = 0;
        for guest in sent.chunks(CHOICES) {
            let mut themes: HashMap<&str, usize> = HashMap::new();
            for event in guest {
                let id: usize = event.content_id[1..].parse().unwrap();
                *themes.entry(label(id)).or_default() += 1;
            }
            of_one_theme += usize::from(themes.len() == 1);
        }
        assert!(
            of_one_theme > 100,
            "{of_one_theme} visitors keep to a theme"
        );
    }

    #[test]
    fn a_small_catalogue_has_no_more_choices_than_items() {
        assert_eq!(choices(1, 0), [0_usize; 0]);
        assert_eq!(choices(1, 2), [0, 1]);
        let once = choices(7, 1_000);
        assert_eq!(once.len(), CHOICES);
        assert!(once.iter().all(|index| *index < 1_000));
    }
}
