//! `recsys eval` and `recsys tune` as people run them.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Output,
};

use recsys::{
    eval::world::{World, WorldSettings, catalogue_lines, event_lines, generate},
    tables::fields::{EVENT_FIELDS, ITEM_FIELDS},
};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::program::recsys;

/// Some hundred events.
fn small_shop() -> WorldSettings {
    WorldSettings {
        users: 40,
        items: 60,
        visits: 3.0,
        ..WorldSettings::shop(5)
    }
}

struct Files {
    directory: TempDir,
}

impl Files {
    fn of(world: &World) -> Self {
        let files = Self {
            directory: tempfile::tempdir().unwrap(),
        };
        let lines = |lines: Vec<String>| lines.join("\n") + "\n";
        files.write("events.jsonl", &lines(event_lines(world).collect()));
        files.write("catalogue.jsonl", &lines(catalogue_lines(world).collect()));
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, contents: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, contents).unwrap();
        path
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// Runs a command on the shop; `{}` in an argument is the directory.
    fn run(&self, command: &str, arguments: &[&str]) -> Output {
        let at = self.directory.path().display().to_string();
        let events = format!("{at}/events.jsonl");
        let catalogue = format!("{at}/catalogue.jsonl");
        let mut all = vec![command.to_owned()];
        for (flag, value) in [("--events", events), ("--catalog", catalogue)] {
            if !arguments.contains(&flag) {
                all.extend([flag.to_owned(), value]);
            }
        }
        all.extend(arguments.iter().map(|argument| argument.replace("{}", &at)));
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        recsys(&all).output().unwrap()
    }

