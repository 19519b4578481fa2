//! What the servers hold while they are measured: the same in every run.

use std::{
    io::Write as _,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use futures_util::StreamExt as _;
use prost::Message as _;
use recsys::proto::{
    BatchIngestEventsRequest, EndReason, GetItemsRequest, GetUserSignalsRequest,
    IngestEventRequest, IngestOutcome, InteractionEvent, Item, ItemOutcome, RecommendRequest, Tag,
    UpsertItemsRequest, catalog_service_client::CatalogServiceClient,
    recommender_service_client::RecommenderServiceClient,
};
use tonic::transport::Channel;

use super::driver::Call;

pub const COLLECTION: &str = "items";
pub const ITEMS: usize = 10_000;
pub const VECTOR_SIZE: usize = 384;
/// Tags that there are, and how many an item carries.
pub const TAGS: usize = 300;
const TAGS_EACH: usize = 5;
/// Users with a buffer of common length, and how many events that has: as many
/// items, all liked.
pub const USERS: usize = 100;
pub const EVENTS: usize = 50;
/// Users with a full buffer.
pub const DEEP_USERS: usize = 8;
pub const DEEP_EVENTS: usize = 5_000;
/// Over how long their events lie.
const HISTORY: Duration = Duration::from_secs(28 * 86_400);
const ITEMS_AT_ONCE: usize = 250;
const EVENTS_AT_ONCE: usize = 1_000;
const USERS_AT_ONCE: usize = 8;

/// Numbers without a pattern that matters here, the same every time (xorshift).
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % end
    }

    fn component(&mut self) -> f32 {
        self.below(20_001) as f32 / 10_000.0 - 1.0
    }
}

fn item(number: usize) -> Item {
    let mut dice = Dice::new(number as u64);
    Item {
        content_id: number.to_string(),
        content_type: "article".to_owned(),
        title: format!("Item {number}, as a title usually is"),
        text: "A few words on what it is, long enough to be a teaser. ".repeat(4),
        tags: (0..TAGS_EACH)
            .map(|_| Tag {
                facet: "theme".to_owned(),
                label: format!("topic {}", dice.below(TAGS)),
                weight: Some((1 + dice.below(10)) as f64 / 10.0),
            })
            .collect(),
        word_count: 100 + dice.below(900) as u32,
        has_image: number.is_multiple_of(2),
        vector: (0..VECTOR_SIZE).map(|_| dice.component()).collect(),
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

/// Fills the catalogue by way of the API.
pub async fn catalogue(channel: &Channel) {
    let mut client = CatalogServiceClient::new(channel.clone());
    let all: Vec<usize> = ids().collect();
    for numbers in all.chunks(ITEMS_AT_ONCE) {
        let items = numbers.iter().map(|number| item(*number)).collect();
        let reply = client.upsert_items(UpsertItemsRequest { items }).await;
        for result in reply.expect("a catalogue").into_inner().results {
            assert_eq!(result.outcome(), ItemOutcome::Stored, "{result:?}");
        }
    }
}

/// Has a server read all items once: what it then does, it does with a full cache.
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

/// Users in turn.
pub fn in_turn(prefix: &'static str, users: usize) -> Who {
    Arc::new(move |number| format!("{prefix}{}", number % users as u64))
}

/// Users by chance.
pub fn by_chance(prefix: &'static str, users: usize) -> Who {
    Arc::new(move |number| format!("{prefix}{}", Dice::new(number).below(users)))
}

pub fn user() -> Who {
    in_turn("u", USERS)
}

pub fn deep_user() -> Who {
    in_turn("d", DEEP_USERS)
}

fn now() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("a clock after 1970")
}

/// A view to the end, which makes an item liked.
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

/// Events of a user's past, over weeks.
async fn history(channel: &Channel, user: &str, seed: u64, events: usize) {
    let mut client = RecommenderServiceClient::new(channel.clone());
    let mut dice = Dice::new(seed);
    let begun = now() - HISTORY;
    let all: Vec<InteractionEvent> = (0..events)
        .map(|turn| {
            let at = begun + HISTORY.mul_f64(turn as f64 / events as f64);
            let content = 1 + dice.below(ITEMS);
            view(user.to_owned(), format!("past-{turn}"), at, content)
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

/// Fills the buffers of so many users, as many events each; some at once.
pub async fn users(channel: &Channel, who: Who, users: usize, events: usize) {
    let filled = (0..users as u64).map(|number| {
        let (channel, user) = (channel.clone(), who(number));
        async move { history(&channel, &user, number, events).await }
    });
    futures_util::stream::iter(filled)
        .buffer_unordered(USERS_AT_ONCE)
        .for_each(|()| async {})
        .await;
}

/// Who makes the nth call.
pub type Who = Arc<dyn Fn(u64) -> String + Send + Sync>;

/// Calls that append a new event, now, of one of these users.
pub fn ingest(who: Who) -> Call {
    Call {
        method: "/recsys.v1.RecommenderService/IngestEvent",
        message: Arc::new(move |number| {
            let content = 1 + Dice::new(number).below(ITEMS);
            let event_id = format!("9be2c1f4-event-{number}");
            let event = view(who(number), event_id, now(), content);
            let request = IngestEventRequest { event: Some(event) };
            request.encode_to_vec().into()
        }),
    }
}

pub fn signals(who: Who, include_vectors: bool) -> Call {
    let method = "/recsys.v1.RecommenderService/GetUserSignals";
    call(method, who, move |user_id| GetUserSignalsRequest {
        user_id,
        include_vectors,
    })
}

pub fn recommend(who: Who) -> Call {
    let method = "/recsys.v1.RecommenderService/Recommend";
    call(method, who, |user_id| RecommendRequest {
        user_id,
        ..RecommendRequest::default()
    })
}

/// Calls of a method whose message depends on the user alone.
pub fn call<M: prost::Message + 'static>(
    method: &'static str,
    who: Who,
    message: impl Fn(String) -> M + Send + Sync + 'static,
) -> Call {
    Call {
        method,
        message: Arc::new(move |number| Bytes::from(message(who(number)).encode_to_vec())),
    }
}
