//! Errors over the wire: status, code, and details that say the same as their bytes.

use std::{sync::atomic::Ordering, time::Duration};

use base64::{Engine as _, prelude::BASE64_STANDARD_NO_PAD};
use recsys::edge::settings::ServerSettings;
use serde_json::{Value, json};
use tonic_types::pb::{BadRequest, ErrorInfo, RetryInfo};

use super::{JSON, error};
use crate::{operations::Faulty, support::http::VERSIONS};

/// The detail of this type, decoded, and what its JSON says.
fn detail<M: prost::Message + Default>(error: &Value, name: &str) -> Option<(M, Value)> {
    let details = error["details"].as_array()?;
    let detail = details.iter().find(|detail| detail["type"] == name)?;
    let bytes = BASE64_STANDARD_NO_PAD.decode(detail["value"].as_str().unwrap());
    let message = M::decode(&*bytes.unwrap()).unwrap();
    Some((message, detail["debug"].clone()))
}

#[tokio::test]
async fn errors_have_the_status_code_and_details_that_connect_specifies() {
    let stores = Faulty::new();
    let server = stores
        .serve_with(ServerSettings {
            request_timeout: Duration::from_secs(3_600),
            max_buffered_bytes: 32 << 20,
            ..ServerSettings::default()
        })
        .await;
    let event = |user: &str| {
        let event = json!({"userId": user, "eventType": "LIKE", "contentId": "i001"});
        json!({"event": event}).to_string()
    };
    let soon = ("connect-timeout-ms", "50");
    let table = [
        (
            "Recommend",
            r#"{"limit":1000}"#.to_owned(),
            &[JSON][..],
            (400, "invalid_argument", "INVALID_FIELD"),
        ),
        (
            "SimilarItems",
            r#"{"contentId":"nothing"}"#.to_owned(),
            &[JSON],
            (404, "not_found", "ITEM_UNKNOWN"),
        ),
        (
            "Recommend",
            format!("{{\"excludeIds\":[{}\"\"]}}", "\"\",".repeat(1 << 19)),
            &[JSON],
            (429, "resource_exhausted", "TOO_MUCH_MEMORY"),
        ),
        (
            "GetUserSignals",
            r#"{"userId":"panic"}"#.to_owned(),
            &[JSON],
            (500, "internal", "INTERNAL"),
        ),
        (
            "IngestEvent",
            event("u"),
            &[JSON, soon],
            (504, "deadline_exceeded", "DEADLINE_EXCEEDED"),
        ),
        (
            "IngestEvent",
            event("broken"),
            &[JSON],
            (503, "unavailable", "USER_STATE_UNAVAILABLE"),
        ),
    ];
    for version in VERSIONS {
        for (method, body, headers, (status, code, reason)) in &table {
            let is_held = headers.contains(&soon);
            stores.hold_appends.store(is_held, Ordering::SeqCst);
            let path = format!("/recsys.v1.RecommenderService/{method}");
            let reply = version
                .send(server.address, "POST", &path, headers, body.as_bytes())
                .await;
            let (given, error) = error(&reply);
            assert_eq!(given, *status, "{version:?} {error}");
            assert_eq!(error["code"], *code, "{error}");
            let mut names: Vec<_> = error.as_object().unwrap().keys().collect();
            names.sort();
            assert_eq!(names, ["code", "details", "message"], "{error}");

            let info = "google.rpc.ErrorInfo";
            let (info, debug) = detail::<ErrorInfo>(&error, info).unwrap();
            assert_eq!(
                (info.reason.as_str(), info.domain.as_str()),
                (*reason, "recsys.v1")
            );
            assert_eq!(debug, json!({"reason": reason, "domain": "recsys.v1"}));
            let bad = detail::<BadRequest>(&error, "google.rpc.BadRequest");
            assert_eq!(bad.is_some(), *reason == "INVALID_FIELD", "{error}");
            if let Some((bad, debug)) = bad {
                let violation = &bad.field_violations[0];
                assert_eq!(violation.field, "limit");
                assert_eq!(debug["fieldViolations"][0]["field"], "limit");
            }
            let retry = detail::<RetryInfo>(&error, "google.rpc.RetryInfo");
            assert_eq!(retry.is_some(), *code == "unavailable", "{error}");
            if let Some((retry, debug)) = retry {
                assert_eq!(retry.retry_delay.unwrap().seconds, 1);
                assert_eq!(debug["retryDelay"], "1s");
            }
            // The server's own errors say nothing of its inner workings.
            assert!(!error.to_string().contains("10.1.2.3"), "{error}");
        }
    }
}
