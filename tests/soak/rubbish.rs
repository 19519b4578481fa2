//! Bad input. All of it is refused, and none of it leaves a trace.

use recsys::proto::{
    BatchIngestEventsRequest, DeleteItemsRequest, GetUserSignalsRequest, IngestEventRequest,
    InteractionEvent, RecommendRequest,
};

use super::{dice::Dice, events::after, observer::Manner, rpc::Rpc, shelf::TYPES, world::World};

pub const USER: &str = "rubbish";

pub async fn send(world: &World, dice: &mut Dice) {
    let manner = Manner::Rubbish;
    let (mut recommender, mut catalog) = (world.recommender(), world.catalog());
    let observer = &world.observer;
    match dice.below(10) {
        0..5 => {
            let event = Some(event(dice));
            let request = manner.request(IngestEventRequest { event });
            let sent = recommender.ingest_event(request);
            observer
                .call(Rpc::IngestEvent, manner, sent)
                .await
                .unwrap_or_default();
        }
        5 => {
            let events = vec![InteractionEvent::default(); 1_001];
            let request = manner.request(BatchIngestEventsRequest { events });
            let sent = recommender.batch_ingest_events(request);
            observer
                .call(Rpc::BatchIngestEvents, manner, sent)
                .await
                .unwrap_or_default();
        }
        6 => {
            let request = manner.request(GetUserSignalsRequest::default());
            let sent = recommender.get_user_signals(request);
            observer
                .call(Rpc::GetUserSignals, manner, sent)
                .await
                .unwrap_or_default();
        }
        7 | 8 => {
            let request = manner.request(list(dice));
            let sent = recommender.recommend(request);
            observer
                .call(Rpc::Recommend, manner, sent)
                .await
                .unwrap_or_default();
        }
        _ => {
            let content_ids = vec![String::new(), "x".repeat(513)];
            let request = manner.request(DeleteItemsRequest { content_ids });
            let sent = catalog.delete_items(request);
            observer
                .call(Rpc::DeleteItems, manner, sent)
                .await
                .unwrap_or_default();
        }
    }
}

fn event(dice: &mut Dice) -> InteractionEvent {
    let good = InteractionEvent {
        user_id: USER.to_owned(),
        event_type: "CONTENT_VIEW_ENDED".to_owned(),
        ..InteractionEvent::default()
    };
    match dice.below(7) {
        0 => InteractionEvent {
            user_id: "line\nbreak".to_owned(),
            ..good
        },
        1 => InteractionEvent {
            event_type: String::new(),
            ..good
        },
        2 => InteractionEvent {
            dwell_seconds: Some(f64::NAN),
            ..good
        },
        3 => InteractionEvent {
            event_time: Some(after(3_600.0).into()),
            ..good
        },
        4 => InteractionEvent {
            end_reason: 99,
            ..good
        },
        5 => InteractionEvent {
            impressions: vec!["1".to_owned(); 1_001],
            ..good
        },
        _ => InteractionEvent {
            query_text: "x".repeat(70 << 10),
            ..good
        },
    }
}

fn list(dice: &mut Dice) -> RecommendRequest {
    let good = RecommendRequest {
        user_id: USER.to_owned(),
        ..RecommendRequest::default()
    };
    match dice.below(3) {
        0 => RecommendRequest { limit: 101, ..good },
        1 => RecommendRequest {
            radius_meters: Some(100.0),
            ..good
        },
        _ => RecommendRequest {
            content_types: vec![TYPES[0].to_owned(); 201],
            ..good
        },
    }
}
