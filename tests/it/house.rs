//! The walls of the house: which room may import which.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Each room with the rooms of this crate that it may import.
const ROOMS: [(&str, &[&str]); 19] = [
    ("parsers", &[]),
    ("causes", &[]),
    ("meters", &[]),
    ("spans", &[]),
    ("throttle", &[]),
    ("reactor", &[]),
    ("domain", &["domain"]),
    ("ports", &["domain"]),
    (
        "engine",
        &[
            "engine", "ports", "domain", "meters", "spans", "throttle", "reactor",
        ],
    ),
    (
        "adapters",
        &[
            "adapters", "ports", "domain", "parsers", "meters", "spans", "throttle", "reactor",
        ],
    ),
    ("proto", &[]),
    ("tenants", &["domain", "tenants"]),
    ("webhook", &["webhook", "domain", "proto"]),
    (
        "grpc",
        &[
            "grpc", "engine", "ports", "domain", "proto", "parsers", "meters", "spans", "tenants",
            "throttle", "reactor", "webhook",
        ],
    ),
    (
        "config",
        &[
            "grpc",
            "adapters",
            "parsers",
            "tenants",
            "domain",
            "telemetry",
        ],
    ),
    (
        "telemetry",
        &["causes", "meters", "parsers", "spans", "telemetry"],
    ),
    (
        "app",
        &[
            "adapters",
            "grpc",
            "engine",
            "ports",
            "domain",
            "config",
            "parsers",
            "reactor",
            "telemetry",
            "tenants",
        ],
    ),
    (
        "cli",
        &[
            "cli", "app", "causes", "config", "grpc", "engine", "adapters", "ports", "domain",
            "proto", "tenants",
        ],
    ),
    (
        "fuzzing",
        &[
            "fuzzing", "grpc", "engine", "adapters", "ports", "domain", "proto", "webhook",
        ],
    ),
];

/// What pure code must not touch: IO, time, threads, logs.
const IMPURE: [&str; 12] = [
    "tokio",
    "tonic",
    "redis",
    "deadpool",
    "qdrant",
    "tracing",
    "prost",
    "std::env",
    "std::fs",
    "std::net",
    "SystemTime",
    "Instant",
];

fn sources(room: &str) -> Vec<(PathBuf, String)> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let mut open = vec![src.join(room), src.join(format!("{room}.rs"))];
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(
                fs::read_dir(&path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
        } else if path.is_file() {
            let text = fs::read_to_string(&path).unwrap();
            found.push((path, text));
        }
    }
    assert!(!found.is_empty(), "room {room} has no source");
    found
}

/// The code of a file, without its comments and its tests.
fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]").next().unwrap_or_default();
    text.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n")
}

/// The rooms named by `crate::room` paths, grouped imports included.
fn imported(code: &str) -> Vec<String> {
    let mut rooms = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        if let Some(group) = rest.strip_prefix('{') {
            let mut depth = 0;
            let mut name = String::new();
            for c in group.chars() {
                match c {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    _ => {}
                }
                if depth == 0 {
                    name.push(c);
                }
            }
            rooms.extend(
                name.split(',')
                    .map(first_segment)
                    .filter(|room| !room.is_empty()),
            );
        } else {
            rooms.push(first_segment(rest));
        }
    }
    rooms
}

fn first_segment(path: &str) -> String {
    path.trim()
        .chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect()
}

#[test]
fn arrows_run_one_way() {
    let mut wrong = Vec::new();
    for (room, allowed) in ROOMS {
        for (path, text) in sources(room) {
            for imported in imported(&code(&text)) {
                if !allowed.contains(&imported.as_str()) {
                    wrong.push(format!("{} imports {imported}", path.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn rooms_make_no_circle() {
    // Rooms whose imports are all open already are opened, until none is left.
    let mut open: Vec<&str> = Vec::new();
    while open.len() < ROOMS.len() {
        let next = ROOMS.iter().find(|(room, allowed)| {
            !open.contains(room)
                && allowed
                    .iter()
                    .all(|import| import == room || open.contains(import))
        });
        match next {
            Some((room, _)) => open.push(room),
            None => panic!("only {open:?} are free of circles"),
        }
    }
}

#[test]
fn the_domain_is_pure() {
    for (path, text) in sources("domain") {
        let code = code(&text);
        for name in IMPURE {
            let used = code
                .match_indices(name)
                .any(|(at, _)| !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_'));
            assert!(!used, "{} uses {name}", path.display());
        }
    }
}

#[test]
fn the_engine_knows_no_store_and_no_protocol() {
    for (path, text) in sources("engine") {
        for name in [
            "tonic",
            "prost",
            "redis",
            "qdrant",
            "crate::adapters",
            "crate::proto",
        ] {
            assert!(
                !code(&text).contains(name),
                "{} uses {name}",
                path.display()
            );
        }
    }
}

#[test]
fn every_room_of_the_library_is_listed_here() {
    let lib = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs")).unwrap();
    let listed: Vec<&str> = ROOMS.iter().map(|(room, _)| *room).collect();
    for line in lib.lines() {
        if let Some(room) = line.strip_prefix("pub mod ") {
            let room = room.trim_end_matches(';');
            assert!(listed.contains(&room), "{room} has no arrows");
        }
    }
}

#[test]
fn files_stay_small_enough_to_hold_in_the_head() {
    for (room, _) in ROOMS {
        for (path, text) in sources(room) {
            let lines = code(&text).lines().count();
            assert!(lines <= 500, "{} has {lines} lines", path.display());
        }
    }
}

#[test]
fn imports_are_found_in_every_spelling() {
    let text = "use crate::domain::{a, b};\nuse crate::{\n    engine::{Engine, X},\n    proto,\n};\nlet x = crate::grpc::Y;";
    assert_eq!(imported(text), ["domain", "engine", "proto", "grpc"]);
}
