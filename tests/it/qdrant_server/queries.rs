//! What queries find, and in which order.

use std::collections::{HashMap, HashSet};

use qdrant_client::qdrant::{
    Condition, Distance, Expression, Filter, FormulaBuilder, Fusion, GeoPoint,
    PayloadExcludeSelector, PrefetchQuery, Query, QueryBatchPoints, QueryPoints, Sample,
    ScoredPoint, VectorInput, VectorsOutput, WithPayloadSelector, WithVectorsSelector,
    vector_output, vectors_output::VectorsOptions, with_payload_selector::SelectorOptions,
};
use serde_json::{Value as Json, json};
use tonic::Code;

use super::{UUID, ids, of_c, places, points, query};
use crate::support::qdrant::QdrantServer;

fn nearest(vector: [f32; 2]) -> Option<Query> {
    Some(Query::new_nearest(vector.to_vec()))
}

fn nearest_id(id: u64) -> Option<Query> {
    Some(Query::new_nearest(VectorInput::new_id(id)))
}

fn formula(expression: Expression) -> Option<Query> {
    Some(Query::new_formula(FormulaBuilder::new(expression)))
}

fn scores(found: &[ScoredPoint]) -> Vec<f32> {
    let rounded = |score: f32| (score * 1000.0).round() / 1000.0;
    found.iter().map(|one| rounded(one.score)).collect()
}

fn all() -> PrefetchQuery {
    PrefetchQuery::default()
}

#[tokio::test]
async fn nearest_points_come_best_first_and_only_those_with_a_vector() {
    let (_server, client) = places().await;
    let request = QueryPoints {
        query: nearest([1.0, 0.0]),
        ..of_c()
    };
    let found = query(&client, request.clone()).await.unwrap();
    assert_eq!(scores(&found), [1.0, 0.8, 0.0]);
    assert!(found[0].payload.is_empty() && found[0].vectors.is_none());
    assert_eq!(ids(found), ["1", "2", "3"]);

    let page = QueryPoints {
        limit: Some(1),
        offset: Some(1),
        ..request.clone()
    };
    assert_eq!(ids(query(&client, page).await.unwrap()), ["2"]);
    let better = QueryPoints {
        score_threshold: Some(0.5),
        ..request.clone()
    };
    assert_eq!(ids(query(&client, better).await.unwrap()), ["1", "2"]);
    let filtered = QueryPoints {
        filter: Some(Filter::must_not([Condition::has_id([1])])),
        ..request
    };
    assert_eq!(ids(query(&client, filtered).await.unwrap()), ["2", "3"]);
}

#[tokio::test]
async fn a_point_is_not_among_its_own_neighbours() {
    let (_server, client) = places().await;
    let request = |query| QueryPoints { query, ..of_c() };
    let found = query(&client, request(nearest_id(3))).await.unwrap();
    assert_eq!(ids(found), ["2", "1"]);
    let status = query(&client, request(nearest_id(9))).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    assert_eq!(status.message(), "Not found: No point with id 9 found");
    let no_vector = Some(Query::new_nearest(VectorInput::new_id(UUID)));
    let status = query(&client, request(no_vector)).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
}

#[tokio::test]
async fn ties_are_broken_by_ids_numbers_before_uuids() {
    let server = QdrantServer::start().await;
    server.create_collection("c", 1, Distance::Dot);
    let late = "f0000000-0000-0000-0000-000000000000";
    let early = "00000000-0000-0000-0000-000000000001";
    for id in [late, early] {
        server.insert("c", id, json!({}), Some(vec![1.0]));
    }
    for id in [10, 9] {
        server.insert("c", id, json!({}), Some(vec![1.0]));
    }
    let request = QueryPoints {
        query: Some(Query::new_nearest(vec![1.0])),
        ..of_c()
    };
    let found = query(&points(&server).await, request).await.unwrap();
    assert_eq!(ids(found), ["9", "10", early, late]);
}

