//! Tags and their canonical form.
//!
//! A tag is written `facet:label` and splits at its first colon. Two tags are
//! equal if their canonical forms are: the facet is trimmed and case-folded; the
//! label gets straight quotes, loses its accents, is case-folded and trimmed, and
//! each run of spaces, `_` and `-` becomes one space. The ranking file can add
//! spellings (replaced anywhere in a label) and aliases (replace whole labels).

use std::{
    borrow::Borrow,
    collections::BTreeMap,
    fmt,
    hash::{Hash, Hasher},
    sync::Arc,
};

use unicode_normalization::{UnicodeNormalization as _, char::canonical_combining_class};
use xxhash_rust::xxh3::xxh3_64;

/// Labels longer than this number of bytes get no more spellings replaced, so
/// that replacements which make each other longer terminate.
const MAX_SPELLED_BYTES: usize = 4 << 10;

/// A tag in canonical form, `facet:label`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TagKey(Arc<str>);

impl TagKey {
    /// The key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its label, the part after the first colon.
    #[must_use]
    pub fn label(&self) -> &str {
        split(&self.0).1
    }
}

impl Borrow<str> for TagKey {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Debug for TagKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// The key of a tag in user models: `facet:label` in lower case. Its hash is
/// computed once, because models add up the same tags of many items.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelKey {
    hash: u64,
    text: Arc<str>,
}

impl ModelKey {
    /// The key of a facet and a label.
    #[must_use]
    pub fn new(facet: &str, label: &str) -> Self {
        let text = format!("{facet}:{label}").to_lowercase();
        Self {
            hash: xxh3_64(text.as_bytes()),
            text: text.into(),
        }
    }

    /// Shares the memory of the tag's canonical key if both are the same text,
    /// which is the usual case.
    #[must_use]
    pub fn sharing(mut self, canonical: &TagKey) -> Self {
        if self.text == canonical.0 {
            self.text = Arc::clone(&canonical.0);
        }
        self
    }

    /// The key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl Hash for ModelKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

/// A tag as an item writes it, with the keys that follow from it. Items of a catalogue
/// share it.
#[derive(Debug, PartialEq, Eq)]
pub struct TagSpelling {
    /// The facet, a colon and the label.
    text: Arc<str>,
    facet_bytes: usize,
    model_key: ModelKey,
    key: TagKey,
}

impl TagSpelling {
    /// The spelling of a facet and a label. `shared` may return a canonical key that is
    /// equal to the given one and in memory already.
    #[must_use]
    pub fn new(
        facet: &str,
        label: &str,
        canonical: &Canonicalizer,
        shared: impl FnOnce(&TagKey) -> Option<TagKey>,
    ) -> Self {
        // From the joined key, as in user models: both sides split at the
        // same colon, even if the facet contains one.
        let text = format!("{facet}:{label}");
        let key = canonical.key(&text);
        let key = shared(&key).unwrap_or(key);
        let model_key = ModelKey::new(facet, label).sharing(&key);
        let keys = [Arc::clone(&key.0), Arc::clone(&model_key.text)];
        let same = keys.into_iter().find(|key| **key == *text);
        Self {
            text: same.unwrap_or_else(|| text.into()),
            facet_bytes: facet.len(),
            model_key,
            key,
        }
    }

    /// The facet as written.
    #[must_use]
    pub fn facet(&self) -> &str {
        &self.text[..self.facet_bytes]
    }

    /// The label as written.
    #[must_use]
    pub fn label(&self) -> &str {
        &self.text[self.facet_bytes + 1..]
    }

    /// The facet, a colon and the label.
    #[must_use]
    pub fn text(&self) -> &Arc<str> {
        &self.text
    }

    /// Its key in user models.
    #[must_use]
    pub fn model_key(&self) -> &ModelKey {
        &self.model_key
    }

    /// Its canonical key.
    #[must_use]
    pub fn key(&self) -> &TagKey {
        &self.key
    }
}

/// Converts tags to canonical form.
#[derive(Clone, Debug, Default)]
pub struct Canonicalizer {
    spellings: Vec<(String, String)>,
    aliases: BTreeMap<String, String>,
}

impl Canonicalizer {
    /// A canonicalizer with tables: `spellings` are replaced anywhere in a label,
    /// the longest first; then `aliases` replace whole labels. Keys and values
    /// need not be canonical.
    #[must_use]
    pub fn new(spellings: &BTreeMap<String, String>, aliases: &BTreeMap<String, String>) -> Self {
        let mut spellings: Vec<_> = spellings
            .iter()
            .map(|(from, to)| (plain_label(from), plain_label(to)))
            .filter(|(from, _)| !from.is_empty())
            .collect();
        spellings.sort_by(|a, b| b.0.len().cmp(&a.0.len()).then_with(|| a.cmp(b)));
        let mut canonicalizer = Self {
            spellings,
            aliases: BTreeMap::new(),
        };
        canonicalizer.aliases = aliases
            .iter()
            .map(|(from, to)| (canonicalizer.label(from), canonicalizer.label(to)))
            .collect();
        canonicalizer
    }

    /// A label in canonical form.
    #[must_use]
    pub fn label(&self, label: &str) -> String {
        let mut label = plain_label(label);
        for (from, to) in &self.spellings {
            if label.len() > MAX_SPELLED_BYTES {
                break;
            }
            if label.contains(from.as_str()) {
                // An empty replacement can leave two spaces.
                label = joined(label.replace(from.as_str(), to).chars());
            }
        }
        match self.aliases.get(&label) {
            Some(alias) => alias.clone(),
            None => label,
        }
    }

    /// The canonical form of a `facet:label` key. A key without colon is a label.
    #[must_use]
    pub fn key(&self, key: &str) -> TagKey {
        if self.is_canonical(key) {
            return TagKey(key.into());
        }
        let (facet, label) = split(key);
        self.tag(facet, label)
    }

