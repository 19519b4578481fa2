//! One sentence on why an item is in a list.

use super::{
    ranked_item::{ItemRole, RankedItem},
    scorers::Scorer,
};
use crate::domain::{
    ids::ContentId,
    item::Items,
    tags::{Canonicalizer, TagKey},
};

/// Why an item is in a list, in plain English, from the largest part of its score.
/// `items` has the user's items that the list is based on, for their titles. Empty if
/// nothing speaks for the item.
#[must_use]
pub fn reason(ranked: &RankedItem, items: &Items, canonical: &Canonicalizer) -> String {
    if ranked.role == ItemRole::Exploration {
        return "Something different from what you usually choose".to_owned();
    }
    let parts = ranked.scored.breakdown.parts();
    let strongest = parts
        .filter(|(_, part)| *part > 0.0)
        .max_by(|a, b| a.1.total_cmp(&b.1).then_with(|| b.0.cmp(&a.0)));
    let Some((scorer, _)) = strongest else {
        return String::new();
    };
    let title = |item: &Option<ContentId>| {
        let title = &items.get(item.as_ref()?)?.item().title;
        (!title.is_empty()).then(|| format!("“{title}”"))
    };
    match scorer {
        Scorer::Collaborative => match title(&ranked.similar_because) {
            Some(title) => format!("Often chosen together with {title}"),
            None => "Often chosen together with what you chose".to_owned(),
        },
        Scorer::Popularity => "Popular this week".to_owned(),
        Scorer::Tag => match ranked
            .matched_tags
            .first()
            .and_then(|tag| label(ranked, tag, canonical))
        {
            Some(label) => format!("Because you like {label}"),
            None => "Because of what you like".to_owned(),
        },
        Scorer::Affinity | Scorer::Semantic => match title(&ranked.scored.similar_to) {
            Some(title) => format!("Because you liked {title}"),
            None => "Similar to what you like".to_owned(),
        },
        Scorer::Recency => "Similar to what you saw last".to_owned(),
        Scorer::Geo => "Near you".to_owned(),
        Scorer::Aversion => String::new(),
    }
}

/// A tag's label in the item's own spelling.
fn label<'a>(ranked: &'a RankedItem, tag: &TagKey, canonical: &Canonicalizer) -> Option<&'a str> {
    let mut tags = ranked.scored.item.item().tags.iter();
    let own = tags.find(|own| canonical.key(&format!("{}:{}", own.facet, own.label)) == *tag);
    own.map(|own| own.label.as_str())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::reason;
    use crate::domain::ids::UserId;
    use crate::domain::{
        associations::PopularItems,
        item::{CatalogueItem, Item, Items, Tag},
        ranking::{
            fusion::Fusion,
            interest::{CollaborativePart, IgnoredItems, Interest, SeenPolicy},
            ranked_item::{ItemRole, RankedItem},
        },
        ranking_config::RankingConfig,
        tags::Canonicalizer,
        user_signals::UserSignals,
    };

    fn item(id: &str, title: &str) -> Arc<CatalogueItem> {
        let mut item = Item::new(id);
        item.title = title.into();
        item.tags = vec![Tag {
            facet: "theme".into(),
            label: "Old Clocks".into(),
            weight: 1.0,
        }];
        Arc::new(CatalogueItem::new(item, &Canonicalizer::default()))
    }

    fn sentence(interest: &Interest, items: &Items) -> String {
        let config = RankingConfig::default();
        let scored = Fusion::new(interest, &config.fusion).score(item("x", ""));
        let ranked = RankedItem::new(scored, ItemRole::Target, interest);
        reason(&ranked, items, &Canonicalizer::default())
    }

    #[test]
    fn the_strongest_part_gives_the_sentence() {
        let mut interest = Interest::nobody();
        let known: Items = [item("a", "The Clock"), item("b", "")]
            .map(|item| (item.id().clone(), item))
            .into_iter()
            .collect();
        assert_eq!(sentence(&interest, &known), "");
        let popular = PopularItems::new(vec![("x".into(), 3.0)]);
        interest.popularity = Some(Arc::new(popular));
        assert_eq!(sentence(&interest, &known), "Popular this week");
        for (because, expected) in [
            ("a", "Often chosen together with “The Clock”"),
            ("b", "Often chosen together with what you chose"),
            ("gone", "Often chosen together with what you chose"),
        ] {
            let part = CollaborativePart {
                score: 0.7,
                because: because.into(),
            };
            interest.collaborative = Some([("x".into(), part)].into_iter().collect());
            assert_eq!(sentence(&interest, &known), expected);
        }
    }

    #[test]
    fn a_liked_tag_is_named_as_the_item_spells_it() {
        let mut signals = UserSignals::empty(UserId::parse("u").unwrap());
        signals.tag_affinity.insert("theme:old clocks".into(), 1.0);
        let interest = Interest::of_user(
            &signals,
            &Canonicalizer::default(),
            IgnoredItems::ScoredLower,
            SeenPolicy::Hide,
        );
        let sentence = sentence(&interest, &Items::new());
        assert_eq!(sentence, "Because you like Old Clocks");
    }
}
