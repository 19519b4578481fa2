//! The tags and the names of attributes that the items of a catalogue share.

use std::sync::Arc;

use crate::{
    adapters::memory_size::{shared_text_bytes, spelling_bytes},
    domain::{
        item::{CatalogueItem, Item},
        tags::{Canonicalizer, TagKey, TagSpelling},
    },
};

/// Memory of a spelling in the vocabulary, and of its canonical key in the index: the
/// entries of hash tables with spare capacity, and the least allocations of their lists.
const SPELLING_ENTRY_BYTES: usize = 240;
/// Memory of a name in the vocabulary.
const NAME_ENTRY_BYTES: usize = 64;

/// Each spelling of a tag and each attribute's name once in memory, as long as items use
/// them.
#[derive(Default)]
pub(super) struct Vocabulary {
    spellings: Spellings,
    names: Names,
}

#[derive(Default)]
struct Spellings {
    /// By text. A text has several spellings if facets contain colons.
    by_text: foldhash::HashMap<Arc<str>, Vec<Shared<TagSpelling>>>,
    /// A buffer.
    text: String,
    bytes: usize,
}

#[derive(Default)]
struct Names {
    by_text: foldhash::HashMap<Arc<str>, Shared<str>>,
    bytes: usize,
}

struct Shared<T: ?Sized> {
    value: Arc<T>,
    /// How often items have it.
    uses: usize,
}

impl<T: ?Sized> Shared<T> {
    fn new(value: &Arc<T>) -> Self {
        Self {
            value: Arc::clone(value),
            uses: 1,
        }
    }

    fn acquire(&mut self) -> Arc<T> {
        self.uses += 1;
        Arc::clone(&self.value)
    }
}

impl Vocabulary {
    /// Memory of all of it.
    pub(super) fn bytes(&self) -> usize {
        self.spellings.bytes + self.names.bytes
    }

    /// Prepares an item, which has to be released. `shared` returns a canonical key that
    /// is in memory already.
    pub(super) fn prepare(
        &mut self,
        item: Item,
        canonical: &Canonicalizer,
        shared: impl Fn(&TagKey) -> Option<TagKey>,
    ) -> CatalogueItem {
        let Self { spellings, names } = self;
        CatalogueItem::sharing(
            item,
            |facet, label| spellings.acquire(facet, label, canonical, &shared),
            |name| names.acquire(name),
        )
    }

    /// Releases what a prepared item uses.
    pub(super) fn release(&mut self, item: &CatalogueItem) {
        for tag in item.tags() {
            self.spellings.release(tag.spelling());
        }
        for name in item.attribute_names() {
            self.names.release(name);
        }
    }
}

impl Spellings {
    fn acquire(
        &mut self,
        facet: &str,
        label: &str,
        canonical: &Canonicalizer,
        shared: impl Fn(&TagKey) -> Option<TagKey>,
    ) -> Arc<TagSpelling> {
        self.text.clear();
        self.text.extend([facet, ":", label]);
        let of_text = self.by_text.get_mut(&*self.text);
        let mut of_text = of_text.into_iter().flatten();
        if let Some(spelling) = of_text.find(|spelling| spelling.value.facet() == facet) {
            return spelling.acquire();
        }
        let spelling = Arc::new(TagSpelling::new(facet, label, canonical, shared));
        self.bytes += SPELLING_ENTRY_BYTES + spelling_bytes(&spelling);
        let own = Shared::new(&spelling);
        match self.by_text.get_mut(&*self.text) {
            Some(of_text) => of_text.push(own),
            None => _ = self.by_text.insert(Arc::clone(spelling.text()), vec![own]),
        }
        spelling
    }

    fn release(&mut self, spelling: &Arc<TagSpelling>) {
        let Some(of_text) = self.by_text.get_mut(spelling.text()) else {
            return;
        };
        let is_same = |own: &Shared<_>| Arc::ptr_eq(&own.value, spelling);
        let Some(place) = of_text.iter().position(is_same) else {
            return;
        };
        of_text[place].uses -= 1;
        if of_text[place].uses > 0 {
            return;
        }
        of_text.swap_remove(place);
        if of_text.is_empty() {
            self.by_text.remove(spelling.text());
        }
        self.bytes -= SPELLING_ENTRY_BYTES + spelling_bytes(spelling);
    }
}

