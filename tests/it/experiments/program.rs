//! The program with a key file: metrics, tenants, rotation, and files that it refuses.

use std::{io::Write as _, os::unix::fs::PermissionsExt as _};

use recsys::proto::{IngestEventRequest, RecommendResponse};
use tempfile::NamedTempFile;

use super::{KEY, RANKING, request};
use crate::support::{
    program::{Served, get, recsys},
    server::{connect, liked, named},
};

fn file(text: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

/// The value of a series of `/metrics`.
fn value(metrics: &str, series: &str) -> Option<f64> {
    let mut lines = metrics.lines();
    let value = lines.find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    value.map(|value| value.parse().unwrap())
}

#[tokio::test]
async fn lists_and_their_events_are_in_the_metrics_with_names_of_the_ranking_file() {
    let (ranking, keys) = (file(RANKING), file(KEY));
    let mut served = Served::start(
        recsys(&["serve"])
            .env("RECSYS_RANKING_PATH", ranking.path())
            .env("RECSYS_REQUEST_ID_KEY_FILE", keys.path())
            .env("RECSYS_ADMIN_ADDR", "127.0.0.1:0"),
    );
    let channel = connect(served.address.parse().unwrap()).await;
    let mut client =
        recsys::proto::recommender_service_client::RecommenderServiceClient::new(channel);
    let mut list: Option<RecommendResponse> = None;
    for user in ["ada", "grace"] {
        let reply = client.recommend(request(user, "cart")).await.unwrap();
        list = Some(reply.into_inner());
    }
    let list = list.unwrap();
    for (number, item) in list.items.iter().enumerate().take(2) {
        let mut event = named(&format!("e{number}"), liked("grace", &item.content_id));
        event.event_type = "purchase".to_owned();
        event.request_id.clone_from(&list.request_id);
        let request = IngestEventRequest { event: Some(event) };
        client.ingest_event(request).await.unwrap();
    }
    let metrics = get(&served.admin_address(), "/metrics");
    let items = |placement: &str, variant: &str| {
        let labels = format!("{{placement=\"{placement}\",variant=\"{variant}\"}}");
        value(
            &metrics,
            &format!("recsys_placement_items_served_total{labels}"),
        )
    };
    let events = |placement: &str, variant: &str, meaning: &str| {
        let labels = format!("placement=\"{placement}\",variant=\"{variant}\"");
        let labels = format!("{{{labels},meaning=\"{meaning}\"}}");
        value(&metrics, &format!("recsys_placement_events_total{labels}"))
    };
    assert_eq!(items("cart", "none"), Some(12.0));
    assert_eq!(events("cart", "none", "like"), Some(2.0));
    // All series are there from the start, and no others.
    for variant in ["current", "calm", "none"] {
        assert_eq!(items("home", variant), Some(0.0), "{variant}");
        assert_eq!(events("home", variant, "view"), Some(0.0), "{variant}");
    }
    let of_placements = metrics
        .lines()
        .filter(|line| line.starts_with("recsys_placement_items_served_total{"));
    assert_eq!(of_placements.count(), 4);
    assert_eq!(items("none", "none"), None);
}

#[test]
fn a_key_file_that_cannot_be_used_is_refused_at_start() {
    let open = file(KEY);
    let mode = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(open.path(), mode).unwrap();
    let (empty, short, same) = (file("\n"), file("abc\n"), file(&format!("{KEY}\n{KEY}")));
    let good = file(KEY);
    let cases = [
        (
            open.path(),
            "",
            "open to every user of this machine (mode 644); run: chmod o= ",
        ),
        (empty.path(), "", "must have one key, or two, and has 0"),
        (
            short.path(),
            "",
            "line 1 must be 64 hexadecimal digits; make a key with: openssl rand -hex 32",
        ),
        (same.path(), "", "has the same key twice"),
        (
            std::path::Path::new("/nonexistent"),
            "",
            "cannot read /nonexistent",
        ),
        (
            good.path(),
            "id_bytes=100",
            "makes ids of up to 440 bytes, and RECSYS_LIMITS refuses ids above 100: raise id_bytes",
        ),
    ];
    for (path, limits, expected) in cases {
        let output = recsys(&["serve"])
            .env("RECSYS_REQUEST_ID_KEY_FILE", path)
            .env("RECSYS_LIMITS", limits)
            .output()
            .unwrap();
        let printed = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{printed}");
        assert!(printed.contains(expected), "{expected}: {printed}");
        assert!(!printed.contains(KEY), "{printed}");
    }
}

#[test]
fn ranking_show_prints_placements_and_experiments() {
    let ranking = file(RANKING);
    let path = ranking.path().to_str().unwrap();
    let output = recsys(&["ranking", "show", path]).output().unwrap();
    let shown = String::from_utf8(output.stdout).unwrap();
    for part in [
        "[[placements]]\nname = \"home\"\n",
        "# variants of the ranking; at most one experiment applies to a list\n",
        "[[experiments]]\nname = \"weights\"\n",
        "salt = \"june\"\n",
        "share = 0.5",
    ] {
        assert!(shown.contains(part), "{part} is missing in:\n{shown}");
    }
}
