#![no_main]

use recsys::domain::{
    catalogue_line::parse,
    item::CatalogueItem,
    tags::Canonicalizer,
};

// An accepted line is an item whose tags have finite weights.
libfuzzer_sys::fuzz_target!(|line: &str| {
    if let Ok(item) = parse(line) {
        let item = CatalogueItem::new(item, &Canonicalizer::default());
        assert!(item.canonical_tags().iter().all(|(_, weight)| weight.is_finite()));
    }
});
