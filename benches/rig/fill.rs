//! What the servers hold while they are measured, the same in every run.

use std::{
    io::Write as _,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use futures_util::StreamExt as _;
use prost::Message as _;
use prost_types::{Struct, Value, value::Kind};
use recsys::proto::{
    BatchIngestEventsRequest, EndReason, GetItemsRequest, GetUserSignalsRequest,
    IngestEventRequest, IngestOutcome, InteractionEvent, Item, ItemUpdate, PopularItemsRequest,
    RecommendRequest, SimilarItemsRequest, StreamIngestEventsRequest, Tag, UpdateItemsRequest,
    catalog_service_client::CatalogServiceClient,
    recommender_service_client::RecommenderServiceClient,
};
use tonic::transport::Channel;

use super::{driver::RpcCall, random::Random};

pub const COLLECTION: &str = "recsys-bench";
pub const LARGE_COLLECTION: &str = "recsys-bench-large";
pub const ITEMS: usize = 10_000;
/// Items of the server with many of them.
pub const LARGE_ITEMS: usize = 100_000;
pub const VECTOR_SIZE: usize = 384;
/// Distinct tags, and tags of an item.
pub const TAGS: usize = 300;
const TAGS_EACH: usize = 5;
/// Users with a buffer of common length, and its events: as many items, all liked.
pub const USERS: usize = 100;
pub const EVENTS: usize = 50;
/// Users with a full buffer.
pub const DEEP_USERS: usize = 8;
pub const DEEP_EVENTS: usize = 5_000;
/// A message of a stream of events: this many events of each of these users.
pub const BATCH_USERS: usize = 50;
pub const BATCH_EVENTS_EACH: usize = 10;
/// Items whose price one call changes: as many as a call may.
pub const UPDATES_AT_ONCE: usize = 500;
/// Items that a visitor looked at.
const VISITED: usize = 5;
/// Users of all messages of streams.
const STREAM_USERS: usize = 1_000;
const RECOMMEND: &str = "/recsys.v1.RecommenderService/Recommend";
/// Holds for a third of the items.
const WHERE: &str = "word_count >= 300 AND has_image = true AND content_type = \"article\"";
/// The time that their events span.
const HISTORY: Duration = Duration::from_secs(28 * 86_400);
const ITEMS_AT_ONCE: usize = 250;
const EVENTS_AT_ONCE: usize = 1_000;
const USERS_AT_ONCE: usize = 8;

pub fn item(number: usize) -> Item {
    let mut random = Random::new(number as u64);
    Item {
        content_id: number.to_string(),
        content_type: "article".to_owned(),
        title: format!("Item {number}, as a title usually is"),
        text: "A few words on what it is, long enough to be a teaser. ".repeat(4),
        tags: (0..TAGS_EACH)
            .map(|_| Tag {
                facet: "theme".to_owned(),
                label: format!("topic {}", random.below(TAGS)),
                weight: Some((1 + random.below(10)) as f64 / 10.0),
            })
            .collect(),
        word_count: 100 + random.below(900) as u32,
        has_image: number.is_multiple_of(2),
        vector: (0..VECTOR_SIZE)
            .map(|_| ((random.between(-1.0, 1.0) * 1e4).round() / 1e4) as f32)
            .collect(),
        ..Item::default()
    }
}

fn ids() -> std::ops::RangeInclusive<usize> {
    1..=ITEMS
}

/// Writes the catalogue as JSON lines.
pub fn catalogue_file(path: &Path, items: usize) {
    let file = std::fs::File::create(path).expect("a file for the catalogue");
    let mut file = std::io::BufWriter::new(file);
    for number in 1..=items {
        let item = item(number);
        let tags: Vec<_> = item
            .tags
            .iter()
            .map(|tag| serde_json::json!({"facet": tag.facet, "label": tag.label, "weight": tag.weight}))
            .collect();
        let line = serde_json::json!({
            "id": item.content_id, "content_type": item.content_type, "title": item.title,
            "text": item.text, "tags": tags, "word_count": item.word_count,
            "has_image": item.has_image, "vector": item.vector,
        });
        writeln!(file, "{line}").expect("room for the catalogue");
    }
    file.flush().expect("room for the catalogue");
}

/// Makes a server read all items once, so that its cache is full.
pub async fn warm(channel: &Channel) {
    let mut client =
        CatalogServiceClient::new(channel.clone()).max_decoding_message_size(usize::MAX);
    let all: Vec<String> = ids().map(|number| number.to_string()).collect();
    for ids in all.chunks(ITEMS_AT_ONCE) {
        let request = GetItemsRequest {
            content_ids: ids.to_vec(),
        };
        let reply = client.get_items(request).await.expect("a catalogue");
        assert_eq!(reply.get_ref().items.len(), ids.len());
    }
}

/// The users one after the other.
pub fn in_turn(prefix: &'static str, users: usize) -> UserPicker {
    Arc::new(move |number| format!("{prefix}{}", number % users as u64))
}

/// Random users.
pub fn by_chance(prefix: &'static str, users: usize) -> UserPicker {
    Arc::new(move |number| format!("{prefix}{}", Random::new(number).below(users)))
}

pub fn user() -> UserPicker {
    in_turn("u", USERS)
}

pub fn deep_user() -> UserPicker {
    in_turn("d", DEEP_USERS)
}

fn now() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("a clock after 1970")
}

