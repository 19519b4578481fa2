//! Ids of items with a prefix that some pipelines add: `content_77` is the item
//! `content_77` if the catalogue has that, else `77`.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use crate::{api::parse::UncheckedEvent, domain::ids::ContentId, engine::Engine, ports::Deadline};

/// The prefix of an item's id, before its digits.
const CONTENT_PREFIX: &str = "content_";
/// Items that the catalogue is asked for at once.
const MAX_LOOKUP: usize = 500;
/// How long its answer is waited for: events are stored without it.
const MAX_WAIT: Duration = Duration::from_secs(1);
/// The share of the remaining time that this may take.
const WAIT_SHARE: u32 = 4;

/// The id without the prefix, if it has the prefix and then only digits.
fn plain_id(id: &str) -> Option<&str> {
    let digits = id.strip_prefix(CONTENT_PREFIX)?;
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then_some(digits)
}

fn ids(event: &mut UncheckedEvent) -> impl Iterator<Item = &mut String> {
    [&mut event.content_id, &mut event.clicked_id]
        .into_iter()
        .chain(&mut event.impressions)
}

/// Replaces the ids with the prefix by the plain ones, except those that the catalogue
/// has. If it does not answer, it is taken to have none, and is not asked again:
/// `is_reachable` is set to false.
pub(super) async fn resolve(
    events: impl Iterator<Item = &mut UncheckedEvent>,
    engine: &Engine,
    deadline: Deadline,
    is_reachable: &mut bool,
) {
    let mut by_id: BTreeMap<String, Vec<&mut String>> = BTreeMap::new();
    for id in events.flat_map(ids) {
        if plain_id(id).is_some() {
            by_id.entry(id.clone()).or_default().push(id);
        }
    }
    let all: Vec<ContentId> = by_id.keys().map(|id| id.as_str().into()).collect();
    let known = if *is_reachable {
        let wait = (deadline.remaining() / WAIT_SHARE).min(MAX_WAIT);
        let soon = Deadline::at(Instant::now() + wait);
        known(&all, engine, soon, is_reachable).await
    } else {
        BTreeSet::new()
    };
    for (id, places) in by_id {
        let Some(plain) = plain_id(&id).filter(|_| !known.contains(id.as_str())) else {
            continue;
        };
        for place in places {
            plain.clone_into(place);
        }
    }
}

/// Those of the ids that the catalogue has, as far as it answers.
async fn known(
    ids: &[ContentId],
    engine: &Engine,
    deadline: Deadline,
    is_reachable: &mut bool,
) -> BTreeSet<String> {
    let mut known = BTreeSet::new();
    for ids in ids.chunks(MAX_LOOKUP) {
        let found = tokio::time::timeout(deadline.remaining(), engine.get_items(ids, deadline));
        let Ok(Ok(items)) = found.await else {
            *is_reachable = false;
            break;
        };
        let found = ids.iter().zip(items).filter(|(_, item)| item.is_some());
        known.extend(found.map(|(id, _)| id.as_str().to_owned()));
    }
    known
}

#[cfg(test)]
mod tests {
    use super::plain_id;

    #[test]
    fn only_digits_after_the_prefix_are_an_id() {
        for (given, plain) in [
            ("content_1001", "1001"),
            ("content_", "content_"),
            ("content_1a", "content_1a"),
            ("content_٣", "content_٣"),
            ("content_-1", "content_-1"),
            ("Content_1", "Content_1"),
            ("xcontent_1", "xcontent_1"),
            ("1009", "1009"),
            ("sku-7", "sku-7"),
        ] {
            assert_eq!(plain_id(given).unwrap_or(given), plain, "{given}");
        }
    }
}
