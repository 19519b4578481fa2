//! The names of payload fields, in one place.

/// Canonical tags, `facet:label`; KEYWORD index.
pub(crate) const TAG_LABELS: &str = "tag_labels";
/// Canonical labels; KEYWORD index.
pub(crate) const TAG_VALUES: &str = "tag_values";
/// Facets of canonical tags; KEYWORD index.
pub(crate) const TAG_FACETS: &str = "tag_facets";
/// Locations; GEO index.
pub(crate) const LOCATIONS: &str = "locations";
/// KEYWORD index.
pub(crate) const CONTENT_TYPE: &str = "content_type";
/// The item's id, if it cannot be read off the point's id; KEYWORD index.
pub(crate) const CONTENT_ID: &str = "content_id";

pub(crate) const TITLE: &str = "title";
pub(super) const TEXT: &str = "text";
pub(crate) const TAGS: &str = "tags";
/// Whether there is a picture; BOOL index.
pub(crate) const HAS_IMAGE: &str = "has_image";
pub(crate) const WORD_COUNTS: [&str; 2] = ["text_length_words", "word_count"];
pub(crate) const IMAGE_URLS: [&str; 4] = ["image_url", "imageUrl", "thumbnail_url", "files_url"];
pub(super) const PAGE_URLS: [&str; 2] = ["public_url", "publicUrl"];
pub(super) const LOCATION: &str = "location";
pub(super) const LATITUDE: &str = "lat";
pub(super) const LONGITUDE: &str = "lon";
/// INTEGER index.
pub(crate) const YEARS: &str = "years";
pub(crate) const TIMES: &str = "time_metadata";
pub(crate) const DATES: &str = "dates_of_creation";

/// Whether a field belongs to an item itself, in any of its spellings. All others
/// are attributes.
pub(crate) fn is_item_field(name: &str) -> bool {
    const OTHERS: [&str; 14] = [
        TITLE,
        TEXT,
        CONTENT_TYPE,
        HAS_IMAGE,
        TAGS,
        TAG_LABELS,
        TAG_VALUES,
        TAG_FACETS,
        LOCATIONS,
        LOCATION,
        LATITUDE,
        LONGITUDE,
        YEARS,
        CONTENT_ID,
    ];
    OTHERS.contains(&name)
        || WORD_COUNTS.contains(&name)
        || IMAGE_URLS.contains(&name)
        || PAGE_URLS.contains(&name)
}