/// A completed view, which makes an item liked.
fn view(user: String, event_id: String, at: Duration, content: usize) -> InteractionEvent {
    InteractionEvent {
        user_id: user,
        event_type: "CONTENT_VIEW_ENDED".to_owned(),
        event_id,
        event_time: Some(prost_types::Timestamp {
            seconds: at.as_secs() as i64,
            nanos: at.subsec_nanos() as i32,
        }),
        session_id: "4f1d2f0a-session".to_owned(),
        content_id: content.to_string(),
        dwell_seconds: Some(60.0),
        end_reason: EndReason::NextButton.into(),
        ..InteractionEvent::default()
    }
}

/// Stores events of a user over the past weeks.
async fn history(channel: &Channel, user: &str, seed: u64, events: usize) {
    let mut client = RecommenderServiceClient::new(channel.clone());
    let mut random = Random::new(seed);
    let first = now() - HISTORY;
    let all: Vec<InteractionEvent> = (0..events)
        .map(|index| {
            let at = first + HISTORY.mul_f64(index as f64 / events as f64);
            let content = 1 + random.below(ITEMS);
            view(user.to_owned(), format!("past-{index}"), at, content)
        })
        .collect();
    for events in all.chunks(EVENTS_AT_ONCE) {
        let request = BatchIngestEventsRequest {
            events: events.to_vec(),
        };
        let reply = client.batch_ingest_events(request).await;
        for result in reply.expect("stored events").into_inner().results {
            assert_eq!(result.outcome(), IngestOutcome::Accepted, "{result:?}");
        }
    }
}

/// Fills the buffers of `users` users with `events` events each.
pub async fn users(channel: &Channel, user_of: UserPicker, users: usize, events: usize) {
    let filled = (0..users as u64).map(|number| {
        let (channel, user) = (channel.clone(), user_of(number));
        async move { history(&channel, &user, number, events).await }
    });
    futures_util::stream::iter(filled)
        .buffer_unordered(USERS_AT_ONCE)
        .for_each(|()| async {})
        .await;
}

/// Returns the user of the nth call.
pub type UserPicker = Arc<dyn Fn(u64) -> String + Send + Sync>;

/// Calls that append a new event of one of these users.
pub fn ingest(user_of: UserPicker) -> RpcCall {
    ingest_about(user_of, |number| 1 + Random::new(number).below(ITEMS))
}

/// Calls that append a new event about an item, of which the nth has a share like 1/n.
pub fn ingest_by_zipf(user_of: UserPicker) -> RpcCall {
    let mut sum = 0.0;
    let sums: Vec<f64> = (1..=ITEMS)
        .map(|place| {
            sum += 1.0 / place as f64;
            sum
        })
        .collect();
    ingest_about(user_of, move |number| {
        let drawn = sum * Random::new(number).unit();
        1 + sums.partition_point(|sum| *sum <= drawn).min(ITEMS - 1)
    })
}

fn ingest_about(
    user_of: UserPicker,
    item_of: impl Fn(u64) -> usize + Send + Sync + 'static,
) -> RpcCall {
    RpcCall {
        method: "/recsys.v1.RecommenderService/IngestEvent",
        message: Arc::new(move |number| {
            let content = item_of(number);
            let event_id = format!("9be2c1f4-event-{number}");
            let event = view(user_of(number), event_id, now(), content);
            let request = IngestEventRequest { event: Some(event) };
            request.encode_to_vec().into()
        }),
    }
}

