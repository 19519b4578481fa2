//! The program from the command line.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    process::{Output, Stdio},
};

use clap::CommandFactory as _;
use recsys::config::Cli;
use tempfile::NamedTempFile;

use crate::support::program::{Served, recsys};

fn run(arguments: &[&str]) -> Output {
    recsys(arguments).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn file(contents: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(contents.as_bytes()).unwrap();
    file
}

#[test]
fn the_tour_succeeds_and_shows_the_main_use_case() {
    let output = run(&["quickstart", "--exit", "--listen-addr", "127.0.0.1:0"]);
    let printed = stdout(&output);
    assert!(output.status.success(), "{}", stderr(&output));
    for part in [
        "300 synthetic visitors came before: 1800 events",
        "Often chosen together with “",
        "walks away after 2 s",
        "stay unopened",
        "comes back to",
        "BatchIngestEvents  13 events, 13 accepted",
        "DUPLICATE",
        "likes",
        "dislikes",
        "latest items",
        "why",
        "* exploration",
        "event names of a shop",
        "purchase",
        "LIKE",
        "NONE: not stored",
        "3 liked, 1 disliked",
        "grpcurl -plaintext",
    ] {
        assert!(printed.contains(part), "{part:?} is not in:\n{printed}");
    }
    assert!(
        !printed.contains('\u{1b}'),
        "no colour when not on a terminal"
    );
    assert_eq!(stderr(&output), "");
}

#[test]
fn only_a_store_outside_private_networks_without_tls_is_warned_of() {
    let log = |redis: &str, qdrant: &str| {
        let served = Served::start(
            recsys(&["serve", "--redis-url", redis])
                .env("QDRANT_API_URL", qdrant)
                .env("QDRANT_API_KEY", "hunter3"),
        );
        served.seen.clone()
    };
    let printed = log(
        "redis://:hunter2@redis.example.com:6379",
        "http://qdrant.example.com:6333",
    );
    for text in [
        "REDIS_URL leads out of private networks",
        "begin it with rediss://",
        "QDRANT_API_URL leads out of private networks",
        "begin it with https://",
    ] {
        assert!(printed.contains(text), "{text:?} is not in:\n{printed}");
    }
    assert!(!printed.contains("hunter"), "{printed}");
    for (redis, qdrant) in [
        ("rediss://redis.example.com", "https://qdrant.example.com"),
        ("redis://127.0.0.1:1", "http://127.0.0.1:1"),
    ] {
        let printed = log(redis, qdrant);
        assert!(!printed.contains("leads out"), "{printed}");
    }
}

#[test]
fn the_tour_is_the_same_each_time_and_fits_a_page() {
    let ranked = |output: &Output| -> Vec<String> {
        let printed = stdout(output);
        let list = printed.split("4. What").nth(1).unwrap().to_owned();
        list.lines()
            .take_while(|line| !line.contains("request "))
            .map(str::to_owned)
            .collect()
    };
    let arguments = ["quickstart", "--exit", "--listen-addr", "127.0.0.1:0"];
    let (first, second) = (run(&arguments), run(&arguments));
    assert_eq!(ranked(&first), ranked(&second));
    assert!(ranked(&first).len() > 10);
    assert!(
        stdout(&first)
            .lines()
            .all(|line| line.starts_with("grpcurl") || line.chars().count() <= 120)
    );
}

#[test]
fn the_tour_goes_on_without_its_console_if_the_usual_address_is_in_use() {
    // Another program may have it already.
    let _taken = std::net::TcpListener::bind("127.0.0.1:50080");
    let mut command = recsys(&["quickstart", "--listen-addr", "127.0.0.1:0"]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let last = lines.find(|line| line.as_ref().unwrap().starts_with("The console is"));
    child.kill().unwrap();
    child.wait().unwrap();
    let last = last.unwrap().unwrap();
    assert!(last.contains("127.0.0.1:50080"), "{last}");
    assert!(last.contains("RECSYS_CONSOLE_ADDR"), "{last}");

    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let output = recsys(&["quickstart", "--exit", "--listen-addr", "127.0.0.1:0"])
        .env(
            "RECSYS_CONSOLE_ADDR",
            taken.local_addr().unwrap().to_string(),
        )
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(stderr(&output).contains("RECSYS_CONSOLE_ADDR"));
}

#[test]
fn the_tour_works_on_any_catalogue() {
    let bare = file("{\"id\":\"it's \\\"1\\\"\"}\n{\"id\":\"2\"}\n");
    let tagged: String = (0..30)
        .map(|index| {
            format!(
                "{{\"id\":\"x{index}\",\"title\":\"Film {index}\",\"tags\":[{{\"label\":\"genre {}\"}}],\"vector\":[{index},1,{}]}}\n",
                index % 3,
                index % 5
            )
        })
        .collect();
    let tagged = file(&tagged);
    let empty = file("\n");
    for (catalogue, expected) in [(&bare, "score"), (&tagged, "genre"), (&empty, "no items")] {
        let output = recsys(&["quickstart", "--exit", "--listen-addr", "127.0.0.1:0"])
            .env("CATALOG_PATH", catalogue.path())
            .output()
            .unwrap();
        let printed = stdout(&output);
        assert!(output.status.success(), "{}", stderr(&output));
        assert!(
            printed.contains(expected),
            "{expected:?} is not in:\n{printed}"
        );
    }
}

#[test]
fn a_server_answers_the_healthcheck_and_stops_on_sigterm_and_ctrl_c() {
    // Ctrl-C skips the drain delay.
    for (signal, delay) in [("-TERM", "0s"), ("-INT", "1h")] {
        let mut served = Served::start(recsys(&[]).env("RECSYS_DRAIN_DELAY", delay));
        assert_eq!(stdout(&served.healthcheck(&[])), "SERVING\n");
        for service in ["liveness", "readiness", "recsys.v1.RecommenderService", ""] {
            let output = served.healthcheck(&["--service", service]);
            assert!(output.status.success(), "{service}: {}", stderr(&output));
        }
        let unknown = served.healthcheck(&["--service", "unknown"]);
        assert_eq!(unknown.status.code(), Some(1));
        assert!(stderr(&unknown).contains("unknown"));

        served.signal(signal);
        assert!(served.child.wait().unwrap().success(), "{signal}");
        let mut rest = String::new();
        served.log.read_to_string(&mut rest).unwrap();
        assert!(rest.contains("stopped"), "{rest}");

        let gone = served.healthcheck(&["--timeout", "500ms"]);
        assert_eq!(gone.status.code(), Some(1));
        let printed = stderr(&gone);
        assert!(printed.contains("no recsys server answers"), "{printed}");
    }
}

#[test]
fn in_memory_stores_are_warned_of() {
    let mut child = recsys(&["serve", "--listen-addr", "127.0.0.1:0"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines: Vec<String> = BufReader::new(child.stderr.take().unwrap())
        .lines()
        .map(Result::unwrap)
        .take(3)
        .collect();
    child.kill().unwrap();
    child.wait().unwrap();
    let log = lines.join("\n");
    assert!(
        log.contains("WARN") && log.contains("REDIS_URL is not set"),
        "{log}"
    );
    assert!(log.contains("QDRANT_API_URL is not set"), "{log}");
}

#[test]
fn an_unreachable_redis_is_logged_once_with_its_cause_and_without_its_password() {
    let served = Served::start(recsys(&["serve"]).env("REDIS_URL", "redis://:hunter2@127.0.0.1:1"));
    let health = served.healthcheck(&["--service", "recsys.v1.RecommenderService"]);
    assert!(
        stderr(&health).contains("NOT_SERVING"),
        "{}",
        stderr(&health)
    );
    assert!(
        served
            .healthcheck(&["--service", "liveness"])
            .status
            .success()
    );

    let Served { child, log, .. } = &mut { served };
    let mut printed = Vec::new();
    for line in log.by_ref().lines().map(Result::unwrap) {
        let done = line.contains("dependency does not answer");
        printed.push(line);
        if done {
            break;
        }
    }
    child.kill().unwrap();
    printed.extend(log.by_ref().lines().map(Result::unwrap));
    let outage: Vec<&String> = printed
        .iter()
        .filter(|line| line.contains("refused"))
        .collect();
    assert_eq!(outage.len(), 1, "{printed:#?}");
    assert!(outage[0].contains("user state"), "{}", outage[0]);
    assert!(
        !printed.iter().any(|line| line.contains("hunter2")),
        "{printed:#?}"
    );
}

#[test]
fn an_empty_variable_counts_as_unset() {
    let output = recsys(&["quickstart", "--exit"])
        .envs([
            ("REDIS_URL", ""),
            ("RECSYS_RANKING_PATH", ""),
            ("CATALOG_PATH", ""),
            ("MODEL_MAX_AGE", ""),
            ("RECSYS_LISTEN_ADDR", "127.0.0.1:0"),
        ])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
}

#[test]
fn bad_settings_and_files_are_refused_with_the_place_of_the_mistake() {
    let unknown_key = file("mmr_lambda = 0.5\n[fusion]\ntagg = 1.0\n");
    let bad_values = file("mmr_lambda = 7.0\nhalf_life_days = -1.0\n");
    let bad_line = file("{\"id\":\"a\"}\n{\"id\":\"b\",\"lat\":99,\"lon\":0}\n{oops\n");
    let odd_vector = file("{\"id\":\"a\",\"vector\":[1,0]}\n{\"id\":\"b\",\"vector\":[1]}\n");
    let path = |file: &NamedTempFile| file.path().to_str().unwrap().to_owned();
    let cases: Vec<(&str, String, Vec<&str>)> = vec![
        (
            "RECSYS_RANKING_PATH",
            path(&unknown_key),
            vec!["tagg", "line 3"],
        ),
        (
            "RECSYS_RANKING_PATH",
            path(&bad_values),
            vec!["mmr_lambda", "half_life_days"],
        ),
        (
            "RECSYS_RANKING_PATH",
            "/nonexistent".into(),
            vec!["/nonexistent"],
        ),
        (
            "CATALOG_PATH",
            path(&bad_line),
            vec!["line 2: lat, lon", "line 3: not JSON"],
        ),
        ("CATALOG_PATH", path(&odd_vector), vec!["line 2: vector"]),
        ("CATALOG_PATH", "/nonexistent".into(), vec!["/nonexistent"]),
        (
            "RECSYS_LISTEN_ADDR",
            "everywhere".into(),
            vec!["--listen-addr"],
        ),
        (
            "EVENT_WINDOW_DAYS",
            "0".into(),
            vec!["--event-window-days", "1 to 3650"],
        ),
        (
            "MODEL_MAX_AGE",
            "soon".into(),
            vec!["--model-max-age", "1h"],
        ),
        (
            "MAX_EVENTS_PER_USER",
            "0".into(),
            vec!["--max-events-per-user"],
        ),
        (
            "RECSYS_LIMITS",
            "limit=5".into(),
            vec!["default_limit 10", "limit 5"],
        ),
        (
            "RECSYS_LIMITS",
            "user_id_bytes=0".into(),
            vec!["user_id_bytes", "at least 1"],
        ),
        ("RECSYS_LOG", "recsys=loud".into(), vec!["log filter"]),
        (
            "RECSYS_LOG",
            "inof".into(),
            vec!["log filter", "\"inof\" is neither a level", "debug"],
        ),
        ("REDIS_URL", "http://:secret@h".into(), vec!["REDIS_URL"]),
        (
            "QDRANT_API_URL",
            "grpc://secret@h:6334".into(),
            vec!["QDRANT_API_URL"],
        ),
    ];
    for (variable, value, expected) in cases {
        let output = recsys(&["serve"]).env(variable, &value).output().unwrap();
        let printed = stderr(&output);
        assert_eq!(
            output.status.code(),
            Some(2),
            "{variable}={value}: {printed}"
        );
        for part in expected {
            assert!(
                printed.contains(part),
                "{variable}={value}: {part:?} is not in:\n{printed}"
            );
        }
        assert!(!printed.contains("secret"), "{printed}");
    }
}

#[test]
fn an_address_in_use_is_reported_with_its_setting() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = run(&["serve", "--listen-addr", &address]);
    assert_eq!(output.status.code(), Some(1));
    let printed = stderr(&output);
    assert!(
        printed.contains(&address) && printed.contains("RECSYS_LISTEN_ADDR"),
        "{printed}"
    );
}

/// The variables of a command and its subcommands.
pub fn variables(command: &clap::Command) -> Vec<String> {
    let own = command.get_arguments();
    let own = own.filter_map(|argument| argument.get_env()?.to_str());
    let below = command.get_subcommands().flat_map(variables);
    own.map(str::to_owned).chain(below).collect()
}

#[test]
fn the_reference_page_and_the_help_name_every_setting() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/reference/settings.md");
    let page = std::fs::read_to_string(path).unwrap();
    let command = Cli::command();
    let settings = variables(&command);
    assert!(settings.len() > 25, "{settings:?}");
    for setting in settings {
        let quoted = format!("`{setting}`");
        assert!(page.contains(&quoted), "{setting} is not in {path}");
    }
    let help = stdout(&run(&["help", "settings"]));
    assert_eq!(help, stdout(&run(&["settings"])));
    let help: Vec<&str> = help.split_whitespace().collect();
    let help = help.join(" ");
    for setting in command.get_arguments() {
        let (flag, variable) = (setting.get_long(), setting.get_env());
        let flag = format!("--{}", flag.unwrap());
        let variable = format!("[env: {}", variable.unwrap().to_str().unwrap());
        for text in [&flag, &variable] {
            assert!(help.contains(text.as_str()), "{text} is not in:\n{help}");
        }
    }
    for heading in ["Redis:", "Qdrant:", "Server:", "TLS:", "User state:"] {
        assert!(help.contains(heading), "{heading}");
    }
}

/// Asserts the help of a command and its subcommands.
fn assert_help(command: &clap::Command, path: &[&str]) {
    let settings = path == ["settings"];
    let help = stdout(&run(&[path, &["--help"]].concat()));
    let lines = help.lines().count();
    assert!(settings || lines <= 40, "{path:?}: {lines} lines\n{help}");
    let flags = command.get_arguments().filter(|one| !one.is_global_set());
    for flag in flags.filter(|flag| !path.is_empty() && !flag.is_hide_set()) {
        let shown = match flag.get_long() {
            Some(long) => format!("--{long}"),
            None if flag.is_required_set() => {
                format!("<{}>", flag.get_id().as_str().to_uppercase())
            }
            None => format!("[{}]", flag.get_id().as_str().to_uppercase()),
        };
        assert!(help.contains(&shown), "{path:?}: no {shown} in\n{help}");
    }
    for below in command.get_subcommands() {
        let name = below.get_name();
        assert!(help.contains(&format!("  {name} ")), "{path:?}: no {name}");
        assert_help(below, &[path, &[name]].concat());
    }
}

#[test]
fn the_help_of_each_command_has_its_own_flags_in_at_most_40_lines() {
    assert_help(&Cli::command(), &[]);
}

#[test]
fn a_retired_variable_is_warned_of() {
    let mut command = recsys(&["serve"]);
    command.envs([("RECSYS_MAX_LIMIT", "5"), ("QDRANT_CONNECTIONS", "")]);
    let log = Served::start(&mut command).seen.clone();
    let warning = "no longer read: RECSYS_MAX_LIMIT (RECSYS_LIMITS=limit=N)\n";
    assert_eq!(log.matches(warning).count(), 1, "{log}");
}

#[test]
fn help_names_every_command_and_no_secret() {
    let output = recsys(&["--help"])
        .env("REDIS_URL", "redis://:hunter2@h")
        .env("RECSYS_WEBHOOK_SECRET", "hunter2-hunter2-hunter2")
        .output()
        .unwrap();
    let printed = stdout(&output);
    assert!(output.status.success());
    for part in [
        "serve",
        "quickstart",
        "healthcheck",
        "RECSYS_LISTEN_ADDR",
        "REDIS_URL",
    ] {
        assert!(printed.contains(part), "{part} is not in:\n{printed}");
    }
    assert!(!printed.contains("hunter2"));
}
