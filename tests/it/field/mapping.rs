//! Which column is which field: in every reader of files, and in every form of file.

use std::{io::Write as _, path::Path};

use flate2::{Compression, write::GzEncoder};
use recsys::proto::{RecommendRequest, recommender_service_client::RecommenderServiceClient};
use tempfile::TempDir;

use super::{printed, run, written};
use crate::support::{
    items::half_circle,
    program::{Served, recsys},
    server::{TestServer, connect},
};

#[test]
fn the_catalogue_file_of_a_server_is_read_as_an_import_reads_it() {
    let folder = TempDir::new().unwrap();
    let table = "artikel;titel;gruppe\n1;A;x|y\n2;B;y\n";
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(table.as_bytes()).unwrap();
    let array = "[{\"artikel\":1,\"titel\":\"A\",\"gruppe\":[\"x\",\"y\"]},\n\
                 {\"artikel\":2,\"titel\":\"B\",\"gruppe\":\"y\"},\n]\n";
    let map = "id=artikel,title=titel,tags=gruppe";
    let map_file = written(&folder, "map", map.replace(',', "\n"));
    let packed = packed.finish().unwrap();
    for (name, contents, map, columns) in [
        ("items.csv", table.as_bytes(), map, "artikel, titel, gruppe"),
        ("items.gz", &packed, map, "artikel, titel, gruppe"),
        (
            "items.json",
            array.as_bytes(),
            &map_file,
            "artikel, gruppe, titel",
        ),
    ] {
        let path = written(&folder, name, contents);
        let serve = |map: &str| {
            let mut serve = recsys(&["serve"]);
            serve
                .env("CATALOG_PATH", &path)
                .env("CATALOG_PATH_MAP", map);
            serve
        };
        let mut served = Served::start(&mut serve(map));
        let log = served.logged("QDRANT_API_URL is not set");
        let line = log
            .lines()
            .find(|line| line.contains("QDRANT_API_URL is not set"))
            .unwrap();
        for count in ["items=2", "with_title=2", "with_tags=2"] {
            assert!(line.contains(count), "{name}: {count} in {line}");
        }
        drop(served);

        let refused = serve("").output().unwrap();
        let (_, err) = printed(&refused);
        assert_eq!(refused.status.code(), Some(2), "{name}: {err}");
        let sentence = format!(
            "no column is known as id; the columns are {columns}; name the right one, for example \
             CATALOG_PATH_MAP=id=artikel"
        );
        assert!(err.contains(&sentence), "{name}: {err}");
    }
    let refused = recsys(&["serve"])
        .env("CATALOG_PATH", written(&folder, "items.csv", table))
        .env("CATALOG_PATH_MAP", "artikel")
        .output()
        .unwrap();
    let text = "CATALOG_PATH_MAP=artikel: give field=column, or a file of such lines";
    assert!(
        printed(&refused).1.contains(text),
        "{:?}",
        printed(&refused)
    );

    let path = written(&folder, "plain.csv", "id,titel\n1,A\n");
    let mut served = Served::start(recsys(&["serve"]).env("CATALOG_PATH", &path));
    served.logged("for example CATALOG_PATH_MAP=tags=COLUMN");
    drop(served);
    let mut served = Served::start(recsys(&["serve"]).env("CATALOG_PATH_MAP", "id=artikel"));
    served.logged("CATALOG_PATH_MAP has no effect, since CATALOG_PATH is not set");
}

#[tokio::test(flavor = "multi_thread")]
async fn json_without_a_needed_key_is_refused_in_one_sentence() {
    let folder = TempDir::new().unwrap();
    let server = TestServer::with_items(half_circle(2)).await;
    let to = format!("http://{}", server.address);
    let events: String = (0..300)
        .map(|number| format!("{{\"kunde\":{number},\"item\":\"i001\",\"ts\":1795977592}}\n"))
        .collect();
    let items = "{\"artikel\":1,\"title\":\"A\"}\n".repeat(300);
    for (command, name, contents, columns, example) in [
        (
            "events",
            "user_id",
            &events,
            "item, kunde, ts",
            "user_id=customer",
        ),
        ("catalog", "id", &items, "artikel, title", "id=artikel"),
    ] {
        let array = format!("[{}]", contents.trim().replace('\n', ","));
        for contents in [contents.as_str(), &array] {
            let path = written(&folder, "file.json", contents);
            let sentence = format!(
                "recsys: {path}: no column is known as {name}; the columns are {columns}; name the \
                 right one, for example --map {example}\n"
            );
            let dry = run(&[command, "import", &path, "--dry-run"]);
            assert_eq!(printed(&dry), (String::new(), sentence.clone()));
            assert_eq!(dry.status.code(), Some(2));
            if command == "events" {
                let sent = run(&[command, "import", &path, "--to", &to]);
                assert_eq!(printed(&sent), (String::new(), sentence));
                assert_eq!(sent.status.code(), Some(2));
                assert!(!Path::new(&format!("{path}.progress")).exists());
                let evaluated = run(&["eval", "--events", &path]);
                let (_, err) = printed(&evaluated);
                assert!(err.contains("no column is known as user_id"), "{err}");
                assert_eq!(err.lines().count(), 1, "{err}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_filtered_by_the_numbers_of_a_table() {
    let folder = TempDir::new().unwrap();
    for (name, table, cheap) in [
        (
            "comma.csv",
            "id,name,price,in_stock\n1,A,39.90,true\n2,B,24.00,TRUE\n3,C,9,false\n",
            "2",
        ),
        (
            "semicolon.csv",
            "id;name;price;in_stock\n1;A;39,90;true\n2;B;24,00;true\n3;C;9;false\n",
            "2",
        ),
    ] {
        let path = written(&folder, name, table);
        let served = Served::start(recsys(&["serve"]).env("CATALOG_PATH", &path));
        let channel = connect(served.address.parse().unwrap()).await;
        let request = RecommendRequest {
            r#where: "price <= 30 AND in_stock = true".to_owned(),
            ..RecommendRequest::default()
        };
        let list = RecommenderServiceClient::new(channel)
            .recommend(request)
            .await
            .unwrap();
        let ids: Vec<String> = list
            .into_inner()
            .items
            .into_iter()
            .map(|item| item.content_id)
            .collect();
        assert_eq!(ids, [cheap], "{name}");
    }
}