#[tokio::test]
async fn named_vectors_are_searched_by_their_name_and_distance() {
    let server = QdrantServer::start().await;
    let spaces = [("cos", 2, Distance::Cosine), ("far", 1, Distance::Euclid)];
    server.create_named_collection("c", &spaces);
    server.insert_named("c", 1, json!({}), &[("cos", &[0.0, 5.0]), ("far", &[1.0])]);
    server.insert_named("c", 2, json!({}), &[("cos", &[3.0, 4.0]), ("far", &[9.0])]);
    server.insert_named("c", 3, json!({}), &[("far", &[4.0])]);
    let client = points(&server).await;
    let using = |using: Option<&str>, vector: Vec<f32>| QueryPoints {
        query: Some(Query::new_nearest(vector)),
        using: using.map(str::to_owned),
        ..of_c()
    };
    let found = query(&client, using(Some("cos"), vec![9.0, 0.0])).await;
    let found = found.unwrap();
    assert_eq!(scores(&found), [0.6, 0.0]);
    assert_eq!(ids(found), ["2", "1"]);

    let request = QueryPoints {
        score_threshold: Some(6.0),
        ..using(Some("far"), vec![0.0])
    };
    let found = query(&client, request).await.unwrap();
    assert_eq!(scores(&found), [1.0, 4.0], "nearer is better");
    assert_eq!(ids(found), ["1", "3"]);

    let status = query(&client, using(None, vec![1.0])).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(
        status.message(),
        "Wrong input: Not existing vector name error: "
    );
    let status = query(&client, using(Some("cos"), vec![1.0])).await;
    assert_eq!(
        status.unwrap_err().message(),
        "Wrong input: Vector dimension error: expected dim: 2, got 1"
    );
}

