//! A ranking file with every key and a line of what it does.

use std::fmt::Write as _;

use toml::{Table, Value};

/// Every key of a ranking file with what it does, in the order of the file.
pub(super) const KEYS: [(&str, &str); 67] = [
    ("preset", "defaults of all other keys: recsys or reference"),
    (
        "half_life_days",
        "days in which an interaction loses half its weight",
    ),
    (
        "soft_negative_weight",
        "strength of an item that was displayed and ignored, before decay",
    ),
    (
        "positive_threshold",
        "strength at and above which an item is liked",
    ),
    (
        "negative_threshold",
        "strength at and below which an item is disliked",
    ),
    ("reading_speed_wps", "words read per second"),
    ("img_extra_time", "reading time of a picture, in seconds"),
    (
        "min_reading_seconds",
        "shortest reading time of an item; a glance is then never a full read",
    ),
    (
        "dwell_cap_ratio",
        "dwell time counts up to this multiple of the reading time",
    ),
    (
        "pool_per_generator",
        "candidates of each generator, 1 to 10000",
    ),
    (
        "default_limit",
        "items in a list if the request has no limit",
    ),
    (
        "mmr_lambda",
        "re-ranking: 1 is relevance only, 0 is diversity only",
    ),
    (
        "geo_scale_m",
        "distance in meters over which the geo score falls to 1/e",
    ),
    (
        "filter_reshow_when_exhausted",
        "whether a restricted request shows seen items if no other matches",
    ),
    (
        "affinity_tags",
        "top affinity tags that generate candidates",
    ),
    (
        "untasted_facets",
        "facets that are left out of the tags that a user likes and dislikes",
    ),
    (
        "engagement",
        "weights of the parts of an engagement's strength",
    ),
    ("engagement.dwell", "dwell time relative to reading time"),
    ("engagement.completion", "how the view ended"),
    ("engagement.revisit", "repeated visits"),
    (
        "engagement.survey",
        "the rating; only under the preset reference",
    ),
    (
        "completion",
        "completion of a view by its end reason, -1 to 1",
    ),
    (
        "completion.next_button",
        "the user went on to the next item",
    ),
    ("completion.link", "the user followed a link"),
    ("completion.close_button", "the user closed the item"),
    ("completion.abandon", "the user abandoned the item"),
    ("fusion", "weight of each scorer; 0 turns one off"),
    ("fusion.tag", "liked tags that the item carries"),
    ("fusion.semantic", "closeness to the taste vector"),
    (
        "fusion.affinity",
        "closeness to the most similar liked item",
    ),
    ("fusion.recency", "closeness to the latest item"),
    ("fusion.aversion", "disliked tags that the item carries"),
    ("fusion.geo", "nearness, if the request has a place"),
    (
        "fusion.collaborative",
        "what other users chose together with the user's items",
    ),
    ("fusion.popularity", "how popular the item is"),
    ("exploration", "the deliberately off-profile item of a list"),
    ("exploration.enabled", "whether lists have one"),
    (
        "exploration.strategy",
        "popular_elsewhere, max_dissimilar, unexplored_theme or random",
    ),
    (
        "exploration.probability",
        "share of requests that get one, 0 to 1",
    ),
    (
        "exploration.slots",
        "positions in the list to draw from, from 1",
    ),
    ("associations", "what other users did"),
    (
        "associations.enabled",
        "whether associations are kept and used",
    ),
    (
        "associations.audience_max",
        "newest users that the audience of an item keeps",
    ),
    (
        "associations.refresh_users",
        "newest users of an audience whose lists make a row of neighbors",
    ),
    (
        "associations.list_max",
        "newest items that a user's interest list keeps",
    ),
    (
        "associations.pair_span",
        "positions between two items of a list that still count as a pair",
    ),
    ("associations.row_max", "largest neighbors that a row keeps"),
    (
        "associations.query_items",
        "latest items of a list that score others",
    ),
    (
        "associations.count_cap",
        "size from which on audiences count as equally large",
    ),
    (
        "associations.shrink",
        "how much neighbors with small audiences are discounted",
    ),
    (
        "associations.row_offset",
        "added to the largest weight of a row before dividing by it",
    ),
    (
        "associations.score_floor",
        "the largest score counts as at least this",
    ),
    (
        "associations.self_weight",
        "weight of an item as its own neighbor",
    ),
    (
        "associations.min_common_users",
        "users that must have both items of a pair; 5 or more protects privacy",
    ),
    (
        "associations.popularity_half_life_days",
        "days in which an engagement loses half its weight for popularity",
    ),
    (
        "associations.trending_half_life_days",
        "the same for trending items",
    ),
    ("canonical", "tables for the canonical form of labels"),
    (
        "canonical.spellings",
        "texts that are replaced anywhere in a label",
    ),
    (
        "canonical.aliases",
        "texts that are replaced if they are the whole label",
    ),
    (
        "events",
        "what event types say about their item; an entry replaces the rule of its types, \
         strength = 0.0 with weak = true removes it",
    ),
    (
        "events.*",
        "types in any spelling; strength -1 to 1; weak = counts only while nothing else is \
         known of the item; done = the user is done with the item",
    ),
    ("profile", "survey answers that seed the model"),
    (
        "profile.*",
        "questions: the first one answered counts; field = name in demographics; facet and \
         weight = the tag that is seeded; values = label by answer",
    ),
    (
        "placements",
        "where lists are shown: the values of a request's placement",
    ),
    ("placements.*", "name = 1 to 32 of a-z, 0-9, _ and -"),
    (
        "experiments",
        "variants of the ranking; at most one experiment applies to a list",
    ),
    (
        "experiments.*",
        "salt and user id decide the variant; placements = those it applies to, without them \
         all lists; variants = name, share (they sum to 1) and ranking: fusion, mmr_lambda, \
         exploration and pool_per_generator",
    ),
];

/// The keys as a ranking file, each with a comment.
pub(super) fn commented(keys: &Table) -> String {
    let mut text = String::new();
    let (mut tables, mut arrays) = (String::new(), String::new());
    for (name, description) in KEYS {
        let at = match name.split_once('.') {
            None => (&mut text, keys.get(name), name),
            Some((table, key)) => {
                let below = keys.get(table).and_then(Value::as_table);
                (&mut tables, below.and_then(|below| below.get(key)), key)
            }
        };
        // Writing to a text cannot fail.
        match at {
            (_, Some(Value::Table(_)), table) if !name.contains('.') => {
                _ = writeln!(tables, "\n# {description}\n[{table}]");
            }
            (_, Some(Value::Array(entries)), array) if entries.iter().any(Value::is_table) => {
                _ = writeln!(arrays, "\n# {description}");
                if let Some((_, keys)) = KEYS.iter().find(|(name, _)| *name == format!("{array}.*"))
                {
                    _ = writeln!(arrays, "# {keys}");
                }
                for entry in entries.iter().filter_map(Value::as_table) {
                    _ = writeln!(arrays, "[[{array}]]");
                    for (key, value) in entry {
                        _ = writeln!(arrays, "{key} = {value}");
                    }
                }
            }
            (place, Some(value), key) => {
                _ = writeln!(place, "# {description}\n{key} = {value}");
            }
            (_, None, _) => {}
        }
    }
    text + &tables + &arrays
}
