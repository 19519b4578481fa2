//! Which events count for the list that they send back.

use std::time::Duration;

use recsys::{
    domain::{experiments::RequestIdKeys, meaning::EventMeaning, time::Timestamp},
    engine::Engine,
    proto::{IngestOutcome, InteractionEvent, RecommendResponse, StreamIngestEventsRequest},
};
use serde_json::json;

use super::{KEY, RANKING, all_events, list, result, server, server_with};
use crate::support::{
    http,
    server::{NOW, TestServer, disliked, event, ids, liked, named},
};

const OTHER_KEY: &str = "ffeeddccbbaa99887766554433221100ffeeddccbbaa99887766554433221100";

/// An event that sends the id of a list back.
fn of_list(request_id: &str, event: InteractionEvent) -> InteractionEvent {
    InteractionEvent {
        request_id: request_id.to_owned(),
        ..event
    }
}

fn at(time: Timestamp, event: InteractionEvent) -> InteractionEvent {
    let (seconds, nanos) = time.to_proto_parts();
    InteractionEvent {
        event_time: Some(prost_types::Timestamp { seconds, nanos }),
        ..event
    }
}

fn now() -> Timestamp {
    Timestamp::parse_iso8601(NOW).unwrap()
}

/// The events of the placement `cart`, by meaning.
fn counted(engine: &Engine, meaning: EventMeaning) -> u64 {
    let result = result(engine, "cart", "none");
    let mut events = result.events.into_iter();
    events.find(|(other, _)| *other == meaning).unwrap().1
}

async fn accepted(server: &TestServer, event: InteractionEvent) {
    let reply = server.ingest(event.clone()).await.unwrap();
    assert_eq!(reply.outcome(), IngestOutcome::Accepted, "{event:?}");
}

/// A list of the user `ada` on the placement `cart`.
async fn cart(server: &TestServer) -> RecommendResponse {
    list(server, "ada", "cart").await
}

#[tokio::test]
async fn events_count_by_meaning_in_every_way_of_ingesting() {
    let (server, engine) = server(RANKING, Some(KEY)).await;
    let list = cart(&server).await;
    let (id, items) = (list.request_id.as_str(), ids(&list));
    assert_eq!(id.len(), 56, "{id}");

    accepted(&server, of_list(id, liked("ada", items[0]))).await;
    let shown = InteractionEvent {
        impressions: items.iter().map(ToString::to_string).collect(),
        content_id: String::new(),
        ..event("ada", "product list viewed", "")
    };
    let batch = vec![
        of_list(id, liked("ada", items[1])),
        of_list(id, event("ada", "view", items[2])),
        of_list(id, disliked("ada", items[3])),
        of_list(id, shown),
        event("ada", "view", items[4]),
    ];
    let batch: Vec<InteractionEvent> = (0..)
        .zip(batch)
        .map(|(index, event)| named(&format!("b{index}"), event))
        .collect();
    server.batch(batch).await.unwrap();
    let stream = StreamIngestEventsRequest {
        events: vec![named("s", of_list(id, liked("ada", items[4])))],
        sequence: 1,
    };
    let stream = tokio_stream::iter([stream]);
    let replies = server.recommender().stream_ingest_events(stream).await;
    let mut replies = replies.unwrap().into_inner();
    let reply = replies.message().await.unwrap().unwrap();
    assert_eq!(reply.results[0].outcome(), IngestOutcome::Accepted);
    let delivery = json!({
        "type": "track",
        "userId": "ada",
        "event": "purchase",
        "timestamp": NOW,
        "messageId": "w",
        "properties": {
            "content": { "content_id": items[5] },
            "context": { "request_id": id },
        },
    });
    let path = "/v1/webhooks/rudderstack";
    let headers = [("content-type", "application/json")];
    let body = delivery.to_string();
    let reply = http::send(server.webhook, "POST", path, &headers, body.as_bytes()).await;
    assert_eq!(reply.status, 200);

    let counts = EventMeaning::ALL.map(|meaning| counted(&engine, meaning));
    // Dislike, like, view, impression, and none of the others.
    let likes_of_views = counts[1] + counts[2];
    assert_eq!(
        (counts[0], likes_of_views, counts[3]),
        (1, 5, 1),
        "{counts:?}"
    );
    assert_eq!(all_events(&engine), 7);
}

