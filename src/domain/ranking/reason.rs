//! One sentence on why an item is in a list.

use super::{
    ranked_item::{ItemRole, RankedItem},
    scorers::Scorer,
};
use crate::domain::{
    ids::ContentId,
    item::{ItemTag, Items},
    tags::TagKey,
};

/// What a list is based on, for the wording of its reasons.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListBasis {
    /// A user's likes, or nothing.
    Likes,
    /// Items at hand, and a user's likes if there are any.
    Session(Vec<ContentId>),
    /// One item.
    Item(ContentId),
    /// Popularity over a week.
    Popular,
    /// Popularity over a day.
    Trending,
}

/// Why an item is in a list, in plain English, from the largest part of its score.
/// `items` has the items that the list is based on, for their titles. Empty if nothing
/// speaks for the item.
#[must_use]
pub fn reason(ranked: &RankedItem, basis: &ListBasis, items: &Items) -> String {
    if ranked.role == ItemRole::Exploration {
        return "Something different from what you usually choose".to_owned();
    }
    let breakdown = &ranked.scored.breakdown;
    let strongest = breakdown
        .parts()
        .filter(|(_, part)| *part > 0.0)
        .max_by(|a, b| a.1.total_cmp(&b.1).then_with(|| b.0.cmp(&a.0)));
    let boost = breakdown.boost().filter(|part| *part > 0.0);
    let scorer = match (strongest, boost) {
        (Some((_, part)), Some(boost)) if boost > part => return "Promoted".to_owned(),
        (None, Some(_)) => return "Promoted".to_owned(),
        (None, None) => return String::new(),
        (Some((scorer, _)), _) => scorer,
    };
    let title = |item: &ContentId| {
        let title = items.get(item)?.title();
        (!title.is_empty()).then(|| format!("“{title}”"))
    };
    match scorer {
        Scorer::Collaborative => match ranked.similar_because.as_ref().and_then(title) {
            Some(title) => format!("Often chosen together with {title}"),
            None => match basis {
                ListBasis::Item(_) => "Often chosen together with this item".to_owned(),
                ListBasis::Likes
                | ListBasis::Session(_)
                | ListBasis::Popular
                | ListBasis::Trending => "Often chosen together with what you chose".to_owned(),
            },
        },
        Scorer::Popularity => match basis {
            ListBasis::Trending => "Trending today".to_owned(),
            ListBasis::Likes | ListBasis::Session(_) | ListBasis::Item(_) | ListBasis::Popular => {
                "Popular this week".to_owned()
            }
        },
        Scorer::Tag => {
            let tag = ranked.matched_tags.first();
            tag_sentence(tag.and_then(|tag| label(ranked, tag)), basis, title)
        }
        Scorer::Affinity | Scorer::Semantic => {
            let similar_to = ranked.scored.similar_to.as_ref();
            let liked = similar_to.and_then(|item| Some((item, title(item)?)));
            match (liked, basis) {
                (_, ListBasis::Item(item)) => similar_to_item(title(item)),
                (Some((item, title)), ListBasis::Session(at_hand)) if at_hand.contains(item) => {
                    format!("Because you looked at {title}")
                }
                (Some((_, title)), _) => format!("Because you liked {title}"),
                (None, ListBasis::Session(_)) => "Similar to what you looked at".to_owned(),
                (None, ListBasis::Likes | ListBasis::Popular | ListBasis::Trending) => {
                    "Similar to what you like".to_owned()
                }
            }
        }
        Scorer::Recency => match basis {
            ListBasis::Item(item) => similar_to_item(title(item)),
            ListBasis::Likes | ListBasis::Session(_) | ListBasis::Popular | ListBasis::Trending => {
                "Similar to what you saw last".to_owned()
            }
        },
        Scorer::Geo => "Near you".to_owned(),
        Scorer::Aversion => String::new(),
    }
}

fn similar_to_item(title: Option<String>) -> String {
    format!("Similar to {}", title.as_deref().unwrap_or("this item"))
}

fn tag_sentence(
    label: Option<&str>,
    basis: &ListBasis,
    title: impl Fn(&ContentId) -> Option<String>,
) -> String {
    match (label, basis) {
        (Some(label), ListBasis::Item(item)) => {
            let title = title(item);
            format!(
                "Shares {label} with {}",
                title.as_deref().unwrap_or("this item")
            )
        }
        (None, ListBasis::Item(item)) => similar_to_item(title(item)),
        (Some(label), ListBasis::Session(_)) => format!("Because you looked at {label}"),
        (None, ListBasis::Session(_)) => "Because of what you looked at".to_owned(),
        (Some(label), ListBasis::Likes | ListBasis::Popular | ListBasis::Trending) => {
            format!("Because you like {label}")
        }
        (None, ListBasis::Likes | ListBasis::Popular | ListBasis::Trending) => {
            "Because of what you like".to_owned()
        }
    }
}

/// A tag's label in the item's own spelling.
fn label<'a>(ranked: &'a RankedItem, tag: &TagKey) -> Option<&'a str> {
    let mut tags = ranked.scored.item.tags().iter();
    let own = tags.find(|own| own.key() == tag);
    own.map(ItemTag::label)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{ListBasis, reason};
    use crate::domain::ids::UserId;
    use crate::domain::{
        associations::{CollaborativeScore, PopularItems},
        item::{CatalogueItem, Item, Items, Tag},
        ranking::{
            fusion::Fusion,
            interest::{IgnoredItems, Interest, SeenPolicy},
            ranked_item::{ItemRole, RankedItem},
            rules::RankRules,
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
        let rules = RankRules::of(&config, &[]);
        let scored = Fusion::new(interest, &rules).score(item("x", ""));
        let ranked = RankedItem::new(scored, ItemRole::Target, interest);
        reason(&ranked, &ListBasis::Likes, items)
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
            interest.recent = vec![(because.into(), 1.0)];
            let score = CollaborativeScore {
                score: 0.7,
                strongest: 0,
            };
            interest.collaborative = Some([("x".into(), score)].into_iter().collect());
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