pub fn signals(user_of: UserPicker, include_vectors: bool) -> RpcCall {
    let method = "/recsys.v1.RecommenderService/GetUserSignals";
    call(method, user_of, move |user_id| GetUserSignalsRequest {
        user_id,
        include_vectors,
    })
}

pub fn recommend(user_of: UserPicker) -> RpcCall {
    call(RECOMMEND, user_of, |user_id| RecommendRequest {
        user_id,
        ..RecommendRequest::default()
    })
}

/// Lists for a visitor, who has no model: like the user's last items.
pub fn recommend_visitor() -> RpcCall {
    RpcCall {
        method: RECOMMEND,
        message: Arc::new(|number| {
            let mut random = Random::new(number);
            let request = RecommendRequest {
                context_ids: (0..VISITED).map(|_| some_item(&mut random)).collect(),
                ..RecommendRequest::default()
            };
            request.encode_to_vec().into()
        }),
    }
}

/// Lists under a restriction of three terms.
pub fn recommend_where() -> RpcCall {
    call(RECOMMEND, user(), |user_id| RecommendRequest {
        user_id,
        r#where: WHERE.to_owned(),
        ..RecommendRequest::default()
    })
}

pub fn similar_items() -> RpcCall {
    RpcCall {
        method: "/recsys.v1.RecommenderService/SimilarItems",
        message: Arc::new(|number| {
            let request = SimilarItemsRequest {
                content_id: some_item(&mut Random::new(number)),
                ..SimilarItemsRequest::default()
            };
            request.encode_to_vec().into()
        }),
    }
}

pub fn popular_items() -> RpcCall {
    let method = "/recsys.v1.RecommenderService/PopularItems";
    call(method, user(), |_| PopularItemsRequest::default())
}

/// Messages of a stream that append new events.
pub fn ingest_batch() -> RpcCall {
    RpcCall {
        method: "/recsys.v1.RecommenderService/StreamIngestEvents",
        message: Arc::new(|number| {
            let mut random = Random::new(number);
            let mut events = Vec::with_capacity(BATCH_USERS * BATCH_EVENTS_EACH);
            for user in 0..BATCH_USERS {
                let user = (number as usize * BATCH_USERS + user) % STREAM_USERS;
                for event in 0..BATCH_EVENTS_EACH {
                    let event_id = format!("9be2c1f4-{number}-{event}");
                    let content = 1 + random.below(ITEMS);
                    events.push(view(format!("s{user}"), event_id, now(), content));
                }
            }
            let request = StreamIngestEventsRequest {
                events,
                sequence: number,
            };
            request.encode_to_vec().into()
        }),
    }
}

/// Calls that change the price and the stock of items.
pub fn update_items() -> RpcCall {
    RpcCall {
        method: "/recsys.v1.CatalogService/UpdateItems",
        message: Arc::new(|number| {
            let mut random = Random::new(number);
            let updates = (0..UPDATES_AT_ONCE).map(|index| {
                let content = (number as usize * UPDATES_AT_ONCE + index) % ITEMS + 1;
                let price = Kind::NumberValue(random.below(10_000) as f64 / 100.0);
                let in_stock = Kind::BoolValue(random.below(2) == 0);
                let attributes = [("price", price), ("in_stock", in_stock)]
                    .map(|(name, kind)| (name.to_owned(), Value { kind: Some(kind) }));
                ItemUpdate {
                    item: Some(Item {
                        content_id: content.to_string(),
                        attributes: Some(Struct {
                            fields: attributes.into_iter().collect(),
                        }),
                        ..Item::default()
                    }),
                    update_mask: None,
                }
            });
            let request = UpdateItemsRequest {
                updates: updates.collect(),
            };
            request.encode_to_vec().into()
        }),
    }
}

fn some_item(random: &mut Random) -> String {
    (1 + random.below(ITEMS)).to_string()
}

/// Calls of a method whose message depends on the user alone.
pub fn call<M: prost::Message + 'static>(
    method: &'static str,
    user_of: UserPicker,
    message: impl Fn(String) -> M + Send + Sync + 'static,
) -> RpcCall {
    RpcCall {
        method,
        message: Arc::new(move |number| Bytes::from(message(user_of(number)).encode_to_vec())),
    }
}
