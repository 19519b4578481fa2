//! Placements of lists of other kinds, with a user and without one.

use recsys::proto::{
    PopularItemsRequest, PopularItemsResponse, RecommendDiagnostics, SimilarItemsRequest,
};
use tonic::Code;

use super::{KEY, RANKING, all_events, result, server};
use crate::support::server::{TestServer, event, fields, liked, named};

fn similar(user: &str, placement: &str) -> SimilarItemsRequest {
    SimilarItemsRequest {
        content_id: "i010".to_owned(),
        user_id: user.to_owned(),
        placement: placement.to_owned(),
        limit: 4,
        ..SimilarItemsRequest::default()
    }
}

async fn popular(server: &TestServer, user: &str, placement: &str) -> PopularItemsResponse {
    let request = PopularItemsRequest {
        user_id: user.to_owned(),
        placement: placement.to_owned(),
        ..PopularItemsRequest::default()
    };
    let list = server.recommender().popular_items(request).await;
    list.unwrap().into_inner()
}

fn names(diagnostics: Option<RecommendDiagnostics>) -> (String, String) {
    let diagnostics = diagnostics.unwrap();
    (diagnostics.placement, diagnostics.variant)
}

#[tokio::test]
async fn lists_of_every_kind_take_a_placement_and_refuse_an_unknown_one() {
    let (server, engine) = server(RANKING, Some(KEY)).await;
    let list = server
        .recommender()
        .similar_items(similar("", "cart"))
        .await;
    let list = list.unwrap().into_inner();
    assert_eq!(names(list.diagnostics), ("cart".into(), String::new()));
    assert_eq!(
        result(&engine, "cart", "none").items,
        list.items.len() as u64
    );
    let list = popular(&server, "", "home").await;
    assert_eq!(names(list.diagnostics), ("home".into(), String::new()));
    assert_eq!(result(&engine, "home", "none").lists, 1);

    // Of a user, `x` has the variant `calm`.
    let list = server
        .recommender()
        .similar_items(similar("x", "home"))
        .await;
    let list = list.unwrap().into_inner();
    assert_eq!(names(list.diagnostics), ("home".into(), "calm".into()));
    assert!(
        list.items
            .iter()
            .all(|item| item.breakdown["semantic"] == 0.0)
    );
    let list = popular(&server, "x", "home").await;
    assert_eq!(names(list.diagnostics), ("home".into(), "calm".into()));
    assert_eq!(result(&engine, "home", "calm").lists, 2);

    let wrong = similar("", "shelf");
    let wrong = server.recommender().similar_items(wrong).await.unwrap_err();
    assert_eq!(
        (wrong.code(), fields(&wrong)),
        (Code::InvalidArgument, vec!["placement".into()])
    );
    let wrong = PopularItemsRequest {
        placement: "shelf".to_owned(),
        ..PopularItemsRequest::default()
    };
    let wrong = server.recommender().popular_items(wrong).await.unwrap_err();
    assert_eq!(
        (wrong.code(), fields(&wrong)),
        (Code::InvalidArgument, vec!["placement".into()])
    );
}

#[tokio::test]
async fn events_of_any_user_count_for_a_list_of_nobody_and_each_item_counts_once() {
    let (server, engine) = server(RANKING, Some(KEY)).await;
    let list = server
        .recommender()
        .similar_items(similar("", "cart"))
        .await;
    let list = list.unwrap().into_inner();
    for (number, user) in ["ada", "eve", "eve"].into_iter().enumerate() {
        let mut event = named(&format!("{number}"), liked(user, &list.items[0].content_id));
        event.request_id.clone_from(&list.request_id);
        server.ingest(event).await.unwrap();
    }
    assert_eq!(all_events(&engine), 1);
    let mut other = event("eve", "favorite", &list.items[1].content_id);
    other.request_id = list.request_id;
    server.ingest(other).await.unwrap();
    assert_eq!(all_events(&engine), 2);
    // The similar items of a user's list are that user's.
    let list = server
        .recommender()
        .similar_items(similar("ada", "cart"))
        .await;
    let list = list.unwrap().into_inner();
    for user in ["eve", "ada"] {
        let mut event = event(user, "favorite", &list.items[0].content_id);
        event.request_id.clone_from(&list.request_id);
        server.ingest(event).await.unwrap();
    }
    assert_eq!(all_events(&engine), 3);
}
