//! Requests with any values in their fields, all of which protobuf can carry.

use proptest::{collection::vec, option, prelude::*};
use prost::Message;
use prost_types::{ListValue, Struct, Timestamp, Value, value::Kind};

use super::odd::odd_text;
use crate::{fuzzing::world, proto};

/// Lists and objects in each other, the deepest that a request can carry and
/// beyond.
const DEEPEST: usize = 60;

fn number() -> impl Strategy<Value = f64> {
    prop_oneof![
        2 => -10.0..100.0_f64,
        2 => any::<f64>(),
        1 => prop::sample::select(vec![0.0, -0.0, 1.0, 5.0, 86_400.0, f64::NAN, f64::INFINITY]),
    ]
}

/// Texts that are mostly fine.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![3 => "[a-z0-9:é -]{1,12}", 1 => Just(String::new()), 1 => odd_text()]
}

fn mostly<T: Clone + std::fmt::Debug + 'static>(
    fine: impl Strategy<Value = T> + 'static,
    odd: impl Strategy<Value = T> + 'static,
) -> impl Strategy<Value = T> {
    prop_oneof![8 => fine, 1 => odd]
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        1 => Just(Kind::NullValue(0)),
        1 => any::<bool>().prop_map(Kind::BoolValue),
        6 => mostly(-1e9..1e9_f64, number()).prop_map(Kind::NumberValue),
        3 => odd_text().prop_map(Kind::StringValue),
    ];
    let leaf = option::weighted(0.95, leaf).prop_map(|kind| Value { kind });
    let deep = (leaf.clone(), 0..DEEPEST, any::<bool>()).prop_map(|(leaf, depth, lists)| {
        (0..depth).fold(leaf, |inner, _| Value {
            kind: Some(if lists {
                Kind::ListValue(ListValue {
                    values: vec![inner],
                })
            } else {
                Kind::StructValue(Struct {
                    fields: [("a".to_owned(), inner)].into(),
                })
            }),
        })
    });
    prop_oneof![3 => leaf, 1 => deep]
}

fn object() -> impl Strategy<Value = Option<Struct>> {
    let name = prop_oneof![Just("rating".to_owned()), text()];
    let fields = vec((name, value()), 0..4);
    option::of(fields.prop_map(|fields| Struct {
        fields: fields.into_iter().collect(),
    }))
}

fn event() -> impl Strategy<Value = proto::InteractionEvent> {
    let seconds = world::now().as_micros() / 1_000_000;
    let time = mostly(
        (seconds - 5_000_000..seconds + 300).prop_map(|seconds| (seconds, 123_456_789)),
        (any::<i64>(), any::<i32>()),
    );
    let time = option::of(time.prop_map(|(seconds, nanos)| Timestamp { seconds, nanos }));
    let id = || mostly("[a-z0-9é:]{0,8}".boxed(), odd_text());
    let kind = mostly("CONTENT_VIEW_(STARTED|ENDED)|IDENTIFY", text());
    (
        (mostly("[a-z:*{ é]{1,9}", text()), kind, time),
        (id(), id(), id(), id(), id()),
        option::of(mostly(0.0..900.0_f64, number())),
        mostly(0..5_i32, any::<i32>()),
        odd_text(),
        vec(mostly("10[0-2][0-9]", text()), 0..4),
        object(),
    )
        .prop_map(
            |(head, ids, dwell_seconds, end_reason, query_text, impressions, answers)| {
                proto::InteractionEvent {
                    user_id: head.0,
                    event_type: head.1,
                    event_time: head.2,
                    event_id: ids.0,
                    session_id: ids.1,
                    request_id: ids.2,
                    content_id: ids.3,
                    clicked_id: ids.4,
                    dwell_seconds,
                    end_reason,
                    query_text,
                    impressions,
                    survey_answers: answers,
                }
            },
        )
}

