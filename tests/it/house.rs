//! The architecture: which room may import which, no circles between the files of a
//! room, a pure domain, and files of a limited size.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// Each room with the other rooms of this crate that it may import.
const ROOMS: [(&str, &[&str]); 17] = [
    ("blocking", &[]),
    ("parsers", &[]),
    ("proto", &[]),
    ("telemetry", &["parsers"]),
    ("domain", &[]),
    ("ports", &["domain"]),
    ("engine", &["ports", "domain", "telemetry", "blocking"]),
    (
        "adapters",
        &["ports", "domain", "telemetry", "blocking", "parsers"],
    ),
    ("tables", &["domain"]),
    ("eval", &["adapters", "engine", "ports", "domain"]),
    (
        "edge",
        &[
            "engine",
            "ports",
            "domain",
            "telemetry",
            "blocking",
            "parsers",
        ],
    ),
    (
        "api",
        &[
            "edge",
            "engine",
            "ports",
            "domain",
            "proto",
            "telemetry",
            "blocking",
            "parsers",
        ],
    ),
    (
        "http",
        &[
            "api",
            "edge",
            "engine",
            "ports",
            "domain",
            "telemetry",
            "blocking",
            "parsers",
        ],
    ),
    (
        "config",
        &[
            "api",
            "edge",
            "http",
            "adapters",
            "domain",
            "telemetry",
            "parsers",
        ],
    ),
    (
        "app",
        &[
            "tables",
            "http",
            "api",
            "edge",
            "engine",
            "adapters",
            "ports",
            "domain",
            "config",
            "telemetry",
            "blocking",
            "parsers",
        ],
    ),
    (
        "cli",
        &[
            "app",
            "config",
            "eval",
            "tables",
            "api",
            "edge",
            "engine",
            "adapters",
            "ports",
            "domain",
            "proto",
            "telemetry",
            "blocking",
            "parsers",
        ],
    ),
    ("main", &["cli", "app", "config", "telemetry"]),
];

/// What pure code must not use: IO, time, threads, logs.
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

/// Stores and protocols, which the engine must not know.
const OUTSIDE_THE_ENGINE: [&str; 4] = ["tonic", "prost", "redis", "qdrant"];

const MAX_SOURCE_LINES: usize = 500;
const MAX_TEST_LINES: usize = 700;

/// A source file of the crate.
struct SourceFile {
    /// From the root of the repository.
    name: String,
    /// From the root of the crate.
    module: Vec<String>,
    text: String,
}

impl SourceFile {
    fn room(&self) -> &str {
        self.module.first().map_or("lib", String::as_str)
    }