impl Names {
    fn acquire(&mut self, name: &str) -> Arc<str> {
        if let Some(name) = self.by_text.get_mut(name) {
            return name.acquire();
        }
        let name: Arc<str> = name.into();
        self.bytes += NAME_ENTRY_BYTES + shared_text_bytes(&name);
        self.by_text.insert(Arc::clone(&name), Shared::new(&name));
        name
    }

    fn release(&mut self, name: &Arc<str>) {
        let Some(own) = self.by_text.get_mut(name) else {
            return;
        };
        if !Arc::ptr_eq(&own.value, name) {
            return;
        }
        own.uses -= 1;
        if own.uses == 0 {
            self.by_text.remove(name);
            self.bytes -= NAME_ENTRY_BYTES + shared_text_bytes(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use serde_json::json;

    use super::Vocabulary;
    use crate::domain::{
        item::{CatalogueItem, Item, Tag},
        tags::Canonicalizer,
    };

    fn item(tags: &[(&str, &str)], attributes: &[&str]) -> Item {
        let mut item = Item::new("a");
        let tags = tags.iter().map(|(facet, label)| Tag {
            facet: (*facet).to_owned(),
            label: (*label).to_owned(),
            weight: 1.0,
        });
        item.tags = tags.collect();
        let attributes = attributes.iter();
        item.attributes = attributes
            .map(|name| ((*name).to_owned(), json!(1)))
            .collect();
        item
    }

    fn prepare(vocabulary: &mut Vocabulary, item: Item) -> CatalogueItem {
        vocabulary.prepare(item, &Canonicalizer::default(), |_| None)
    }

    #[test]
    fn equal_spellings_and_names_are_the_same_allocation() {
        let mut vocabulary = Vocabulary::default();
        let first = item(&[("a", "b:c"), ("a:b", "c"), ("theme", "Jazz")], &["price"]);
        let first = prepare(&mut vocabulary, first);
        let second = item(
            &[("theme", "jazz"), ("theme", "Jazz"), ("a:b", "c")],
            &["price", "stock"],
        );
        let second = prepare(&mut vocabulary, second);
        let same = |one: usize, other: usize| {
            let [one, other] = [&first.tags()[one], &second.tags()[other]];
            Arc::ptr_eq(one.spelling(), other.spelling())
        };
        assert!(same(1, 2) && same(2, 1));
        assert!(!same(0, 2) && !same(2, 0));
        let name = |item: &CatalogueItem| item.attribute_names().next().cloned().unwrap();
        assert!(Arc::ptr_eq(&name(&first), &name(&second)));
    }

    proptest! {
        #[test]
        fn nothing_is_left_once_all_items_are_released(
            items in prop::collection::vec(
                (
                    prop::collection::vec(("[ab:]{0,2}", "[abA:]{0,2}"), 0..4),
                    prop::collection::vec("[a-c]{1,2}", 0..4),
                ),
                0..8,
            ),
        ) {
            let mut vocabulary = Vocabulary::default();
            let mut prepared = Vec::new();
            for (tags, attributes) in &items {
                let tags: Vec<_> = tags.iter().map(|(facet, label)| (&**facet, &**label)).collect();
                let attributes: Vec<_> = attributes.iter().map(String::as_str).collect();
                let given = item(&tags, &attributes);
                let item = prepare(&mut vocabulary, given.clone());
                prop_assert_eq!(&item, &CatalogueItem::new(given, &Canonicalizer::default()));
                prepared.push(item);
            }
            while let Some(item) = prepared.pop() {
                let before = vocabulary.bytes();
                vocabulary.release(&item);
                prop_assert!(vocabulary.bytes() <= before);
                // What others use is still the same allocation.
                for other in &prepared {
                    let again = prepare(&mut vocabulary, other.to_item());
                    let pairs = again.tags().iter().zip(other.tags());
                    for (one, other) in pairs {
                        prop_assert!(Arc::ptr_eq(one.spelling(), other.spelling()));
                    }
                    vocabulary.release(&again);
                }
            }
            prop_assert_eq!(vocabulary.bytes(), 0);
            prop_assert!(vocabulary.spellings.by_text.is_empty() && vocabulary.names.by_text.is_empty());
        }
    }
}
