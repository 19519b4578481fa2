use proptest::prelude::*;
use serde_json::json;

use super::{FilterError, ItemFilter, MAX_BYTES};
use crate::domain::{
    item::{CatalogueItem, Item, Tag},
    tags::Canonicalizer,
};

fn parse(text: &str) -> Result<ItemFilter, FilterError> {
    ItemFilter::parse(text, &Canonicalizer::default())
}

fn lamp() -> CatalogueItem {
    let mut item = Item::new("SKU-1");
    item.content_type = "product".into();
    item.title = "Brass \"Banker's\" Lamp".into();
    item.word_count = 12;
    item.has_image = true;
    item.years = vec![1920, 1931];
    item.tags = vec![
        Tag {
            facet: "Theme".into(),
            label: "Café Culture".into(),
            weight: 1.0,
        },
        Tag {
            facet: "person_who.age_group".into(),
            label: "25-34".into(),
            weight: 1.0,
        },
    ];
    let json = json!({
        "price": 150, "rate": 4.5, "in_stock": true, "brand": "Acme", "sizes": ["S", "M"],
        "since": "2026-03-01T10:00:00+02:00", "nothing": null, "none": [], "mixed": [1, null],
        "shelf": {"row": 3, "odd name": "x"}, "2nd": 1, "text ": "y",
    });
    item.attributes = json.as_object().unwrap().clone();
    CatalogueItem::new(item, &Canonicalizer::default())
}

#[test]
fn comparisons_hold_as_the_language_says() {
    let lamp = lamp();
    for (text, holds) in [
        (r#"id = "SKU-1""#, true),
        (r#"id != "SKU-1""#, false),
        (r#"content_type = "product" AND price <= 150"#, true),
        ("price < 150", false),
        ("price = 150.0", true),
        ("price != 150", false),
        ("price > 1e2", true),
        ("rate >= -3", true),
        ("in_stock = true", true),
        ("in_stock != false", true),
        ("in_stock:true", true),
        (r#"brand = 'Acme'"#, true),
        (r#"brand = "acme""#, false),
        (r#"title = "Brass \"Banker's\" Lamp""#, true),
        ("word_count = 12", true),
        ("has_image = true", true),
        ("years > 1930", true),
        ("years > 1931", false),
        ("years != 1920", false),
        (r#"sizes:"M""#, true),
        (r#"sizes = "M" AND sizes != "L""#, true),
        (r#"sizes != "S""#, false),
        ("sizes:*", true),
        // Types do not convert.
        (r#"price = "150""#, false),
        (r#"price != "150""#, true),
        ("brand = 1", false),
        ("brand > 1", false),
        // A missing field fails every comparison.
        ("color:*", false),
        (r#"color != "red""#, false),
        (r#"NOT color = "red""#, true),
        (r#"-color = "red""#, true),
        ("nothing:*", false),
        ("none:*", false),
        ("nothing != 1", false),
        ("mixed = 1", true),
        ("shelf.row = 3", true),
        (r#"shelf."odd name" = "x""#, true),
        ("shelf:*", true),
        ("shelf.depth = 3", false),
        ("price.row = 3", false),
        (r#""2nd" = 1"#, true),
        // Times, whatever their offset.
        ("since = 2026-03-01T08:00:00Z", true),
        (r#"since = "2026-03-01T08:00:00Z""#, false),
        (r#"since < "2026-03-01T08:00:01Z""#, true),
        ("since >= 2026-03-01T08:00:01Z", false),
        ("brand < 2026-03-01T08:00:01Z", false),
        // Tags in canonical form.
        (r#"tags.theme = "cafe  culture""#, true),
        (r#"tags.THEME:"Café Culture""#, true),
        (r#"tags.theme = "other""#, false),
        (r#"tags.theme != "other""#, true),
        (r#"tags.color != "red""#, false),
        ("tags.theme:*", true),
        ("tags.the:*", false),
        (r#"tags.person_who.age_group = "25-34""#, true),
        // OR binds tighter than AND.
        ("price = 1 AND price = 150 OR price = 150", false),
        ("price = 150 OR price = 1 AND price = 150", true),
        ("(price = 1 AND price = 150) OR price = 150", true),
        ("NOT (price = 1 OR NOT price = 150)", true),
        ("  price=150   AND\n\trate:4.5 ", true),
    ] {
        let filter = parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(filter.matches(&lamp), holds, "{text}");
    }
}

#[test]
fn a_mistake_is_reported_with_its_column() {
    for (text, column, expected) in [
        ("", 1, "the name of a field"),
        ("price", 6, "one of = != < <= > >= :"),
        ("price 150", 7, "one of = != < <= > >= :"),
        ("price == 150", 8, "a text in quotes"),
        ("price = ", 9, "a text in quotes"),
        ("brand = Acme", 9, "a text in quotes"),
        ("price = inf", 9, "a text in quotes"),
        ("price = 1 rate = 2", 11, "AND, OR or the end"),
        ("price = 1 and rate = 2", 11, "AND, OR or the end"),
        ("price = 1 AND", 14, "the name of a field"),
        ("price = 1 OR OR", 14, "the name of a field"),
        ("(price = 1", 11, "AND, OR or )"),
        ("price = 1)", 10, "AND, OR or the end"),
        ("brand = \"Ac", 12, "a closing quote"),
        ("brand = \"\\n\"", 11, "a quote or a backslash after \\"),
        ("brand < \"b\"", 9, "a number or a time"),
        ("in_stock > true", 12, "a number or a time"),
        ("ünique = ", 10, "a text in quotes"),
        (
            "content_type = 5",
            16,
            "a text in quotes: this field holds texts",
        ),
        ("years = \"1920\"", 9, "a number: this field holds numbers"),
        ("has_image = 1", 13, "true or false"),
        ("tags = \"x\"", 1, "a facet, as in tags.theme"),
        ("tags.theme = 3", 14, "a text in quotes"),
        ("tags.theme = \" \"", 14, "a label"),
        ("vector = 1", 1, "id, content_type"),
        ("price = *", 9, "a text in quotes"),
        ("price. = 1", 7, "the name of a field"),
    ] {
        let error = parse(text).expect_err(text);
        assert_eq!(error.column, column, "{text}: {error}");
        assert!(error.expected.starts_with(expected), "{text}: {error}");
    }
}

#[test]
fn the_limits_of_a_filter_are_exact() {
    let terms = |count: usize| vec!["a = 1"; count].join(" AND ");
    assert!(parse(&terms(100)).is_ok());
    assert!(parse(&terms(101)).unwrap_err().to_string().contains("100"));
    let nested = |depth: usize| format!("{}a = 1{}", "(".repeat(depth), ")".repeat(depth));
    assert!(parse(&nested(20)).is_ok());
    assert!(parse(&nested(21)).unwrap_err().to_string().contains("20"));
    assert!(parse(&format!("{}a = 1", "NOT ".repeat(21))).is_err());
    let long = |bytes: usize| format!("a = \"{}\"", "x".repeat(bytes - 6));
    assert!(parse(&long(MAX_BYTES)).is_ok());
    let error = parse(&long(MAX_BYTES + 1)).unwrap_err();
    assert!(error.to_string().contains("4096"), "{error}");
}

proptest! {
    #[test]
    fn any_text_is_parsed_or_refused(text in "[ a-c.=<>!:()\"'\\\\*0-9TZANDORNOT-]{0,60}") {
        let lamp = lamp();
        if let Ok(filter) = parse(&text) {
            let negated = parse(&format!("NOT ({text})")).unwrap();
            prop_assert_ne!(filter.matches(&lamp), negated.matches(&lamp));
        }
    }
}