    fn eval(&self, arguments: &[&str]) -> Output {
        self.run("eval", arguments)
    }
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn json(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn the_same_seed_gives_the_same_bytes_on_any_number_of_threads() {
    let files = Files::of(&generate(&small_shop()));
    files.write("a.toml", "mmr_lambda = 0.9\n");
    files.write("b.toml", "[fusion]\ntag = 2.0\n");
    let mut outputs = Vec::new();
    for threads in ["1", "2", "5"] {
        let output = files.eval(&[
            "--ranking",
            "{}/a.toml",
            "--ranking",
            "{}/b.toml",
            "--threads",
            threads,
            "--json",
            "{}/report.json",
            "--html",
            "{}/report.html",
            "--lists",
            "{}/lists.jsonl",
        ]);
        assert!(output.status.success(), "{}", stderr(&output));
        assert_eq!(stderr(&output), "");
        outputs.push(["report.json", "report.html", "lists.jsonl"].map(|name| files.read(name)));
    }
    assert_eq!(outputs[0], outputs[1]);
    assert_eq!(outputs[0], outputs[2]);

    let report: Value = serde_json::from_str(&outputs[0][0]).unwrap();
    let names: Vec<&str> = report["rankers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|ranker| ranker["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "a.toml",
            "b.toml",
            "random",
            "most popular",
            "co-occurrence"
        ]
    );
    assert_eq!(report["differences"].as_array().unwrap().len(), 7);
    let lists = report["lists"]["lists"].as_u64().unwrap();
    assert!(lists > 200, "{lists}");
    let histories = report["rankers"][0]["by_history"].as_array().unwrap();
    let of_histories: u64 = histories
        .iter()
        .map(|one| one["lists"].as_u64().unwrap())
        .sum();
    assert_eq!(of_histories, lists);
    assert_eq!(outputs[0][2].lines().count() as u64, 5 * lists);

    let other = files.eval(&["--seed", "1", "--json", "{}/other.json"]);
    assert!(other.status.success());
    let random = |report: &Value, name: &str| {
        let rankers = report["rankers"].as_array().unwrap().clone();
        rankers
            .into_iter()
            .find(|ranker| ranker["name"] == name)
            .unwrap()
    };
    let other = json(&files.path("other.json"));
    assert_ne!(random(&report, "random"), random(&other, "random"));
}

#[test]
fn the_printed_report_says_what_was_found_and_how_fast() {
    let files = Files::of(&generate(&small_shop()));
    let output = files.eval(&[]);
    let text = stdout(&output);
    for part in [
        "of the liked items could be in their list",
        "note: the events were not in the order of time",
        "events repeat an earlier one and were left out",
        "HR@10",
        "defaults",
        "most popular",
        "95 % interval",
        "5+ (",
        "defaults − most popular",
        "p99",
        "Lists of “defaults” held",
    ] {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
    assert!(!text.contains('\u{1b}'));
}

#[test]
fn a_measure_below_its_threshold_is_exit_code_4() {
    let files = Files::of(&generate(&small_shop()));
    let met = files.eval(&["--fail-below", "hr@10=0.0", "--fail-below", "coverage=0.1"]);
    assert_eq!(met.status.code(), Some(0), "{}", stderr(&met));
    let missed = files.eval(&["--fail-below", "NDCG@10=0.99"]);
    assert_eq!(missed.status.code(), Some(4));
    assert!(
        stderr(&missed).contains("NDCG@10 of defaults is 0."),
        "{}",
        stderr(&missed)
    );
    let unknown = files.eval(&["--fail-below", "HR@20=0.1"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(stderr(&unknown).contains("there are HR@10, NDCG@10, MRR@10, coverage"));
}

#[test]
fn wrong_input_is_a_sentence_that_says_what_to_do() {
    let files = Files::of(&generate(&small_shop()));
    let other = files.write("other.csv", "id,title\nA,Kettle\nB,Lamp\n");
    let no_likes = files.write("noted.csv", "user,item,ts,type\nu,p00001,1,noticed\n");
    let no_items = files.write("searches.csv", "user,ts,query\nu,1,lamp\n");
    let bad = files.write("bad.csv", "user,item,ts\nu,p00001,soon\n");
    let text = |path: &Path| path.display().to_string();
    let [other, no_likes, no_items, bad] = [other, no_likes, no_items, bad].map(|path| text(&path));
    for (arguments, expected) in [
        (
            &["--map", "content_id=produkt"][..],
            "--map content_id=produkt: no row has this column",
        ),
        (
            &["--catalog", &other],
            "none of its 2 items is named by an event; the catalogue has items such as \"A\", the \
             events such as \"p0",
        ),
        (
            &["--events", &no_likes],
            "no event counts as a like, so there is nothing to predict; the event types are \
             noticed (1)",
        ),
        (
            &["--events", &no_items],
            "no event names an item; say which column does",
        ),
        (
            &["--events", &bad],
            "no row is an event; the first reason: line 2: event_time must be a time",
        ),
        (
            &["--events", "-", "--train", "-"],
            "give standard input (-) to one of the files only",
        ),
        (&["--events", "missing.csv"], "cannot read missing.csv"),
        (&["--from-event", "100000"], "no list was made"),
        (
            &["--json", "no/such/report.json"],
            "cannot write no/such/report.json",
        ),
    ] {
        let output = files.eval(arguments);
        let said = stderr(&output) + &stdout(&output);
        assert!(said.contains(expected), "{arguments:?}: {said}");
        let is_warning = expected.contains("no row has");
        assert_eq!(
            output.status.code(),
            Some(if is_warning { 0 } else { 2 }),
            "{said}"
        );
    }
}

#[test]
fn a_log_without_different_times_is_noted_and_tune_is_proposed_unless_lists_are_better() {
    let files = Files::of(&generate(&small_shop()));
    let rows = ["u,a", "u,b", "v,b", "v,c", "w,a", "w,c"].map(|row| format!("{row},1795977592\n"));
    files.write("flat.csv", &format!("user,item,ts\n{}", rows.concat()));
    files.write("flat-items.csv", "id\na\nb\nc\n");
    let flat = ["--events", "{}/flat.csv", "--catalog", "{}/flat-items.csv"];
    let text = stdout(&files.eval(&flat));
    let proposal = "recsys tune, on the same files, searches for better weights.";
    assert!(
        text.contains("note: all events have the same time"),
        "{text}"
    );
    assert!(text.contains("no clear difference"), "{text}");
    assert!(text.trim_end().ends_with(proposal), "{text}");

    let shop = |name: &str| {
        format!(
            "{}/tests/fixtures/bring/shop/{name}",
            env!("CARGO_MANIFEST_DIR")
        )
    };
    let (clicks, products) = (shop("clicks.csv"), shop("products.csv"));
    let shop = [
        "--events",
        &clicks,
        "--catalog",
        &products,
        "--seen",
        "allow",
    ];
    let text = stdout(&files.eval(&[&shop[..], &["--from-event", "900"]].concat()));
    assert!(text.contains(" more."), "{text}");
    assert!(!text.contains("the same time"), "{text}");
    assert!(!text.contains(proposal), "{text}");
}

#[test]
fn events_outside_of_the_window_are_counted_and_the_flag_is_named() {
    let files = Files::of(&generate(&small_shop()));
    let output = files.eval(&["--window-days", "7"]);
    let text = stdout(&output);
    assert!(
        text.contains("events are older than 7 days at the end of the log"),
        "{text}"
    );
    assert!(
        text.contains("leave out --window-days to count all"),
        "{text}"
    );
}

#[test]
fn every_form_of_a_file_gives_the_same_numbers() {
    let files = Files::of(&generate(&small_shop()));
    let events: Vec<Value> = files
        .read("events.jsonl")
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let cell = |event: &Value, name: &str| match &event[name] {
        Value::String(text) => text.clone(),
        Value::Array(list) => {
            let texts: Vec<&str> = list.iter().filter_map(Value::as_str).collect();
            texts.join("|")
        }
        Value::Number(number) => number.to_string(),
        Value::Null | Value::Bool(_) | Value::Object(_) => String::new(),
    };
    let names = [
        "user_id",
        "event_type",
        "event_time",
        "event_id",
        "session_id",
        "content_id",
        "dwell_seconds",
        "impressions",
    ];
    let rows = |separator: &str| -> String {
        let row = |event: &Value| names.map(|name| cell(event, name)).join(separator) + "\n";
        events.iter().map(row).collect()
    };
    let csv = "kunde,event,ts,event_id,session,sku,dwell,impressions\n".to_owned() + &rows(",");
    files.write("events.csv", &csv);
    files.write("headless.tsv", &rows("\t"));
    files.write(
        "events.json",
        &serde_json::to_string_pretty(&events).unwrap(),
    );
    let reports: Vec<Value> = [
        &["--events", "{}/events.jsonl"][..],
        &["--events", "{}/events.json"],
        &["--events", "{}/events.csv", "--map", "user_id=kunde"],
        &[
            "--events",
            "{}/headless.tsv",
            "--map",
            "user_id=1,event_type=2,event_time=3,event_id=4,session_id=5",
            "--map",
            "content_id=6,dwell_seconds=7,impressions=8",
        ],
    ]
    .into_iter()
    .map(|arguments| {
        let arguments = [arguments, &["--json", "{}/report.json"]].concat();
        let output = files.eval(&arguments);
        assert!(output.status.success(), "{}", stderr(&output));
        json(&files.path("report.json"))
    })
    .collect();
    assert!(reports.iter().all(|report| *report == reports[0]));
}

#[test]
fn training_events_are_learned_and_make_no_lists() {
    let files = Files::of(&generate(&small_shop()));
    let text = files.read("events.jsonl");
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_by_key(|line| {
        let event: Value = serde_json::from_str(line).unwrap();
        event["event_time"].as_str().unwrap().to_owned()
    });
    let (train, test) = lines.split_at(lines.len() / 2);
    files.write("train.jsonl", &train.join("\n"));
    files.write("test.jsonl", &test.join("\n"));
    let report = |arguments: &[&str]| {
        let output = files.eval(&[arguments, &["--json", "{}/report.json"]].concat());
        assert!(output.status.success(), "{}", stderr(&output));
        json(&files.path("report.json"))
    };
    let split = report(&["--events", "{}/test.jsonl", "--train", "{}/train.jsonl"]);
    let first: Value = serde_json::from_str(test[0]).unwrap();
    let whole = report(&["--from", first["event_time"].as_str().unwrap()]);
    assert_eq!(split["rankers"], whole["rankers"]);
    assert!(split["data"]["training_events"].as_u64().unwrap() > 100);
}

#[test]
fn the_page_needs_nothing_else_and_escapes_what_the_data_says() {
    let mut world = generate(&small_shop());
    for item in &mut world.catalogue {
        item.title = "<script>alert('\"&')</script>".to_owned();
        for tag in &mut item.tags {
            tag.label = "<img onerror=x>".to_owned();
        }
    }
    let files = Files::of(&world);
    files.write("<b>.toml", "mmr_lambda = 0.9\n");
    let output = files.eval(&["--ranking", "{}/<b>.toml", "--html", "{}/report.html"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let page = files.read("report.html");
    assert!(page.contains("&lt;script&gt;alert(&#39;&quot;&amp;&#39;)&lt;/script&gt;"));
    assert!(page.contains("&lt;b&gt;.toml"));
    for absent in [
        "<script", "<img", "<b>.toml", "http://", "https://", "url(", "@import", "src=",
    ] {
        assert!(!page.contains(absent), "{absent:?} is in the page");
    }
    for part in [
        "<svg",
        "What was measured",
        "For whom it is better",
        "Examples",
        "class=\"hit\"",
        "How to read this",
    ] {
        assert!(page.contains(part), "{part:?} is not in the page");
    }
    let user = world.events[0].user_id.as_str();
    assert!(!page.contains(user), "a user is in the page");
}

#[test]
fn tune_finds_the_weight_of_what_was_planted_and_reports_on_held_out_lists_alone() {
    let settings = WorldSettings {
        users: 60,
        items: 80,
        visits: 4.0,
        ..WorldSettings::tags_only(3)
    };
    let files = Files::of(&generate(&settings));
    // The scorers without information have the weight; the informative one has none.
    let base = "[fusion]\ntag = 0.0\nsemantic = 1.0\naffinity = 1.0\nrecency = 0.5\n\
                collaborative = 0.0\npopularity = 0.0\n\
                [exploration]\nenabled = false\n";
    files.write("base.toml", base);
    let output = files.run(
        "tune",
        &[
            "--ranking",
            "{}/base.toml",
            "--trials",
            "16",
            "--out",
            "{}/tuned.toml",
            "--json",
            "{}/tuned.json",
            "--held-out",
            "0.4",
            "--k",
            "5",
        ],
    );
    assert!(output.status.success(), "{}", stderr(&output));
    let tuned = files.read("tuned.toml");
    let table: toml::Table = tuned.parse().unwrap();
    let weight = |name: &str| table["fusion"].get(name).and_then(toml::Value::as_float);
    let tag = weight("tag").unwrap_or(0.45);
    let semantic = weight("semantic").unwrap_or(0.2);
    assert!(tag > 2.0 * semantic, "{tuned}");
    assert!(tuned.starts_with("# Written by recsys tune"), "{tuned}");
    assert!(tuned.contains("# difference: HR@5 +"), "{tuned}");
    assert_eq!(table["exploration"]["enabled"].as_bool(), Some(false));
    assert!(
        !table.contains_key("half_life_days"),
        "only what differs: {tuned}"
    );

    let report = json(&files.path("tuned.json"));
    let difference = report["differences"]
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["ranker"] == "tuned.toml" && one["against"] == "base.toml")
        .unwrap();
    assert!(
        difference["measures"]["NDCG@5"]["low"].as_f64().unwrap() > 0.0,
        "{difference}"
    );

    // The held-out lists are what eval makes after the first part.
    let output = files.eval(&[
        "--ranking",
        "{}/base.toml",
        "--ranking",
        "{}/tuned.toml",
        "--warmup",
        "0.6",
        "--k",
        "5",
        "--json",
        "{}/again.json",
    ]);
    assert!(output.status.success(), "{}", stderr(&output));
    let again = json(&files.path("again.json"));
    assert_eq!(again["lists"], report["lists"]);
    assert_eq!(
        again["rankers"][1]["measures"],
        report["rankers"][1]["measures"]
    );

    let exists = files.run("tune", &["--out", "{}/tuned.toml"]);
    assert_eq!(exists.status.code(), Some(2));
    assert!(stderr(&exists).contains("exists already"));
}

#[test]
fn the_documentation_lists_every_name_of_a_column() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/reference/files.md");
    let text = fs::read_to_string(path).unwrap();
    let (events, items) = text.split_once("Items; other columns").unwrap();
    for (section, fields) in [(events, &EVENT_FIELDS[..]), (items, &ITEM_FIELDS)] {
        for field in fields {
            let start = format!("| `{}` |", field.name);
            let row = section.lines().find(|line| line.starts_with(&start));
            let row = row.unwrap_or_else(|| panic!("no row of {}", field.name));
            let own = field.name.replace('_', "");
            for name in field.aliases.iter().filter(|name| **name != own) {
                assert!(row.contains(&format!("`{name}`")), "{name} is not in {row}");
            }
        }
    }
}
