//! What a strict collection refuses.

use std::collections::HashMap;

use qdrant_client::{
    Payload,
    qdrant::{
        Condition, DeletePoints, Expression, FieldType, Filter, FormulaBuilder, PointStruct,
        PointsSelector, PrefetchQuery, Query, QueryBatchPoints, QueryPoints, SearchParams,
        StrictModeConfig, UpsertPoints, points_selector::PointsSelectorOneOf,
    },
};
use tonic::Code;

use super::{matching, of_c, places, query};

fn strict() -> StrictModeConfig {
    StrictModeConfig {
        enabled: Some(true),
        ..StrictModeConfig::default()
    }
}

fn indexed_only() -> StrictModeConfig {
    StrictModeConfig {
        unindexed_filtering_retrieve: Some(false),
        unindexed_filtering_update: Some(false),
        ..strict()
    }
}

fn kind(kind: &str) -> Filter {
    Filter::must([Condition::matches("kind", kind.to_owned())])
}

const NO_INDEX: &str = "Bad request: Index required but not found for \"kind\" of one of the \
                        following types: [keyword]. Help: Create an index for this key or use a \
                        different filter.";

#[tokio::test]
async fn filters_need_an_index_of_the_right_kind() {
    let (server, mut client) = places().await;
    server.strict("c", indexed_only());
    let refused = matching(&client, kind("a")).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert_eq!(refused.message(), NO_INDEX);
    let prefetched = QueryPoints {
        prefetch: vec![PrefetchQuery {
            filter: Some(kind("a")),
            ..PrefetchQuery::default()
        }],
        query: Some(Query::new_nearest(vec![1.0, 0.0])),
        ..of_c()
    };
    let refused = query(&client, prefetched.clone()).await.unwrap_err();
    assert_eq!(refused.message(), NO_INDEX);
    let delete = DeletePoints {
        collection_name: "c".to_owned(),
        points: Some(PointsSelector {
            points_selector_one_of: Some(PointsSelectorOneOf::Filter(kind("none"))),
        }),
        ..DeletePoints::default()
    };
    let refused = client.delete(delete.clone()).await.unwrap_err();
    assert_eq!(refused.message(), NO_INDEX);

    server.create_index("c", "kind", FieldType::Integer);
    assert!(
        matching(&client, kind("a")).await.is_err(),
        "the wrong kind"
    );
    server.create_index("c", "kind", FieldType::Keyword);
    assert!(matching(&client, kind("a")).await.is_ok());
    assert!(query(&client, prefetched).await.is_ok());
    assert!(client.delete(delete).await.is_ok());

    server.drop_index("c", "kind");
    assert!(matching(&client, kind("a")).await.is_err());
    let off = StrictModeConfig {
        enabled: Some(false),
        ..indexed_only()
    };
    server.strict("c", off);
    assert!(matching(&client, kind("a")).await.is_ok());
}

#[tokio::test]
async fn nested_fields_are_indexed_by_their_full_path_and_ids_need_no_index() {
    let (server, client) = places().await;
    server.strict("c", indexed_only());
    let beds = Filter::must([Condition::matches("beds", 2)]);
    let nested = || Filter::must([Condition::nested("rooms", beds.clone())]);
    let refused = matching(&client, nested()).await.unwrap_err();
    assert!(refused.message().contains("\"rooms[].beds\""), "{refused}");
    server.create_index("c", "rooms[].beds", FieldType::Integer);
    assert_eq!(matching(&client, nested()).await.unwrap(), ["1", "2"]);
    let has_id = Filter::must([Condition::has_id([1])]);
    assert!(matching(&client, has_id).await.is_ok());
}

#[tokio::test]
async fn formulas_need_indexes_too() {
    let (server, client) = places().await;
    server.strict("c", indexed_only());
    let formula = FormulaBuilder::new(Expression::variable("n")).add_default("n", 0);
    let request = QueryPoints {
        prefetch: vec![PrefetchQuery::default()],
        query: Some(Query::new_formula(formula)),
        ..of_c()
    };
    let refused = query(&client, request.clone()).await.unwrap_err();
    assert_eq!(
        refused.message(),
        "Bad request: Index required but not found for \"n\" of one of the following types: \
         [float, integer]. Help: Create an index for this key or use a different formula \
         expression."
    );
    server.create_index("c", "n", FieldType::Float);
    assert!(query(&client, request).await.is_ok());
}

#[tokio::test]
async fn limits_are_held_to() {
    let (server, mut client) = places().await;
    let limit = |limit| QueryPoints { limit, ..of_c() };
    let config = StrictModeConfig {
        max_query_limit: Some(4),
        search_max_batchsize: Some(2),
        upsert_max_batchsize: Some(1),
        search_allow_exact: Some(false),
        search_max_hnsw_ef: Some(8),
        ..strict()
    };
    server.strict("c", config);
    assert!(query(&client, limit(Some(4))).await.is_ok());
    let refused = query(&client, limit(None)).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert_eq!(
        refused.message(),
        "Bad request: Limit exceeded 10 > 4 for \"limit\". Help: Reduce the \"limit\" parameter \
         to or below 4."
    );
    let batch = QueryBatchPoints {
        collection_name: "c".to_owned(),
        query_points: vec![limit(Some(1)); 3],
        ..QueryBatchPoints::default()
    };
    let refused = client.query_batch(batch).await.unwrap_err();
    assert!(
        refused
            .message()
            .contains("3 > 2 for \"search batch size\""),
        "{refused}"
    );
    let upsert = UpsertPoints {
        collection_name: "c".to_owned(),
        points: vec![PointStruct::new(1, HashMap::<String, Vec<f32>>::new(), Payload::new()); 2],
        ..UpsertPoints::default()
    };
    let refused = client.upsert(upsert).await.unwrap_err();
    assert!(refused.message().contains("2 > 1"), "{refused}");
    for (params, told) in [
        (
            SearchParams {
                exact: Some(true),
                ..SearchParams::default()
            },
            "Bad request: Exact search disabled!. Help: Set exact=false.",
        ),
        (
            SearchParams {
                hnsw_ef: Some(9),
                ..SearchParams::default()
            },
            "Bad request: Limit exceeded 9 > 8 for \"hnsw_ef\". Help: Reduce the \"hnsw_ef\" \
             parameter to or below 8.",
        ),
    ] {
        let request = QueryPoints {
            params: Some(params),
            ..limit(Some(1))
        };
        let refused = query(&client, request).await.unwrap_err();
        assert_eq!(refused.message(), told);
    }
}

#[tokio::test]
async fn large_filters_are_refused() {
    let (server, client) = places().await;
    let config = StrictModeConfig {
        filter_max_conditions: Some(2),
        condition_max_size: Some(3),
        ..strict()
    };
    server.strict("c", config);
    let three = Filter::must([kind("a").into(), kind("b").into(), kind("c").into()]);
    let refused = matching(&client, three).await.unwrap_err();
    assert_eq!(
        refused.message(),
        "Bad request: Filter condition limit reached (3 > 2). Help: Reduce the amount of \
         conditions of your filter."
    );
    let four = Filter::must_not([Condition::has_id([1, 2, 3, 4])]);
    let refused = matching(&client, four).await.unwrap_err();
    assert_eq!(
        refused.message(),
        "Bad request: Condition size limit reached (4 > 3). Help: Reduce the size of your \
         condition."
    );
}
