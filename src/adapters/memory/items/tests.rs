use super::{CatalogueBudget, MemoryItemStore};
use crate::{
    domain::{
        item::{Item, Tag},
        tags::Canonicalizer,
    },
    ports::ItemRefusal,
};

#[test]
fn catalogues_share_one_memory_limit() {
    let budget = CatalogueBudget::new(10_000);
    let store = || MemoryItemStore::sharing(Canonicalizer::default(), budget.clone());
    let large = |id: &str| Item {
        text: "x".repeat(6_000),
        ..Item::new(id)
    };
    let (one, other) = (store(), store());
    one.put(large("a")).unwrap();
    assert_eq!(other.put(large("b")), Err(ItemRefusal::Full));
    one.put(large("a")).unwrap();
    // The memory of a catalogue that is dropped is free again.
    drop(one);
    other.put(large("b")).unwrap();
}

#[test]
fn items_share_the_memory_of_equal_tags() {
    let store = MemoryItemStore::new(Canonicalizer::default(), 1 << 20);
    let tagged = |id: &str, label: &str| {
        let mut item = Item::new(id);
        item.tags = vec![Tag {
            facet: "theme".to_owned(),
            label: label.to_owned(),
            weight: 1.0,
        }];
        item
    };
    // The second has another spelling: its key in user models is its own.
    for (id, label) in [("a", "jazz"), ("b", "Jazz "), ("c", "jazz")] {
        store.put(tagged(id, label)).unwrap();
    }
    let key = |id: &str| {
        let item = store.item(&id.into()).unwrap();
        let model_key = item.tags()[0].model_key().as_str().as_ptr();
        let (key, _) = item.canonical_tags().next().unwrap();
        (key.as_str().as_ptr(), model_key)
    };
    assert_eq!(key("a"), key("c"));
    assert_eq!(key("a").0, key("b").0);
    assert_ne!(key("a").1, key("b").1);
}

#[test]
fn a_catalogue_whose_items_are_removed_takes_no_memory() {
    let budget = CatalogueBudget::new(4_000);
    let store = MemoryItemStore::sharing(Canonicalizer::default(), budget.clone());
    let mut refused = 0;
    for step in 0..300 {
        let mut item = Item::new((step % 7).to_string());
        item.attributes
            .insert(format!("attribute {}", step % 5), step.into());
        item.tags = vec![Tag {
            facet: "theme".to_owned(),
            label: format!("tag {}", step % 11),
            weight: 1.0,
        }];
        refused += usize::from(store.put(item).is_err());
        assert!(store.bytes() <= 4_000);
    }
    assert!((1..300).contains(&refused), "{refused}");
    for id in 0..7 {
        store.remove(&id.to_string().into());
    }
    assert_eq!((store.bytes(), budget.used_bytes()), (0, 0));
}
