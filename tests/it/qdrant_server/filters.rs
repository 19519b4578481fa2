//! Which points the conditions of filters let through.

use qdrant_client::qdrant::{
    Condition, FieldCondition, Filter, GeoBoundingBox, GeoPoint, GeoRadius, Match, PointId, Range,
    RepeatedIntegers, RepeatedStrings, ValuesCount, condition::ConditionOneOf, r#match::MatchValue,
};
use tonic::Code;

use super::{UUID, matching, places};

fn field(key: &str) -> FieldCondition {
    FieldCondition {
        key: key.to_owned(),
        ..FieldCondition::default()
    }
}

fn matches(key: &str, value: MatchValue) -> Condition {
    let wanted = Match {
        match_value: Some(value),
    };
    only(FieldCondition {
        r#match: Some(wanted),
        ..field(key)
    })
}

fn only(field: FieldCondition) -> Condition {
    Condition {
        condition_one_of: Some(ConditionOneOf::Field(field)),
    }
}

fn keyword(key: &str, text: &str) -> Condition {
    matches(key, MatchValue::Keyword(text.to_owned()))
}

fn texts(texts: &[&str]) -> RepeatedStrings {
    RepeatedStrings {
        strings: texts.iter().map(|text| (*text).to_owned()).collect(),
    }
}

#[tokio::test]
async fn a_match_finds_the_value_or_an_element_of_an_array() {
    let (_server, client) = places().await;
    let numbers = |integers: &[i64]| RepeatedIntegers {
        integers: integers.to_vec(),
    };
    let cases = [
        (keyword("kind", "a"), vec!["1", UUID]),
        (keyword("tags", "y"), vec!["1", "2"]),
        (keyword("kind", "1"), vec![]),
        (keyword("absent", "a"), vec![]),
        (matches("n", MatchValue::Integer(2)), vec!["2"]),
        (matches("inner.n", MatchValue::Integer(10)), vec!["1"]),
        (matches("nights", MatchValue::Integer(9)), vec!["1"]),
        (matches("nights[]", MatchValue::Integer(9)), vec!["1"]),
        (matches("nights[0]", MatchValue::Integer(9)), vec![]),
        (matches("on", MatchValue::Boolean(false)), vec!["2"]),
        (
            matches("rooms[].beds", MatchValue::Integer(2)),
            vec!["1", "2"],
        ),
        (matches("rooms.beds", MatchValue::Integer(2)), vec![]),
        (
            matches("kind", MatchValue::Keywords(texts(&["b", "c"]))),
            vec!["2", "3"],
        ),
        (matches("kind", MatchValue::Keywords(texts(&[]))), vec![]),
        (
            matches("n", MatchValue::Integers(numbers(&[1, 9]))),
            vec!["1"],
        ),
        (
            matches("kind", MatchValue::ExceptKeywords(texts(&["a"]))),
            vec!["2", "3"],
        ),
        (
            matches("tags", MatchValue::ExceptKeywords(texts(&["y"]))),
            vec!["1"],
        ),
        (
            matches("n", MatchValue::ExceptIntegers(numbers(&[1]))),
            vec!["2", "3"],
        ),
        (
            matches("text", MatchValue::Text("quiet".to_owned())),
            vec!["3"],
        ),
    ];
    for (condition, wanted) in cases {
        let told = format!("{condition:?}");
        let found = matching(&client, Filter::must([condition])).await.unwrap();
        assert_eq!(found, wanted, "{told}");
    }
}

#[tokio::test]
async fn ranges_and_counts_of_values_are_compared() {
    let (_server, client) = places().await;
    let range = |key: &str, range| {
        only(FieldCondition {
            range: Some(range),
            ..field(key)
        })
    };
    let count = |values_count| {
        only(FieldCondition {
            values_count: Some(values_count),
            ..field("tags")
        })
    };
    let from_two = Range {
        gte: Some(2.0),
        ..Range::default()
    };
    let inside = Range {
        gt: Some(1.0),
        lt: Some(3.5),
        ..Range::default()
    };
    let up_to_one = ValuesCount {
        lte: Some(1),
        ..ValuesCount::default()
    };
    let more_than_one = ValuesCount {
        gt: Some(1),
        ..ValuesCount::default()
    };
    let cases = [
        (range("n", from_two), vec!["2", "3"]),
        (range("n", inside), vec!["2"]),
        (range("nights", from_two), vec!["1"]),
        (range("kind", from_two), vec![]),
        // What has no such field has no count either.
        (count(up_to_one), vec!["2", "3"]),
        (count(more_than_one), vec!["1"]),
    ];
    for (condition, wanted) in cases {
        let told = format!("{condition:?}");
        let found = matching(&client, Filter::must([condition])).await.unwrap();
        assert_eq!(found, wanted, "{told}");
    }
}

