//! `recsys recommend`, `recsys similar` and `recsys popular`.

use serde_json::Value;

use super::kinds::{ADA, Shop};
use crate::support::program::recsys;

struct Printed {
    code: i32,
    out: String,
    err: String,
}

async fn run(shop: &Shop, arguments: &[&str]) -> Printed {
    run_at(&format!("http://{}", shop.server.address), arguments).await
}

async fn run_at(url: &str, arguments: &[&str]) -> Printed {
    let mut command = recsys(arguments);
    command.env("RECSYS_SERVER_URL", url);
    let output = tokio::task::spawn_blocking(move || command.output()).await;
    let output = output.unwrap().unwrap();
    Printed {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

#[tokio::test]
async fn lists_are_printed_with_their_reasons() {
    let shop = Shop::open().await;
    let list = run(&shop, &["recommend", ADA, "--limit", "3", "--seed", "1"]).await;
    assert_eq!((list.code, list.err.as_str()), (0, ""));
    let lines: Vec<&str> = list.out.lines().collect();
    assert_eq!(lines.len(), 3, "{}", list.out);
    assert!(lines[0].starts_with("  1  "), "{}", lines[0]);
    assert!(lines[0].contains("Product ") && lines[0].contains(" with “Product 2”"));

    let basket = ["recommend", "--context", "p12", "--context", "gone"];
    let list = run(&shop, &basket).await;
    assert!(
        list.out.contains("Often chosen together with “Product 12”"),
        "{}",
        list.out
    );
    assert!(
        list.out.ends_with("Not in the catalogue: gone.\n"),
        "{}",
        list.out
    );

    let list = run(
        &shop,
        &[
            "similar",
            "p30",
            "--basis",
            "content",
            "--must",
            "color:blue",
        ],
    )
    .await;
    assert!(
        list.out.contains("Shares lamps with “Product 30”"),
        "{}",
        list.out
    );

    let list = run(&shop, &["popular", "--window", "trending", "--limit", "1"]).await;
    assert!(list.out.starts_with("  1    1.000  p"), "{}", list.out);
    assert!(list.out.ends_with("Trending today\n"), "{}", list.out);

    let list = run(&shop, &["popular", "--filter", "purple"]).await;
    assert_eq!(
        list.out,
        "The list is empty: no item meets the restrictions\n"
    );
    let stranger = run(&shop, &["recommend", "stranger"]).await;
    let remark = "Not personal: nothing is known of the user.\n";
    assert!(stranger.out.ends_with(remark), "{}", stranger.out);
}

/// The ids of the items that a command prints.
async fn printed_ids(shop: &Shop, command: &[&str], flags: &[&str]) -> Vec<String> {
    let arguments = [command, &["--json", "--limit", "40"], flags].concat();
    let list = run(shop, &arguments).await;
    assert_eq!(list.code, 0, "{arguments:?}: {}", list.err);
    let list: Value = serde_json::from_str(&list.out).unwrap();
    let items = list["items"].as_array().unwrap().iter();
    let ids = items.map(|item| item["content_id"].as_str().unwrap().to_owned());
    ids.collect()
}

#[tokio::test]
async fn restrictions_apply_to_the_lists_of_all_commands() {
    let shop = Shop::open().await;
    for command in [
        &["recommend", ADA, "--exploration", "false"][..],
        &["recommend", "--context", "p12", "--exploration", "false"],
        &["similar", "p12"],
        &["popular"],
    ] {
        for (flags, expected) in [
            (
                &["--where", "price >= 20 AND price <= 23"][..],
                &["p10", "p11", "p12", "p13"][..],
            ),
            (
                &["--near", "52.010,4.0", "--radius-meters", "230"],
                &["p08", "p09", "p10", "p11", "p12"],
            ),
            (
                &[
                    "--any-of",
                    "color:red",
                    "--any-of",
                    "color:green",
                    "--where",
                    "-price > 18",
                ],
                &["p00", "p01", "p04", "p05", "p08"],
            ),
        ] {
            let ids = printed_ids(&shop, command, flags).await;
            assert!(!ids.is_empty(), "{command:?} {flags:?}");
            for id in ids {
                let meets = expected.contains(&id.as_str());
                assert!(meets, "{command:?} {flags:?}: {id}");
            }
        }
    }
    let explored = |list: &Value| {
        let exploration = &list["diagnostics"]["exploration"];
        exploration["skipped"].as_str().unwrap().to_owned()
    };
    for (given, skipped) in [
        ("true", "EXPLORATION_SKIP_UNSPECIFIED"),
        ("false", "EXPLORATION_SKIP_DISABLED"),
    ] {
        let list = run(&shop, &["recommend", ADA, "--json", "--exploration", given]).await;
        let list: Value = serde_json::from_str(&list.out).unwrap();
        assert_eq!(explored(&list), skipped);
    }
}

#[tokio::test]
async fn lists_are_printed_as_json() {
    let shop = Shop::open().await;
    let boosted = [
        "popular",
        "--json",
        "--boost",
        "-0.5: id = \"p12\"",
        "--exclude",
        "p13",
    ];
    let list = run(&shop, &boosted).await;
    assert_eq!(list.code, 0, "{}", list.err);
    let list: Value = serde_json::from_str(&list.out).unwrap();
    let items = list["items"].as_array().unwrap();
    assert_eq!(items.len(), 10);
    assert_eq!(items[0]["rank"], 1);
    assert_eq!(items[0]["reason"], "Popular this week");
    assert!(items.iter().all(|item| item["content_id"] != "p13"));
    assert_eq!(list["diagnostics"]["cold_reason"], "COLD_REASON_NO_USER");
    assert_eq!(list["strategy"], "RECOMMEND_STRATEGY_COLD");
}

#[tokio::test]
async fn a_command_that_prints_no_list_says_why() {
    let shop = Shop::open().await;
    for (arguments, expected) in [
        (
            &["similar", "unknown"][..],
            "the catalogue has no such item",
        ),
        (
            &["similar", "p01", "--limit", "101"],
            "limit must be 1 to 100",
        ),
        (
            &["popular", "--placement", "home"],
            "the ranking file has no placements",
        ),
        (
            &["popular", "--boost", "1: price >"],
            "boosts[0].where column 8: expected",
        ),
        (
            &["popular", "--boost", "price > 1"],
            "--boost \"price > 1\": give WEIGHT:FILTER",
        ),
        (
            &["popular", "--must", "red"],
            "--must \"red\": give FACET:LABEL",
        ),
        (
            &["recommend", "--any-of", "red"],
            "--any-of \"red\": give FACET:LABEL",
        ),
        (
            &["recommend", ADA, "--where", "price >"],
            "where column 8: expected",
        ),
        (
            &["similar", "p01", "--near", "Amsterdam"],
            "--near \"Amsterdam\": give LATITUDE,LONGITUDE",
        ),
        (
            &["popular", "--near", "91,0"],
            "near.latitude must be -90 to 90",
        ),
        (
            &["popular", "--radius-meters", "100"],
            "required arguments were not provided",
        ),
        (
            &["popular", "--near", "52,4", "--radius-meters", "-1"],
            "radius_meters must be a finite number above 0",
        ),
        (
            &["recommend", "--exploration", "maybe"],
            "[possible values: true, false]",
        ),
        (
            &["popular", "--exploration", "true"],
            "unexpected argument '--exploration'",
        ),
        (
            &["popular", "--to", "example.com"],
            "--to is not understood",
        ),
        (
            &["popular", "--ca-file", "x.pem"],
            "--to does not begin with https://",
        ),
        (
            &["popular", "--window", "year"],
            "[possible values: popular, trending]",
        ),
        (&["similar"], "<ITEM>"),
    ] {
        let list = run(&shop, arguments).await;
        assert_eq!(
            (list.code, list.out.as_str()),
            (2, ""),
            "{arguments:?}: {}",
            list.err
        );
        assert!(list.err.contains(expected), "{arguments:?}: {}", list.err);
    }
    let list = run_at("http://127.0.0.1:1", &["popular"]).await;
    assert_eq!(list.code, 1);
    let expected = "no recsys server answers on http://127.0.0.1:1";
    assert!(list.err.contains(expected), "{}", list.err);
}
