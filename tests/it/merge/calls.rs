//! MergeUsers over the wire.

use recsys::proto;
use tonic::Code;

use crate::support::{
    items::half_circle,
    server::{TestServer, fields, liked},
};

fn request(from: &str, into: &str) -> proto::MergeUsersRequest {
    proto::MergeUsersRequest {
        from_user_id: from.to_owned(),
        into_user_id: into.to_owned(),
    }
}

#[tokio::test]
async fn a_visitor_who_logs_in_keeps_the_history() {
    let server = TestServer::with_items(half_circle(30)).await;
    server.ingest(liked("visitor", "i001")).await.unwrap();
    server.ingest(liked("ada", "i002")).await.unwrap();
    let mut client = server.recommender();
    let merged = client.merge_users(request("visitor", "ada")).await.unwrap();
    let expected = proto::MergeUsersResponse {
        moved_events: 1,
        duplicate_events: 0,
    };
    assert_eq!(merged.into_inner(), expected);
    let (ada, _) = server.signals("ada").await;
    assert_eq!(ada.viewed, ["i001", "i002"]);
    let (_, source) = server.signals("visitor").await;
    assert_eq!(source, proto::SignalsSource::Empty);
    let repeated = client.merge_users(request("visitor", "ada")).await.unwrap();
    assert_eq!(repeated.into_inner(), proto::MergeUsersResponse::default());
}

#[tokio::test]
async fn ids_that_are_missing_or_equal_are_invalid() {
    let server = TestServer::with_items(Vec::new()).await;
    let mut client = server.recommender();
    for (from, into, expected) in [
        ("", "", &["from_user_id", "into_user_id"][..]),
        ("", "u", &["from_user_id"]),
        ("u", "\u{7}", &["into_user_id"]),
        ("u", "u", &["into_user_id"]),
    ] {
        let status = client.merge_users(request(from, into)).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{from} {into}");
        assert_eq!(fields(&status), expected, "{from} {into}");
    }
}