#[tokio::test]
async fn without_a_query_points_come_in_the_order_of_ids() {
    let (_server, client) = places().await;
    let request = QueryPoints {
        limit: Some(2),
        offset: Some(2),
        ..of_c()
    };
    let found = query(&client, request).await.unwrap();
    assert_eq!(scores(&found), [1.0, 1.0]);
    assert_eq!(ids(found), ["3", UUID]);
    let nothing = QueryPoints {
        limit: Some(0),
        ..of_c()
    };
    let status = query(&client, nothing).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn a_random_sample_has_every_point_first_at_times() {
    let (_server, client) = places().await;
    let request = QueryPoints {
        query: Some(Query::new_sample(Sample::Random)),
        filter: Some(Filter::must([Condition::has_vector("")])),
        limit: Some(2),
        ..of_c()
    };
    let mut firsts = HashSet::new();
    for _ in 0..100 {
        let found = ids(query(&client, request.clone()).await.unwrap());
        assert_eq!(found.iter().collect::<HashSet<_>>().len(), 2);
        firsts.insert(found[0].clone());
    }
    assert_eq!(firsts.len(), 3, "{firsts:?}");
}

#[tokio::test]
async fn a_formula_scores_what_was_prefetched() {
    let (_server, client) = places().await;
    let is_b = Condition::matches("kind", "b".to_owned());
    let expression = Expression::sum_with([
        Expression::score(),
        Expression::mult_with([Expression::constant(10.0), Expression::condition(is_b)]),
    ]);
    let request = QueryPoints {
        prefetch: vec![PrefetchQuery {
            query: nearest([1.0, 0.0]),
            ..all()
        }],
        query: formula(expression),
        ..of_c()
    };
    let found = query(&client, request.clone()).await.unwrap();
    assert_eq!(scores(&found), [10.8, 1.0, 0.0]);
    assert_eq!(ids(found), ["2", "1", "3"]);
    let good = QueryPoints {
        score_threshold: Some(1.0),
        ..request
    };
    assert_eq!(ids(query(&client, good).await.unwrap()), ["2", "1"]);
}

#[tokio::test]
async fn a_formula_reads_payloads_with_defaults_and_measures_distances() {
    let (_server, client) = places().await;
    let request = |query, filter| QueryPoints {
        prefetch: vec![PrefetchQuery { filter, ..all() }],
        query,
        ..of_c()
    };
    let n = || Expression::variable("n");
    let with_default = FormulaBuilder::new(n()).add_default("n", -1);
    let found = query(
        &client,
        request(Some(Query::new_formula(with_default)), None),
    );
    let found = found.await.unwrap();
    assert_eq!(scores(&found), [3.5, 2.0, 1.0, -1.0]);

    let status = query(&client, request(formula(n()), None))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(
        status.message(),
        "Wrong input: Expected number value for n in the payload and/or in the formula \
         defaults. Error: No value found in a payload nor defaults"
    );

    let origin = GeoPoint {
        lat: 48.137,
        lon: 11.575,
    };
    let metres = formula(Expression::geo_distance_with(origin, "at"));
    let berlin = Some(Filter::must([Condition::has_id([1])]));
    let found = query(&client, request(metres, berlin)).await.unwrap();
    assert!(
        (503_000.0..506_000.0).contains(&found[0].score),
        "{found:?}"
    );
}

#[tokio::test]
async fn each_prefetch_has_its_own_score_limit_and_filter() {
    let (_server, client) = places().await;
    let prefetch = vec![
        PrefetchQuery {
            query: nearest([1.0, 0.0]),
            limit: Some(1),
            ..all()
        },
        PrefetchQuery {
            query: nearest([0.0, 1.0]),
            filter: Some(Filter::must_not([Condition::has_id([3])])),
            limit: Some(1),
            ..all()
        },
    ];
    let both = Expression::sum_with([
        Expression::mult_with([Expression::constant(10.0), Expression::score_idx(0)]),
        Expression::score_idx(1),
    ]);
    let request = QueryPoints {
        prefetch,
        query: formula(both),
        ..of_c()
    };
    let found = query(&client, request).await.unwrap();
    assert_eq!(scores(&found), [10.0, 0.6]);
    assert_eq!(ids(found), ["1", "2"]);
}

#[tokio::test]
async fn prefetches_are_nested_and_searched_again() {
    let (_server, client) = places().await;
    let inner = PrefetchQuery {
        limit: Some(2),
        ..all()
    };
    let outer = PrefetchQuery {
        prefetch: vec![inner.clone()],
        query: nearest([0.0, 1.0]),
        limit: Some(1),
        ..all()
    };
    let request = QueryPoints {
        prefetch: vec![outer],
        query: nearest([1.0, 0.0]),
        ..of_c()
    };
    let found = query(&client, request).await.unwrap();
    assert_eq!(scores(&found), [0.8]);
    assert_eq!(ids(found), ["2"]);

    let sampled = QueryPoints {
        prefetch: vec![inner.clone()],
        query: Some(Query::new_sample(Sample::Random)),
        ..of_c()
    };
    let mut found = ids(query(&client, sampled).await.unwrap());
    found.sort();
    assert_eq!(found, ["1", "2"]);

    let nothing_asked = QueryPoints {
        prefetch: vec![inner],
        ..of_c()
    };
    let status = query(&client, nothing_asked).await.unwrap_err();
    assert_eq!(
        status.message(),
        "Wrong input: cannot have prefetches without a query"
    );
    let not_prefetched = QueryPoints {
        query: formula(Expression::constant(1.0)),
        ..of_c()
    };
    let status = query(&client, not_prefetched).await.unwrap_err();
    assert_eq!(
        status.message(),
        "Wrong input: cannot apply Formula without prefetches"
    );
}

#[tokio::test]
async fn the_filter_of_a_query_holds_inside_of_its_prefetches() {
    let (_server, client) = places().await;
    let kind = |kind: &str| Condition::matches("kind", kind.to_owned());
    let request = |inner, outer| QueryPoints {
        prefetch: vec![PrefetchQuery {
            filter: Some(inner),
            limit: Some(1),
            ..all()
        }],
        query: formula(Expression::score()),
        filter: Some(outer),
        ..of_c()
    };
    let has_vector = || Filter::must([Condition::has_vector("")]);
    let found = query(&client, request(has_vector(), Filter::must([kind("c")])));
    assert_eq!(
        ids(found.await.unwrap()),
        ["3"],
        "not filtered after the limit"
    );
    // Two lists of `should` become one.
    let found = query(
        &client,
        request(Filter::should([kind("b")]), Filter::should([kind("c")])),
    );
    assert_eq!(ids(found.await.unwrap()), ["2"]);
}

#[tokio::test]
async fn a_batch_is_answered_in_its_order_or_not_at_all() {
    let (server, mut client) = places().await;
    let batch = |query_points| QueryBatchPoints {
        collection_name: "c".to_owned(),
        query_points,
        ..QueryBatchPoints::default()
    };
    let queries = vec![
        QueryPoints {
            query: nearest([0.0, 1.0]),
            limit: Some(1),
            ..QueryPoints::default()
        },
        QueryPoints {
            query: nearest([1.0, 0.0]),
            limit: Some(1),
            ..QueryPoints::default()
        },
    ];
    let answer = client.query_batch(batch(queries.clone())).await.unwrap();
    let results = answer.into_inner().result.into_iter();
    let found: Vec<_> = results.map(|one| ids(one.result)).collect();
    assert_eq!(found, [["3"], ["1"]]);
    assert_eq!(server.calls("QueryBatch"), 1);
    let kept = server.requests::<QueryBatchPoints>("QueryBatch");
    assert_eq!(kept[0].query_points, queries);

    let mut wrong = queries;
    wrong[1].query = Some(Query::new_nearest(vec![1.0]));
    let status = client.query_batch(batch(wrong)).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn queries_it_cannot_do_are_refused() {
    let (_server, client) = places().await;
    let request = QueryPoints {
        prefetch: vec![all()],
        query: Some(Query::new_fusion(Fusion::Rrf)),
        ..of_c()
    };
    let status = query(&client, request).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
    assert!(status.message().contains("fusion"), "{status}");
}

fn payload(fields: HashMap<String, qdrant_client::qdrant::Value>) -> Json {
    let fields = fields.into_iter();
    fields
        .map(|(key, value)| (key, value.into_json()))
        .collect()
}

fn data(vectors: Option<VectorsOutput>) -> Vec<f32> {
    match vectors.unwrap().get_vector() {
        Some(vector_output::Vector::Dense(dense)) => dense.data,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn payloads_and_vectors_are_answered_as_far_as_they_are_asked_for() {
    let (server, client) = places().await;
    let first = |payload: WithPayloadSelector, vectors: WithVectorsSelector| {
        let request = QueryPoints {
            with_payload: Some(payload),
            with_vectors: Some(vectors),
            limit: Some(1),
            ..of_c()
        };
        let client = client.clone();
        async move { query(&client, request).await.unwrap().remove(0) }
    };

    let point = first(true.into(), true.into()).await;
    assert_eq!(Some(payload(point.payload)), server.payload("c", 1));
    assert_eq!(data(point.vectors), [1.0, 0.0]);

    let include = vec!["n", "inner.n", "rooms[].beds", "absent"];
    let point = first(include.into(), false.into()).await;
    let wanted = json!({"n": 1, "inner": {"n": 10}, "rooms": [{"beds": 1}, {"beds": 2}]});
    assert_eq!(payload(point.payload), wanted);
    assert!(point.vectors.is_none());

    let fields = [
        "kind",
        "on",
        "tags",
        "nights",
        "at",
        "rooms[].sea",
        "inner.n",
    ];
    let exclude = SelectorOptions::Exclude(PayloadExcludeSelector {
        fields: fields.map(str::to_owned).into(),
    });
    let point = first(exclude.into(), vec![""].into()).await;
    let wanted = json!({"n": 1, "inner": {}, "rooms": [{"beds": 1}, {"beds": 2}]});
    assert_eq!(payload(point.payload), wanted);
    assert_eq!(data(point.vectors), [1.0, 0.0]);

    server.answer_plain_vectors();
    let point = first(false.into(), true.into()).await;
    assert!(point.payload.is_empty());
    #[expect(deprecated, reason = "servers before 1.16 answer so")]
    let plain = match point.vectors.unwrap().vectors_options.unwrap() {
        VectorsOptions::Vector(vector) => vector.data,
        VectorsOptions::Vectors(named) => panic!("{named:?}"),
    };
    assert_eq!(plain, [1.0, 0.0]);
}