#[tokio::test]
async fn places_are_found_within_circles_and_boxes() {
    let (_server, client) = places().await;
    let at = |lat, lon| Some(GeoPoint { lon, lat });
    let circle = |center, radius| {
        only(FieldCondition {
            geo_radius: Some(GeoRadius { center, radius }),
            ..field("at")
        })
    };
    let between = |top_left, bottom_right| {
        only(FieldCondition {
            geo_bounding_box: Some(GeoBoundingBox {
                top_left,
                bottom_right,
            }),
            ..field("at")
        })
    };
    let cases = [
        // Potsdam is 27 km from Berlin, and Munich 504 km.
        (circle(at(52.39, 13.065), 28_000.0), vec!["1"]),
        (circle(at(52.39, 13.065), 20_000.0), vec![]),
        (circle(at(52.52, 13.405), 510_000.0), vec!["1", "2"]),
        (between(at(53.0, 13.0), at(52.0, 14.0)), vec!["1"]),
        (between(at(53.0, 11.0), at(48.0, 14.0)), vec!["1", "2"]),
        // Across the antimeridian.
        (between(at(1.0, 179.0), at(-1.0, -179.0)), vec!["2"]),
    ];
    for (condition, wanted) in cases {
        let told = format!("{condition:?}");
        let found = matching(&client, Filter::must([condition])).await.unwrap();
        assert_eq!(found, wanted, "{told}");
    }
}

#[tokio::test]
async fn empty_is_not_the_same_as_null() {
    let (_server, client) = places().await;
    let empty = |wanted| {
        only(FieldCondition {
            is_empty: Some(wanted),
            ..field("tags")
        })
    };
    let null = |wanted| {
        only(FieldCondition {
            is_null: Some(wanted),
            ..field("gone")
        })
    };
    let cases = [
        (Condition::is_empty("tags"), vec!["3", UUID]),
        (Condition::is_empty("gone"), vec!["1", "2", "3"]),
        (Condition::is_null("tags"), vec![]),
        (Condition::is_null("gone"), vec!["2"]),
        (empty(true), vec!["3", UUID]),
        (empty(false), vec!["1", "2"]),
        (null(true), vec!["2", UUID]),
        (null(false), vec!["1", "3"]),
    ];
    for (condition, wanted) in cases {
        let told = format!("{condition:?}");
        let found = matching(&client, Filter::must([condition])).await.unwrap();
        assert_eq!(found, wanted, "{told}");
    }
}

#[tokio::test]
async fn ids_and_vectors_are_asked_for() {
    let (_server, client) = places().await;
    let some: [PointId; 3] = [2.into(), UUID.to_uppercase().into(), 77.into()];
    let has_id = Filter::must([Condition::has_id(some)]);
    assert_eq!(matching(&client, has_id).await.unwrap(), ["2", UUID]);
    let none = Filter::must([Condition::has_id(Vec::<PointId>::new())]);
    assert!(matching(&client, none).await.unwrap().is_empty());
    let has_vector = Filter::must_not([Condition::has_vector("")]);
    assert_eq!(matching(&client, has_vector).await.unwrap(), [UUID]);
}

#[tokio::test]
async fn nested_conditions_hold_for_one_and_the_same_element() {
    let (_server, client) = places().await;
    let two_beds_at_the_sea = || {
        Filter::must([
            matches("beds", MatchValue::Integer(2)),
            matches("sea", MatchValue::Boolean(true)),
        ])
    };
    for key in ["rooms", "rooms[]"] {
        let nested = Filter::must([Condition::nested(key, two_beds_at_the_sea())]);
        assert_eq!(matching(&client, nested).await.unwrap(), ["2"], "{key}");
    }
    let apart = Filter::must([
        matches("rooms[].beds", MatchValue::Integer(2)),
        matches("rooms[].sea", MatchValue::Boolean(true)),
    ]);
    assert_eq!(matching(&client, apart).await.unwrap(), ["1", "2"]);
}

#[tokio::test]
async fn conditions_are_joined_by_must_should_must_not_and_min_should() {
    let (_server, client) = places().await;
    let a = || keyword("kind", "a");
    let y = || keyword("tags", "y");
    let third = || matches("text", MatchValue::Text("place".to_owned()));
    let min_should = |least| Filter::min_should(least, [a(), y(), third()]);
    let inner: Condition = Filter::should([third(), y()]).into();
    let cases = [
        (Filter::default(), vec!["1", "2", "3", UUID]),
        (Filter::must([a(), y()]), vec!["1"]),
        (Filter::should([a(), y()]), vec!["1", "2", UUID]),
        (Filter::must_not([a(), y()]), vec!["3"]),
        (min_should(2), vec!["1"]),
        (min_should(1), vec!["1", "2", "3", UUID]),
        (
            Filter {
                must: vec![inner],
                must_not: vec![a()],
                ..Filter::default()
            },
            vec!["2", "3"],
        ),
    ];
    for (filter, wanted) in cases {
        let told = format!("{filter:?}");
        assert_eq!(matching(&client, filter).await.unwrap(), wanted, "{told}");
    }
}

#[tokio::test]
async fn conditions_it_cannot_do_are_refused_even_where_nothing_would_come_to_them() {
    let (_server, client) = places().await;
    let unsupported = [
        Condition::slice(2, 0),
        matches("kind", MatchValue::Prefix("a".to_owned())),
        matches("kind", MatchValue::Phrase("a".to_owned())),
    ];
    for condition in unsupported {
        let filter = Filter::must([keyword("kind", "none"), condition]);
        let status = matching(&client, filter).await.unwrap_err();
        assert_eq!(status.code(), Code::Unimplemented, "{status}");
    }
    let wrong = [
        only(field("kind")),
        Condition::default(),
        keyword("a..b", "x"),
        Condition::has_id(["no uuid".to_owned()]),
    ];
    for condition in wrong {
        let filter = Filter::must([condition]);
        let status = matching(&client, filter).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    }
}
