//! `recsys catalog import`, from the command line.

use std::{
    io::Write as _,
    process::{Output, Stdio},
};

use flate2::{Compression, write::GzEncoder};
use qdrant_client::qdrant::Distance;
use serde_json::json;
use tempfile::NamedTempFile;
use tonic::Code;

use crate::support::{
    program::recsys,
    qdrant::{HttpOnly, QdrantServer},
};

fn file(lines: &[String]) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(lines.join("\n").as_bytes()).unwrap();
    file
}

fn line(number: usize, size: usize) -> String {
    let vector: Vec<f64> = (0..size)
        .map(|n| ((number * size + n) as f64).sin())
        .collect();
    json!({"id": format!("SKU-{number}"), "title": format!("T{number}"), "vector": vector,
        "tags": [{"facet": "Theme", "label": "The Sea"}], "lat": 57.0, "lon": 12.0})
    .to_string()
}

fn import(qdrant: &QdrantServer, file: &NamedTempFile, more: &[&str]) -> Output {
    let path = file.path().to_str().unwrap();
    let arguments = [&["catalog", "import", path][..], more].concat();
    recsys(&arguments)
        .env("QDRANT_API_URL", qdrant.url())
        .output()
        .unwrap()
}

/// The first line of the output: what became of the lines of the file.
fn counted(output: &Output) -> String {
    let (out, _) = printed(output);
    format!("{}\n", out.lines().next().unwrap_or_default())
}

