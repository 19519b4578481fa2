//! Names of fields: ours, and those that exports use for them.
//!
//! Names are compared without case and without anything but letters and digits:
//! `user_id`, `userId`, `UserId` and `User ID` are one name.

/// A field with the names under which it is found, the best one first. A column
/// that carries an earlier name wins over one with a later name.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Its name in the API, and in `--map`.
    pub name: &'static str,
    /// Further names, in comparable form.
    pub aliases: &'static [&'static str],
}

const fn field(name: &'static str, aliases: &'static [&'static str]) -> Field {
    Field { name, aliases }
}

/// Positions in [`EVENT_FIELDS`].
pub(super) mod event {
    pub(crate) const USER_ID: usize = 0;
    pub(crate) const EVENT_TYPE: usize = 1;
    pub(crate) const EVENT_TIME: usize = 2;
    pub(crate) const CONTENT_ID: usize = 3;
    pub(crate) const RATING: usize = 4;
    pub(crate) const DWELL_SECONDS: usize = 5;
    pub(crate) const EVENT_ID: usize = 6;
    pub(crate) const SESSION_ID: usize = 7;
    pub(crate) const REQUEST_ID: usize = 8;
    pub(crate) const END_REASON: usize = 9;
    pub(crate) const QUERY_TEXT: usize = 10;
    pub(crate) const CLICKED_ID: usize = 11;
    pub(crate) const IMPRESSIONS: usize = 12;
    pub(crate) const SURVEY_ANSWERS: usize = 13;
}

/// What an event may have. `user_id` and `event_time` must be there.
pub static EVENT_FIELDS: [Field; 14] = [
    field(
        "user_id",
        &[
            "userid",
            "user",
            "uid",
            "visitorid",
            "visitor",
            "customerid",
            "customer",
            "customernumber",
            "memberid",
            "membernumber",
            "accountid",
            "clientid",
            "reviewerid",
            "personid",
        ],
    ),
    field(
        "event_type",
        &[
            "eventtype",
            "event",
            "eventname",
            "type",
            "action",
            "actiontype",
            "feedbacktype",
            "interaction",
            "interactiontype",
            "behavior",
            "behaviour",
            "behaviortype",
        ],
    ),
    field(
        "event_time",
        &[
            "eventtime",
            "ts",
            "timestamp",
            "time",
            "datetime",
            "date",
            "createdat",
            "occurredat",
            "unixtime",
            "unixtimestamp",
            "unixreviewtime",
            "eventtimestamp",
            "timestampms",
            "eventdate",
            "orderdate",
            "purchasedate",
            "invoicedate",
        ],
    ),
    field(
        "content_id",
        &[
            "contentid",
            "itemid",
            "item",
            "productid",
            "product",
            "movieid",
            "movie",
            "articleid",
            "article",
            "newsid",
            "bookid",
            "trackid",
            "songid",
            "artistid",
            "videoid",
            "showid",
            "gameid",
            "recipeid",
            "businessid",
            "listingid",
            "objectid",
            "iid",
            "asin",
            "parentasin",
            "sku",
            "stockcode",
            "isbn",
        ],
    ),
    field(
        "rating",
        &["rating", "stars", "star", "ratingvalue", "userrating"],
    ),
    field(
        "dwell_seconds",
        &[
            "dwellseconds",
            "dwell",
            "dwelltime",
            "dwelltimeseconds",
            "timespent",
            "timespentseconds",
            "durationseconds",
        ],
    ),
    field("event_id", &["eventid", "messageid", "eventuuid"]),
    field(
        "session_id",
        &["sessionid", "session", "usersession", "visitid"],
    ),
    field("request_id", &["requestid"]),
    field("end_reason", &["endreason"]),
    field(
        "query_text",
        &[
            "querytext",
            "query",
            "searchquery",
            "searchterm",
            "searchterms",
            "keyword",
        ],
    ),
    field("clicked_id", &["clickedid"]),
    field(
        "impressions",
        &["impressions", "impression", "shown", "shownitems"],
    ),
    field("survey_answers", &["surveyanswers", "answers"]),
];

/// Positions in [`ITEM_FIELDS`].
pub(super) mod item {
    pub(crate) const ID: usize = 0;
    pub(crate) const TITLE: usize = 1;
    pub(crate) const TEXT: usize = 2;
    pub(crate) const CONTENT_TYPE: usize = 3;
    pub(crate) const TAGS: usize = 4;
    pub(crate) const TAG_LABELS: usize = 5;
    pub(crate) const GENRES: usize = 6;
    pub(crate) const CATEGORIES: usize = 7;
    pub(crate) const VECTOR: usize = 8;
    pub(crate) const WORD_COUNT: usize = 9;
    pub(crate) const HAS_IMAGE: usize = 10;
    pub(crate) const LAT: usize = 11;
    pub(crate) const LON: usize = 12;
    pub(crate) const LOCATIONS: usize = 13;
    pub(crate) const IMAGE_URL: usize = 14;
    pub(crate) const PUBLIC_URL: usize = 15;
    pub(crate) const YEARS: usize = 16;
}

/// What an item may have. `id` must be there; columns that are none of these
/// become the item's attributes.
pub static ITEM_FIELDS: [Field; 17] = [
    field(
        "id",
        &[
            "id",
            "contentid",
            "itemid",
            "productid",
            "movieid",
            "articleid",
            "newsid",
            "bookid",
            "trackid",
            "songid",
            "artistid",
            "videoid",
            "showid",
            "gameid",
            "recipeid",
            "businessid",
            "listingid",
            "objectid",
            "iid",
            "asin",
            "parentasin",
            "sku",
            "stockcode",
            "isbn",
        ],
    ),
    field(
        "title",
        &[
            "title",
            "name",
            "productname",
            "movietitle",
            "itemname",
            "headline",
            "booktitle",
        ],
    ),
    field(
        "text",
        &[
            "text",
            "description",
            "body",
            "summary",
            "abstract",
            "overview",
            "content",
        ],
    ),
    field("content_type", &["contenttype", "itemtype", "type", "kind"]),
    field("tags", &["tags", "tag", "labels", "keywords", "topics"]),
    field("tag_labels", &["taglabels"]),
    field("genres", &["genres", "genre"]),
    field(
        "categories",
        &[
            "categories",
            "category",
            "categoryname",
            "productcategory",
            "subcategory",
            "department",
        ],
    ),
    field(
        "vector",
        &["vector", "embedding", "embeddings", "textembedding"],
    ),
    field("word_count", &["wordcount", "textlengthwords", "words"]),
    field("has_image", &["hasimage"]),
    field("lat", &["lat", "latitude"]),
    field("lon", &["lon", "lng", "long", "longitude"]),
    field("locations", &["locations", "location", "geo"]),
    field(
        "image_url",
        &[
            "imageurl",
            "image",
            "imagelink",
            "thumbnailurl",
            "posterurl",
            "picture",
            "pictureurl",
        ],
    ),
    field(
        "public_url",
        &["publicurl", "url", "link", "permalink", "pageurl"],
    ),
    field(
        "years",
        &["years", "year", "releaseyear", "publicationyear"],
    ),
];

/// A name in comparable form.
pub(super) fn comparable(name: &str) -> String {
    name.chars()
        .filter(|c| c.is_alphanumeric())
        .flat_map(char::to_lowercase)
        .collect()
}

/// What a column is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ColumnMeaning {
    /// A field, by its position; of two columns for one field the lower rank
    /// wins.
    Field { field: usize, rank: usize },
    /// None of the fields.
    Other,
}

