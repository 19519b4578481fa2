//! Files that tests write and read.

use std::path::{Path, PathBuf};

use super::{EventColumns, EventFile, ItemFile, Mapping, MappingOption};
use crate::domain::{event::InteractionEvent, item::Item};

pub(super) struct WrittenFile {
    _directory: tempfile::TempDir,
    pub(super) path: PathBuf,
}

pub(super) fn written(contents: impl AsRef<[u8]>) -> WrittenFile {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("export");
    std::fs::write(&path, contents).unwrap();
    WrittenFile {
        _directory: directory,
        path,
    }
}

pub(super) type RowList<T> = Vec<(u64, Result<T, String>)>;

pub(super) fn read_events(
    path: &Path,
    map: &[&str],
) -> Result<(RowList<InteractionEvent>, Vec<String>), String> {
    let mapping = Mapping::parse(MappingOption::Map, map.iter().copied())
        .map_err(|error| error.to_string())?;
    let columns = EventColumns {
        mapping,
        default_type: None,
    };
    let mut file = EventFile::open(path, &columns).map_err(|error| error.to_string())?;
    let mut lines = Vec::new();
    while let Some(line) = file.next_event().map_err(|error| error.to_string())? {
        lines.push(line);
    }
    Ok((lines, file.warnings()))
}

pub(super) fn events(contents: &str, map: &[&str]) -> Vec<InteractionEvent> {
    let (lines, _) = read_events(&written(contents).path, map).unwrap();
    lines.into_iter().map(|(_, event)| event.unwrap()).collect()
}

pub(super) fn refused(contents: &str, map: &[&str]) -> String {
    let file = written(contents);
    let text = read_events(&file.path, map).unwrap_err();
    let path = format!("{}: ", file.path.display());
    text.strip_prefix(&path).unwrap_or(&text).to_owned()
}

pub(super) fn items(contents: &str, map: &[&str]) -> (Vec<Item>, Vec<String>) {
    let file = written(contents);
    let mapping = Mapping::parse(MappingOption::Map, map.iter().copied()).unwrap();
    let mut items = ItemFile::open(&file.path, &mapping).unwrap();
    let mut read = Vec::new();
    while let Some((_, item)) = items.next_item().unwrap() {
        read.push(item.unwrap());
    }
    (read, items.warnings())
}