    /// A fast check that a key is canonical already, which most are. May return
    /// false for a canonical key.
    fn is_canonical(&self, key: &str) -> bool {
        let Some((facet, label)) = key.split_once(':') else {
            return false;
        };
        is_plain(facet, |byte| matches!(byte, b'_' | b'-'))
            && is_plain(label, |_| false)
            && !self.aliases.contains_key(label)
            && !self
                .spellings
                .iter()
                .any(|(from, _)| label.contains(from.as_str()))
    }

    /// The canonical key of a facet and a label.
    #[must_use]
    pub fn tag(&self, facet: &str, label: &str) -> TagKey {
        let mut key = canonical_facet(facet);
        key.push(':');
        key.push_str(&self.label(label));
        TagKey(key.into())
    }
}

/// A facet in canonical form: trimmed and case-folded.
#[must_use]
pub fn canonical_facet(facet: &str) -> String {
    caseless::default_case_fold_str(facet.trim())
}

fn split(key: &str) -> (&str, &str) {
    key.split_once(':').unwrap_or(("", key))
}

/// Whether a text consists of visible lower-case ASCII with single spaces between
/// words. `_` and `-` are accepted if `accepts` returns true.
fn is_plain(text: &str, accepts: impl Fn(u8) -> bool) -> bool {
    let mut before = b' ';
    for byte in text.bytes() {
        let fits = match byte {
            b' ' => before != b' ',
            b'_' | b'-' => accepts(byte),
            _ => byte.is_ascii_graphic() && !byte.is_ascii_uppercase(),
        };
        if !fits {
            return false;
        }
        before = byte;
    }
    text.is_empty() || before != b' '
}

fn plain_label(label: &str) -> String {
    if label.is_ascii() {
        return joined(label.chars().map(|c| c.to_ascii_lowercase()));
    }
    let stripped: String = label
        .chars()
        .map(straight_quote)
        .nfkd()
        .filter(|c| canonical_combining_class(*c) == 0)
        .collect();
    joined(caseless::default_case_fold_str(&stripped).chars())
}

fn straight_quote(c: char) -> char {
    match c {
        '\u{2018}'..='\u{201B}' => '\'',
        '\u{201C}'..='\u{201F}' => '"',
        _ => c,
    }
}

/// Trims, and replaces each run of separators by one space.
fn joined(chars: impl Iterator<Item = char>) -> String {
    let mut out = String::new();
    let mut gap = false;
    for c in chars {
        if c.is_whitespace() || matches!(c, '_' | '-') {
            gap = true;
            continue;
        }
        if gap && !out.is_empty() {
            out.push(' ');
        }
        gap = false;
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::{Canonicalizer, canonical_facet};

    fn table<const N: usize>(rows: [(&str, &str); N]) -> BTreeMap<String, String> {
        rows.map(|(from, to)| (from.to_owned(), to.to_owned()))
            .into()
    }

    #[test]
    fn a_key_splits_at_its_first_colon() {
        let plain = Canonicalizer::default();
        assert_eq!(
            plain.key(" Person :From: Spain").as_str(),
            "person:from: spain"
        );
        assert_eq!(plain.key("Jazz").as_str(), ":jazz");
        assert_eq!(plain.tag("a", "b:c").label(), "b:c");
    }

    #[test]
    fn facets_keep_their_separators_and_accents() {
        assert_eq!(canonical_facet(" Thème_What "), "thème_what");
    }

    #[test]
    fn spellings_apply_anywhere_and_aliases_to_whole_labels() {
        let tables = Canonicalizer::new(
            &table([("Labour", "labor"), ("centre", "center")]),
            &table([
                ("forced labour", "Slave Labor"),
                ("joods leven", "jewish life"),
            ]),
        );
        assert_eq!(tables.label("Labour camps"), "labor camps");
        assert_eq!(tables.label("Forced_Labour"), "slave labor");
        assert_eq!(tables.label("JOODS-LEVEN"), "jewish life");
        assert_eq!(tables.label("joods leven today"), "joods leven today");
        let dropped = Canonicalizer::new(&table([("the", "")]), &table([]));
        assert_eq!(dropped.label("The cat, the dog"), "cat, dog");
    }

    #[test]
    fn spellings_that_make_each_other_longer_terminate() {
        let doubling: BTreeMap<String, String> = ('a'..='y')
            .zip('b'..='z')
            .map(|(from, to)| (from.to_string(), [to; 50].iter().collect()))
            .collect();
        let tables = Canonicalizer::new(&doubling, &table([]));
        let label = tables.label("a");
        assert!(label.len() < 50 * 50 * 50 * 50, "{} bytes", label.len());
    }

    proptest! {
        #[test]
        fn canonical_form_is_a_fixed_point(label in "\\PC{0,40}") {
            let plain = Canonicalizer::default();
            let once = plain.label(&label);
            prop_assert_eq!(plain.label(&once), once);
        }

        #[test]
        fn a_canonical_key_is_unchanged(key in "[a-b _A:-]{0,12}|[ -~é\\t]{0,12}") {
            for tables in [
                Canonicalizer::default(),
                Canonicalizer::new(&table([("ab", "b a")]), &table([("a", "b"), ("", "a")])),
            ] {
                let (facet, label) = super::split(&key);
                prop_assert_eq!(tables.key(&key), tables.tag(facet, label));
            }
        }

        #[test]
        fn the_fast_path_for_ascii_gives_the_same_result(label in "[ -~\\t]{0,40}") {
            let plain = Canonicalizer::default();
            let long_way = plain.label(&format!("{label}\u{301}"));
            prop_assert_eq!(plain.label(&label), long_way);
        }
    }
}