fn point() -> impl Strategy<Value = proto::GeoPoint> {
    let fine = (-90.0..=90.0_f64, -180.0..=180.0_f64);
    mostly(fine, (number(), number())).prop_map(|(latitude, longitude)| proto::GeoPoint {
        latitude,
        longitude,
    })
}

fn tag() -> impl Strategy<Value = proto::Tag> {
    let fine = ("[a-z_]{0,5}", "[a-zé:]{1,8}");
    let odd = (odd_text(), odd_text());
    let weight = option::of(mostly(0.0..1.0_f64, number()));
    (mostly(fine, odd), weight).prop_map(|((facet, label), weight)| proto::Tag {
        facet,
        label,
        weight,
    })
}

fn item() -> impl Strategy<Value = proto::Item> {
    let component = mostly(-1.0..1.0_f32, any::<f32>());
    let place = option::of(point());
    (
        mostly("[a-z0-9-]{1,9}", text()),
        vec(odd_text(), 4),
        vec(tag(), 0..4),
        (any::<u32>(), any::<bool>()),
        (place, vec(point(), 0..3)),
        vec(any::<i32>(), 0..4),
        vec(component, 0..20),
        object(),
    )
        .prop_map(
            |(
                content_id,
                texts,
                tags,
                (word_count, has_image),
                places,
                years,
                vector,
                attributes,
            )| {
                let mut texts = texts.into_iter();
                let mut next = || texts.next().unwrap();
                proto::Item {
                    content_id,
                    content_type: next().chars().take(50).collect(),
                    title: next(),
                    text: String::new(),
                    tags,
                    word_count,
                    has_image,
                    location: places.0,
                    other_locations: places.1,
                    image_url: next(),
                    public_url: next(),
                    years,
                    vector,
                    attributes,
                }
            },
        )
}

fn list() -> impl Strategy<Value = proto::RecommendRequest> {
    let filter = || vec((text(), text()), 0..3);
    let filters = |given: Vec<(String, String)>| {
        let filters = given.into_iter();
        filters
            .map(|(facet, label)| proto::TagFilter { facet, label })
            .collect()
    };
    (
        mostly("[a-z]{1,9}", text()),
        mostly(0..=100_u32, any::<u32>()),
        text(),
        (filter(), filter()),
        vec(mostly("[a-z]{1,9}", text()), 0..3),
        option::of(point()),
        option::of(number()),
        vec(mostly("[a-z]{1,9}", text()), 0..3),
        option::of(any::<u32>()),
    )
        .prop_map(
            move |(
                user_id,
                limit,
                filter,
                tags,
                content_types,
                near,
                radius,
                exclude_ids,
                seed,
            )| {
                proto::RecommendRequest {
                    user_id,
                    limit,
                    filter,
                    must: filters(tags.0),
                    must_not: filters(tags.1),
                    content_types,
                    radius_meters: radius.filter(|_| near.is_some()),
                    near,
                    include_content: true,
                    exclude_ids,
                    seed,
                }
            },
        )
}

/// A request with the byte that says which.
fn input(kind: u8, message: impl Message) -> Vec<u8> {
    let mut input = vec![kind];
    input.extend(message.encode_to_vec());
    input
}

/// Any request with any values.
pub(super) fn requests() -> impl Strategy<Value = Vec<u8>> {
    let one = option::weighted(0.98, event());
    let many = vec(event(), 0..6);
    let items = vec(item(), 0..3);
    let ids = vec(text(), 0..4);
    prop_oneof![
        4 => one.prop_map(|event| input(0, proto::IngestEventRequest { event })),
        2 => many.prop_map(|events| input(1, proto::BatchIngestEventsRequest { events })),
        2 => list().prop_map(|list| input(2, list)),
        4 => items.prop_map(|items| input(3, proto::UpsertItemsRequest { items })),
        1 => ids.prop_map(|content_ids| input(4, proto::GetItemsRequest { content_ids })),
        1 => text().prop_map(|user_id| input(7, proto::DeleteUserRequest { user_id })),
    ]
}