/// The meaning of a column by the tables of names alone.
pub(super) fn by_name(fields: &[Field], column: &str) -> ColumnMeaning {
    let name = comparable(column);
    fields
        .iter()
        .enumerate()
        .find_map(|(index, field)| {
            let rank = field.aliases.iter().position(|alias| *alias == name)?;
            Some(ColumnMeaning::Field {
                field: index,
                rank: rank + 1,
            })
        })
        .unwrap_or(ColumnMeaning::Other)
}

/// The field whose name a column that was not taken resembles.
pub(super) fn resembles(fields: &[Field], column: &str) -> Option<usize> {
    let name = comparable(column);
    let near = |alias: &str| alias.len() >= 4 && (name.starts_with(alias) || name.ends_with(alias));
    fields.iter().position(|field| {
        near(&comparable(field.name)) || field.aliases.iter().any(|alias| near(alias))
    })
}

#[cfg(test)]
mod tests {
    use super::{
        ColumnMeaning, EVENT_FIELDS, Field, ITEM_FIELDS, by_name, comparable, event, item,
        resembles,
    };

    #[test]
    fn positions_are_those_of_the_tables() {
        assert_eq!(EVENT_FIELDS[event::CONTENT_ID].name, "content_id");
        assert_eq!(EVENT_FIELDS[event::SURVEY_ANSWERS].name, "survey_answers");
        assert_eq!(ITEM_FIELDS[item::CATEGORIES].name, "categories");
        assert_eq!(ITEM_FIELDS[item::YEARS].name, "years");
    }

    #[test]
    fn no_name_stands_for_two_fields_and_each_field_has_its_own() {
        for table in [&EVENT_FIELDS[..], &ITEM_FIELDS[..]] {
            let all: Vec<&str> = table
                .iter()
                .flat_map(|field| field.aliases)
                .copied()
                .collect();
            for (index, name) in all.iter().enumerate() {
                assert!(!all[..index].contains(name), "{name} stands twice");
                assert_eq!(&comparable(name), name);
            }
            let has_own = |field: &Field| field.aliases.contains(&&*comparable(field.name));
            assert!(table.iter().all(has_own));
        }
    }

    #[test]
    fn spellings_of_a_name_are_one_name() {
        for column in ["user_id", "userId", "UserId", "User ID", "USER-ID"] {
            assert_eq!(
                by_name(&EVENT_FIELDS, column),
                ColumnMeaning::Field { field: 0, rank: 1 },
                "{column}"
            );
        }
        assert_eq!(by_name(&EVENT_FIELDS, "price"), ColumnMeaning::Other);
        assert_eq!(resembles(&ITEM_FIELDS, "tags_en"), Some(item::TAGS));
        assert_eq!(resembles(&ITEM_FIELDS, "price"), None);
    }
}