fn printed(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (text(&output.stdout), text(&output.stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_makes_all_that_is_needed_and_a_second_one_changes_nothing() {
    let qdrant = QdrantServer::start().await;
    let lines: Vec<String> = (0..450).map(|number| line(number, 8)).collect();
    let items = file(&lines);

    let dry = import(&qdrant, &items, &["--dry-run"]);
    assert!(dry.status.success(), "{:?}", printed(&dry));
    assert!(printed(&dry).0.contains("450 items would be imported"));
    assert_eq!(qdrant.calls("CreateCollection"), 0, "nothing is written");

    let first = import(&qdrant, &items, &[]);
    assert!(first.status.success(), "{:?}", printed(&first));
    assert_eq!(
        counted(&first),
        "450 items written, 0 unchanged, 0 lines refused\n"
    );
    assert_eq!(qdrant.points_count("items"), 450);
    assert_eq!(qdrant.calls("CreateFieldIndex"), 8);

    qdrant.reset_calls();
    let second = import(&qdrant, &items, &[]);
    assert_eq!(
        counted(&second),
        "0 items written, 450 unchanged, 0 lines refused\n"
    );
    assert_eq!(qdrant.calls("Upsert"), 0);

    // One item more, and one changed: only these are written.
    let mut lines = lines;
    lines[7] = lines[7].replace("T7", "Seven");
    lines.push(line(450, 8));
    let third = import(&qdrant, &file(&lines), &[]);
    assert_eq!(
        counted(&third),
        "2 items written, 449 unchanged, 0 lines refused\n"
    );
    // An index that somebody dropped comes back.
    qdrant.drop_index("items", "locations");
    qdrant.reset_calls();
    import(&qdrant, &items, &[]);
    assert_eq!(qdrant.calls("CreateFieldIndex"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collection_of_an_older_version_gets_the_vector_of_tags_where_qdrant_can_add_it() {
    let qdrant = QdrantServer::start().await;
    qdrant.create_collection("items", 8, Distance::Cosine);
    let payload = json!({"tags": [{"facet": "theme", "label": "the sea"}]});
    for id in 0..700_u64 {
        qdrant.insert("items", id, payload.clone(), None);
    }
    let items = file(&[line(0, 8)]);
    qdrant.fail_rpc("CreateVectorName", Code::Unimplemented, "");
    let (_, err) = printed(&import(&qdrant, &items, &[]));
    assert!(err.contains("gets no vector of tags"), "{err}");
    qdrant.heal();
    let second = import(&qdrant, &items, &[]);
    let (_, err) = printed(&second);
    let added = "the vector of tags was added to 701 items";
    assert!(err.contains(added), "{err}");
    assert_eq!(
        counted(&second),
        "0 items written, 1 unchanged, 0 lines refused\n"
    );
    let (_, err) = printed(&import(&qdrant, &items, &[]));
    assert!(!err.contains("vector of tags"), "{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_lines_are_skipped_and_listed_and_the_exit_code_says_so() {
    let qdrant = QdrantServer::start().await;
    let items = file(&[
        line(0, 8),
        "{oops".to_owned(),
        String::new(),
        line(0, 8),
        r#"{"id": "", "title": 3}"#.to_owned(),
        line(1, 8),
    ]);
    let output = import(&qdrant, &items, &[]);
    let (_, err) = printed(&output);
    assert_eq!(output.status.code(), Some(3), "{err}");
    assert_eq!(
        counted(&output),
        "2 items written, 0 unchanged, 3 lines refused\n"
    );
    for part in [
        "line 2: not JSON",
        "line 4: id: the same as in line 1",
        "line 5: id:",
        "title:",
    ] {
        assert!(err.contains(part), "{part:?} is not in:\n{err}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_is_not_text_or_too_long_is_refused() {
    let qdrant = QdrantServer::start().await;
    let mut bytes = line(0, 8).into_bytes();
    bytes.extend(b"\n{\"id\":\"\xff\"}\r\n");
    bytes.extend(std::iter::repeat_n(b'x', 5 << 20));
    bytes.extend(b"\r\n");
    bytes.extend(line(1, 8).into_bytes());
    let mut items = NamedTempFile::new().unwrap();
    items.write_all(&bytes).unwrap();
    let output = import(&qdrant, &items, &[]);
    let (_, err) = printed(&output);
    assert_eq!(
        counted(&output),
        "2 items written, 0 unchanged, 2 lines refused\n",
        "{err}"
    );
    assert!(
        err.contains("line 2: not text") && err.contains("line 3: longer than"),
        "{err}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn standard_input_and_pipes_are_imported() {
    let qdrant = QdrantServer::start().await;
    let lines = format!("{}\n{}\n", line(0, 8), line(1, 8));
    for path in ["-", "/dev/stdin"] {
        let mut child = recsys(&["catalog", "import", path])
            .env("QDRANT_API_URL", qdrant.url())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(lines.as_bytes()).unwrap();
        drop(stdin);
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{:?}", printed(&output));
    }
    assert_eq!(qdrant.points_count("items"), 2);

    let empty = recsys(&["catalog", "import", "-", "--dry-run"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(
        printed(&empty).0,
        "0 items would be imported, 0 lines refused; nothing was written\n\
         0 items: 0 with a title, 0 with tags, 0 with a vector, 0 with a picture\n"
    );
    let mut table = recsys(&["catalog", "import", "-", "--dry-run"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = table.stdin.take().unwrap();
    stdin.write_all(b"artikel,name\n1,Lamp\n").unwrap();
    drop(stdin);
    let output = table.wait_with_output().unwrap();
    let (_, err) = printed(&output);
    let text = "recsys: standard input: no column is known as id; the columns are artikel, name";
    assert!(err.starts_with(text), "{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_needs_no_qdrant() {
    let items = file(&[line(0, 8)]);
    let path = items.path().to_str().unwrap();
    let without = recsys(&["catalog", "import", path, "--dry-run"])
        .output()
        .unwrap();
    assert!(without.status.success(), "{:?}", printed(&without));
    assert_eq!(
        printed(&without),
        (
            "1 items would be imported, 0 lines refused; nothing was written\n\
             1 items: 1 with a title, 1 with tags, 1 with a vector, 0 with a picture\n"
                .to_owned(),
            String::new()
        )
    );
    let output = recsys(&["catalog", "import", path, "--dry-run"])
        .env("QDRANT_API_URL", "http://127.0.0.1:1")
        .output()
        .unwrap();
    let (out, err) = printed(&output);
    assert!(out.contains("1 items would be imported"), "{out}");
    for part in [
        "qdrant describe failed",
        "Connection refused",
        "the file is checked without the collection's vector size",
    ] {
        assert!(err.contains(part), "{part:?} is not in:\n{err}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vector_of_another_size_stops_it_before_anything_is_written() {
    let qdrant = QdrantServer::start().await;
    let items = file(&[line(0, 8), line(1, 8), line(2, 7)]);
    let output = import(&qdrant, &items, &[]);
    let (_, err) = printed(&output);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        err.contains("line 3: vector has 7 numbers, the first one has 8"),
        "{err}"
    );
    assert_eq!(qdrant.calls("CreateCollection"), 0);

    let eight = file(&[line(0, 8)]);
    assert!(import(&qdrant, &eight, &[]).status.success());
    let output = import(&qdrant, &file(&[line(1, 7)]), &[]);
    let (_, err) = printed(&output);
    assert_eq!(output.status.code(), Some(2));
    let text = r#"line 1: vector has 7 numbers, those of collection "items" have 8; nothing was"#;
    assert!(err.contains(text), "{err}");
    assert_eq!(qdrant.points_count("items"), 1);

    // Made by somebody else while the file is checked.
    qdrant.drop_collection("items");
    qdrant.recreate_after("GetCollection", "items", 9);
    let output = import(&qdrant, &eight, &[]);
    let (_, err) = printed(&output);
    assert_eq!(output.status.code(), Some(2), "{err}");
    let text = r#"the vectors have 8 numbers, those of collection "items" have 9; nothing was"#;
    assert!(err.contains(text), "{err}");
    assert_eq!(qdrant.points_count("items"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn items_that_the_collection_refuses_are_listed_by_their_lines() {
    let qdrant = QdrantServer::start().await;
    let mut lines: Vec<String> = (0..202).map(|number| line(number, 8)).collect();
    lines.insert(0, "{oops".to_owned());
    // Recreated by another program after the first 200 are written.
    qdrant.recreate_after("Upsert", "items", 9);
    let output = import(&qdrant, &file(&lines), &[]);
    let (_, err) = printed(&output);
    assert_eq!(output.status.code(), Some(3), "{err}");
    assert_eq!(
        counted(&output),
        "200 items written, 0 unchanged, 3 lines refused\n"
    );
    assert!(err.contains("line 1: not JSON"), "{err}");
    for number in [202, 203] {
        let text =
            format!("line {number}: vector has 8 numbers, those of collection \"items\" have 9");
        assert!(err.contains(&text), "{err}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_cannot_run_names_its_fix() {
    let qdrant = QdrantServer::start().await;
    let items = file(&[line(0, 8)]);
    let path = items.path().to_str().unwrap();
    let without = recsys(&["catalog", "import", path]).output().unwrap();
    assert_eq!(without.status.code(), Some(2));
    assert!(printed(&without).1.contains("QDRANT_API_URL"));

    let output = recsys(&["catalog", "import", "/nowhere.jsonl"])
        .env("QDRANT_API_URL", qdrant.url())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(printed(&output).1.contains("/nowhere.jsonl"));

    qdrant.fail_rpc("Upsert", Code::InvalidArgument, "Wrong input: not today");
    let output = import(&qdrant, &items, &[]);
    let (_, err) = printed(&output);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        err.contains("not today") && err.contains("run the same command again"),
        "{err}"
    );
    // A failure that passes is waited out.
    qdrant.heal();
    qdrant.fail_next(2, Code::Unavailable, "restarting");
    assert!(import(&qdrant, &items, &[]).status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_settings_stop_it_at_once_and_are_named() {
    let qdrant = QdrantServer::start().await;
    qdrant.require_api_key("open sesame");
    let items = file(&[line(0, 8)]);
    let output = import(&qdrant, &items, &[]);
    let (_, err) = printed(&output);
    assert_eq!(output.status.code(), Some(2), "{err}");
    assert!(err.contains("set QDRANT_API_KEY"), "{err}");
    assert!(!err.contains("run the same command again"), "{err}");
    assert_eq!(qdrant.all_calls(), 1, "it was not tried again");

    let rest = HttpOnly::start().await;
    let output = recsys(&["catalog", "import", items.path().to_str().unwrap()])
        .env("QDRANT_API_URL", rest.url())
        .output()
        .unwrap();
    let (_, err) = printed(&output);
    assert_eq!(output.status.code(), Some(2), "{err}");
    assert!(
        err.contains("6334") && err.contains("QDRANT_GRPC_PORT"),
        "{err}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sample_catalogue_can_be_imported() {
    let qdrant = QdrantServer::start().await;
    let sample = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/sample-catalogue.jsonl");
    let output = recsys(&["catalog", "import", sample])
        .env("QDRANT_API_URL", qdrant.url())
        .output()
        .unwrap();
    assert!(output.status.success(), "{:?}", printed(&output));
    assert_eq!(qdrant.points_count("items"), 110);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gzipped_table_of_products_is_imported_with_a_map() {
    let qdrant = QdrantServer::start().await;
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    let table = "artikel;name;category\n17;Kettle;Kitchen\n;Lamp;Office\n18.0;Desk;Office\n";
    packed.write_all(table.as_bytes()).unwrap();
    let mut items = NamedTempFile::new().unwrap();
    items.write_all(&packed.finish().unwrap()).unwrap();
    let output = import(&qdrant, &items, &[]);
    let (_, err) = printed(&output);
    assert_eq!(output.status.code(), Some(2), "{err}");
    assert!(
        err.contains("no column is known as id") && err.contains("--map id=artikel"),
        "{err}"
    );
    let output = import(&qdrant, &items, &["--map", "id=artikel"]);
    let (out, err) = printed(&output);
    assert_eq!(output.status.code(), Some(3), "{err}");
    assert_eq!(
        out,
        "2 items written, 0 unchanged, 1 lines refused\n\
         2 items: 2 with a title, 2 with tags, 0 with a vector, 0 with a picture\n"
    );
    assert_eq!(err, "line 3: id: must be set\n");
    let again = import(&qdrant, &items, &["--map", "id=artikel"]);
    assert_eq!(
        counted(&again),
        "0 items written, 2 unchanged, 1 lines refused\n"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_of_an_attribute_is_made_once() {
    let qdrant = QdrantServer::start().await;
    let items = file(&[line(1, 8)]);
    assert!(import(&qdrant, &items, &[]).status.success());
    let index = |arguments: [&str; 2]| {
        let [field, kind] = arguments;
        let mut command = recsys(&["catalog", "index", field, kind]);
        let output = command
            .env("QDRANT_API_URL", qdrant.url())
            .output()
            .unwrap();
        let (said, complained) = printed(&output);
        (output.status.code(), format!("{said}{complained}"))
    };
    let made = qdrant.calls("CreateFieldIndex");
    for (arguments, code, text) in [
        (["price", "float"], 0, "price has an index now"),
        (["price", "float"], 0, "price has this index already"),
        (
            ["price", "keyword"],
            2,
            "price has an index of another type already: float",
        ),
        (["stock.nl", "integer"], 0, "stock.nl has an index now"),
        (
            ["title", "keyword"],
            2,
            "title is a field of items, not an attribute",
        ),
        (
            ["years", "integer"],
            2,
            "recsys catalog import makes the indexes",
        ),
        (
            ["a..b", "keyword"],
            2,
            "\"a..b\" is not a path of attributes",
        ),
        (["price", "text"], 2, "invalid value 'text'"),
    ] {
        let (status, said) = index(arguments);
        assert_eq!(status, Some(code), "{arguments:?}: {said}");
        assert!(said.contains(text), "{arguments:?}: {said}");
    }
    assert_eq!(qdrant.calls("CreateFieldIndex"), made + 2);
}