    /// The code without comments and unit tests.
    fn code(&self) -> String {
        code(&self.text)
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All Rust files below a directory of the repository.
fn rust_files(directory: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![root().join(directory)];
    while let Some(path) = open.pop() {
        if path.is_dir() {
            let entries = fs::read_dir(&path).unwrap();
            open.extend(entries.map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    assert!(!found.is_empty(), "{directory} has no source");
    found
}

fn sources() -> Vec<SourceFile> {
    let files = rust_files("src").into_iter().map(|path| {
        let below = path.strip_prefix(root().join("src")).unwrap();
        let mut module: Vec<String> = below
            .with_extension("")
            .iter()
            .map(|name| name.to_str().unwrap().to_owned())
            .collect();
        module.pop_if(|name| name == "mod" || name == "lib");
        SourceFile {
            name: format!("src/{}", below.display()),
            module,
            text: fs::read_to_string(&path).unwrap(),
        }
    });
    files.collect()
}

/// Code without comments and without what is compiled for tests alone.
fn code(text: &str) -> String {
    let mut code = String::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let line = line.trim();
        if line == "#[cfg(test)]" {
            // Unit tests are the end of a file; anything else is a single line.
            match lines.next() {
                Some(item) if item.ends_with('{') => break,
                _ => continue,
            }
        }
        if !line.starts_with("//") {
            code.push_str(line);
            code.push('\n');
        }
    }
    code
}

/// Splits at the commas outside of braces.
fn split_group(group: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut begin, mut depth) = (0, 0);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&group[begin..at]);
                begin = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&group[begin..]);
    parts
}

/// The paths of a use tree: `a::{b, c::d}` is `a::b` and `a::c::d`.
fn expand(tree: &str) -> Vec<String> {
    let tree = tree.trim();
    let Some((prefix, group)) = tree.split_once('{') else {
        let path = tree.split(" as ").next().unwrap_or_default().trim();
        return vec![path.to_owned()];
    };
    let group = group.trim_end().strip_suffix('}').unwrap_or(group);
    let parts = split_group(group).into_iter();
    parts
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .flat_map(expand)
        .map(|path| format!("{prefix}{path}"))
        .collect()
}

/// The paths that code names: those of `use` items, all others that begin with
/// `crate`, `super` or `self`, and the modules that it declares.
fn paths(code: &str) -> BTreeSet<String> {
    let mut paths = BTreeSet::new();
    let mut others = String::new();
    let mut lines = code.lines();
    while let Some(line) = lines.next() {
        let item = match line.split_once(' ') {
            Some((visibility, item)) if visibility.starts_with("pub") => item,
            _ => line,
        };
        if let Some(module) = item
            .strip_prefix("mod ")
            .and_then(|rest| rest.strip_suffix(';'))
        {
            paths.insert(format!("self::{module}"));
        } else if let Some(tree) = item.strip_prefix("use ") {
            let mut tree = tree.to_owned();
            while !tree.ends_with(';') {
                tree.push_str(lines.next().expect("the end of a use item"));
            }
            paths.extend(expand(tree.trim_end_matches(';')));
        } else {
            others.push_str(line);
            others.push('\n');
        }
    }
    for start in ["crate::", "super::", "self::"] {
        for (at, _) in others.match_indices(start) {
            let is_whole = !others[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
            if is_whole && !others[..at].ends_with("::") {
                let path = others[at..].split(|c: char| !(c.is_alphanumeric() || "_:".contains(c)));
                paths.extend(path.take(1).map(str::to_owned));
            }
        }
    }
    paths
}

/// A path from the root of the crate, as it is meant in a module. `None`: it is of
/// another crate.
fn absolute(
    path: &str,
    module: &[String],
    is_module: impl Fn(&[String]) -> bool,
) -> Option<Vec<String>> {
    let mut base = module.to_vec();
    let mut names = path.split("::").filter(|name| !name.is_empty()).peekable();
    match *names.peek()? {
        "crate" => {
            names.next();
            base.clear();
        }
        // The program's own name for the library.
        "recsys" if module == ["main"] => {
            names.next();
            base.clear();
        }
        "self" => {
            names.next();
        }
        "super" => {
            while names.next_if_eq(&"super").is_some() {
                base.pop();
            }
        }
        child => {
            base.push(child.to_owned());
            if !is_module(&base) {
                return None;
            }
            base.pop();
        }
    }
    base.extend(names.map(str::to_owned));
    Some(base)
}

/// Each file with the files that it imports: the file of a path is that of its
/// innermost module.
fn imports(files: &[SourceFile]) -> BTreeMap<usize, BTreeSet<usize>> {
    let by_module: BTreeMap<&[String], usize> = files
        .iter()
        .enumerate()
        .map(|(index, file)| (file.module.as_slice(), index))
        .collect();
    let imported = |index: usize| {
        let file = &files[index];
        let is_module = |path: &[String]| by_module.contains_key(path);
        let absolute = paths(&file.code())
            .into_iter()
            .filter_map(|path| absolute(&path, &file.module, is_module))
            .collect::<Vec<_>>();
        let files = absolute.iter().filter_map(|path| {
            let prefixes = (1..=path.len()).rev().map(|end| &path[..end]);
            let file = prefixes.filter_map(|prefix| by_module.get(prefix)).next();
            file.copied().filter(|file| *file != index)
        });
        files.collect::<BTreeSet<usize>>()
    };
    (0..files.len())
        .map(|index| (index, imported(index)))
        .collect()
}

#[test]
fn rooms_import_in_one_direction() {
    let files = sources();
    let mut wrong = Vec::new();
    for (from, imported) in imports(&files) {
        let from = &files[from];
        if from.room() == "lib" {
            continue;
        }
        let (_, allowed) = ROOMS
            .iter()
            .find(|(room, _)| *room == from.room())
            .unwrap_or_else(|| panic!("{} is in no room", from.name));
        for to in imported {
            let room = files[to].room();
            if room != from.room() && !allowed.contains(&room) {
                wrong.push(format!("{} imports {room}", from.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_allowed_imports_have_no_circle() {
    // Removes rooms whose imports are all removed, until none is left.
    let mut removed: Vec<&str> = Vec::new();
    while removed.len() < ROOMS.len() {
        let next = ROOMS.iter().find(|(room, allowed)| {
            !removed.contains(room) && allowed.iter().all(|import| removed.contains(import))
        });
        match next {
            Some((room, _)) => removed.push(room),
            None => panic!("only {removed:?} are free of circles"),
        }
    }
}

/// The imports that are part of a circle, or lead from one to another.
fn circles(imports: &BTreeMap<usize, BTreeSet<usize>>) -> Vec<(usize, usize)> {
    let mut edges: Vec<(usize, usize)> = imports
        .iter()
        .flat_map(|(from, to)| to.iter().map(|to| (*from, *to)))
        .collect();
    loop {
        let from: BTreeSet<usize> = edges.iter().map(|(from, _)| *from).collect();
        let to: BTreeSet<usize> = edges.iter().map(|(_, to)| *to).collect();
        let before = edges.len();
        edges.retain(|edge| from.contains(&edge.1) && to.contains(&edge.0));
        if edges.len() == before {
            return edges;
        }
    }
}

#[test]
fn files_of_a_room_import_each_other_without_circles() {
    let files = sources();
    let mut within_rooms = imports(&files);
    for (from, imported) in &mut within_rooms {
        imported.retain(|to| files[*to].room() == files[*from].room());
    }
    let circles: Vec<String> = circles(&within_rooms)
        .into_iter()
        .map(|(from, to)| format!("{} imports {}", files[from].name, files[to].name))
        .collect();
    assert!(circles.is_empty(), "in circles:\n{}", circles.join("\n"));
}

#[test]
fn the_domain_is_pure() {
    for file in sources().iter().filter(|file| file.room() == "domain") {
        let code = file.code();
        for name in IMPURE {
            let used = code
                .match_indices(name)
                .any(|(at, _)| !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_'));
            assert!(!used, "{} uses {name}", file.name);
        }
    }
}

#[test]
fn the_engine_knows_no_store_and_no_protocol() {
    for file in sources().iter().filter(|file| file.room() == "engine") {
        for name in OUTSIDE_THE_ENGINE {
            assert!(!file.code().contains(name), "{} uses {name}", file.name);
        }
    }
}

#[test]
fn files_have_a_limited_size() {
    let mut large = Vec::new();
    for (directory, max) in [("src", MAX_SOURCE_LINES), ("tests/it", MAX_TEST_LINES)] {
        for path in rust_files(directory) {
            let lines = fs::read_to_string(&path).unwrap().lines().count();
            if lines > max {
                let name = path.strip_prefix(root()).unwrap();
                large.push(format!("{} has {lines} lines", name.display()));
            }
        }
    }
    assert!(large.is_empty(), "{}", large.join("\n"));
}

#[test]
fn paths_are_found_in_every_spelling() {
    let text = "
use crate::domain::{a, b};
pub(crate) use crate::{
    engine::{Engine as E, x::{Y, Z}},
    proto,
};
use super::keys;
// use crate::comment;
mod child;
let x = crate::edge::Y::new(super::Z);
#[cfg(test)]
mod hidden;
use child::Item;
#[cfg(test)]
mod tests {
    use crate::cli;
}
";
    let found: Vec<String> = paths(&code(text)).into_iter().collect();
    assert_eq!(
        found,
        [
            "child::Item",
            "crate::domain::a",
            "crate::domain::b",
            "crate::edge::Y::new",
            "crate::engine::Engine",
            "crate::engine::x::Y",
            "crate::engine::x::Z",
            "crate::proto",
            "self::child",
            "super::Z",
            "super::keys",
        ]
    );
}

#[test]
fn paths_lead_to_modules() {
    let module = |path: &str| -> Vec<String> { path.split("::").map(str::to_owned).collect() };
    let is_module = |path: &[String]| path == module("edge::load::body");
    let of = |path: &str| absolute(path, &module("edge::load"), is_module);
    assert_eq!(of("crate::api::X"), Some(module("api::X")));
    assert_eq!(of("super::tls::Tls"), Some(module("edge::tls::Tls")));
    assert_eq!(of("self::body::B"), Some(module("edge::load::body::B")));
    assert_eq!(of("body::B"), Some(module("edge::load::body::B")));
    assert_eq!(of("tokio::net::X"), None);
}

#[test]
fn circles_are_found() {
    let imports = |edges: &[(usize, usize)]| {
        let mut imports: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
        for (from, to) in edges {
            imports.entry(*from).or_default().insert(*to);
        }
        circles(&imports)
    };
    assert_eq!(imports(&[(0, 1), (1, 2), (0, 2)]), []);
    assert_eq!(imports(&[(0, 1), (1, 2), (2, 1), (2, 3)]), [(1, 2), (2, 1)]);
}