#[tokio::test]
async fn a_forged_id_and_one_of_another_user_or_tenant_count_nowhere() {
    let (server, engine) = server(RANKING, Some(KEY)).await;
    let list = cart(&server).await;
    let (id, item) = (list.request_id.as_str(), ids(&list)[0]);
    let of_another_tenant = RequestIdKeys::parse(KEY).unwrap().in_scope("other:");
    let (tenant, _) = server_with(RANKING, Some(of_another_tenant)).await;
    let (with_other_key, _) = super::server(RANKING, Some(OTHER_KEY)).await;
    // The last of 56 digits of base64 has all its bits in the tag.
    let last = if id.ends_with('A') { "B" } else { "A" };
    let changed_tag = format!("{}{last}", &id[..id.len() - 1]);
    let mut changed_arm = id.to_owned().into_bytes();
    changed_arm[5] = if changed_arm[5] == b'A' { b'B' } else { b'A' };
    let changed_arm = String::from_utf8(changed_arm).unwrap();
    let forged = [
        changed_tag,
        changed_arm,
        cart(&tenant).await.request_id,
        cart(&with_other_key).await.request_id,
        "0bd9c1a7-7f3c-4a57-9c3f-2b1f9d0c7a11".to_owned(),
        "A".repeat(56),
        "home/calm".to_owned(),
        "x".repeat(512),
    ];
    for (index, forged) in forged.iter().enumerate() {
        let event = named(&format!("f{index}"), of_list(forged, liked("ada", item)));
        accepted(&server, event).await;
    }
    accepted(&server, of_list(id, liked("eve", item))).await;
    // An item that is not in the list.
    let listed = ids(&list);
    let mut other = (0..40).map(|number| format!("i{number:03}"));
    let other = other.rfind(|id| !listed.contains(&id.as_str()));
    let other = of_list(id, liked("ada", &other.unwrap()));
    accepted(&server, other).await;
    assert_eq!(all_events(&engine), 0);
    accepted(&server, named("true", of_list(id, liked("ada", item)))).await;
    assert_eq!(all_events(&engine), 1);
}

#[tokio::test]
async fn a_repeated_event_and_a_replayed_id_count_once() {
    let (server, engine) = server(RANKING, Some(KEY)).await;
    let list = cart(&server).await;
    let (id, items) = (list.request_id.as_str(), ids(&list));
    let first = named("one", of_list(id, liked("ada", items[0])));
    accepted(&server, first.clone()).await;
    let again = server.ingest(first).await.unwrap();
    assert_eq!(again.outcome(), IngestOutcome::Duplicate);
    // Fresh events with the same id: the list's item has counted with this meaning.
    for number in 0..20 {
        let event = of_list(id, liked("ada", items[0]));
        accepted(&server, named(&format!("n{number}"), event)).await;
    }
    assert_eq!(all_events(&engine), 1);
    // Its other items and meanings count, each once.
    for number in 0..3 {
        for item in &items {
            for (kind, event) in [("l", liked("ada", item)), ("d", disliked("ada", item))] {
                let name = format!("{kind}{number}{item}");
                accepted(&server, named(&name, of_list(id, event))).await;
            }
        }
    }
    assert_eq!(all_events(&engine), 2 * items.len() as u64);
}

#[tokio::test]
async fn an_event_counts_within_a_day_of_its_list() {
    let (server, engine) = server(RANKING, Some(KEY)).await;
    let minute = Duration::from_secs(60);
    let list = cart(&server).await;
    let (id, items) = (list.request_id.as_str(), ids(&list));
    // It says that it happened before the list was made.
    let before = now().minus(6 * minute);
    accepted(&server, at(before, of_list(id, liked("ada", items[0])))).await;
    assert_eq!(all_events(&engine), 0);
    server.world.clock.advance(24 * 60 * minute);
    accepted(&server, of_list(id, liked("ada", items[1]))).await;
    assert_eq!(all_events(&engine), 1);
    server.world.clock.advance(minute);
    accepted(&server, of_list(id, liked("ada", items[2]))).await;
    // Nor does an event that claims to be older.
    let claimed = at(now().plus(minute), of_list(id, liked("ada", items[3])));
    accepted(&server, claimed).await;
    assert_eq!(all_events(&engine), 1);
}

#[tokio::test]
async fn without_keys_ids_are_plain_and_no_event_is_attributed() {
    let (server, engine) = server(RANKING, None).await;
    assert!(!engine.attributes_events());
    let list = cart(&server).await;
    assert_eq!(list.request_id.len(), 36);
    let (signing, _) = super::server(RANKING, Some(KEY)).await;
    let signed = cart(&signing).await.request_id;
    for id in [list.request_id.as_str(), signed.as_str()] {
        let event = named(id, of_list(id, liked("ada", ids(&list)[0])));
        accepted(&server, event).await;
    }
    assert_eq!(all_events(&engine), 0);
    assert_eq!(result(&engine, "cart", "none").items, 6);
}

#[tokio::test]
async fn a_list_of_names_that_the_ranking_file_no_longer_has_counts_as_other() {
    let (before, _) = server(RANKING, Some(KEY)).await;
    let list = cart(&before).await;
    // The keys were rotated, and the placement was renamed.
    let renamed = RANKING.replace("'cart'", "'basket'");
    let rotated = format!("{OTHER_KEY}\n{KEY}\n");
    let (after, engine) = server(&renamed, Some(&rotated)).await;
    let event = of_list(&list.request_id, liked("ada", ids(&list)[0]));
    accepted(&after, event).await;
    let events: u64 = result(&engine, "other", "other")
        .events
        .iter()
        .map(|(_, count)| count)
        .sum();
    assert_eq!((events, all_events(&engine)), (1, 1));
}

#[tokio::test]
async fn ids_of_lists_are_unique_and_short_enough_for_events() {
    let (server, _) = server(RANKING, Some(KEY)).await;
    let mut request = super::request("ada", "cart");
    request.limit = 40;
    request.seed = Some(7);
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..20 {
        let list = server.recommend(request.clone()).await.unwrap();
        assert_eq!(list.items.len(), 40);
        assert!(list.request_id.len() <= 440, "{}", list.request_id);
        assert!(seen.insert(list.request_id));
    }
}
