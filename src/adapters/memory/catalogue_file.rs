//! Catalogues in memory as JSON Lines.

use std::collections::HashMap;

use crate::domain::{catalogue_line, item::Item};

/// Bad lines that an error lists.
const MAX_LISTED: usize = 20;

/// The built-in catalogue: the museum of an invented town.
const SAMPLE: &str = include_str!("../../../assets/sample-catalogue.jsonl");

/// The bad lines of a catalogue file, with number and reason.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.listing())]
pub struct CatalogueFileError {
    /// Line numbers from 1, and what is wrong.
    pub lines: Vec<(usize, String)>,
}

impl CatalogueFileError {
    fn listing(&self) -> String {
        let mut listing: Vec<String> = self
            .lines
            .iter()
            .take(MAX_LISTED)
            .map(|(number, reason)| format!("line {number}: {reason}"))
            .collect();
        if self.lines.len() > MAX_LISTED {
            listing.push(format!("and {} more lines", self.lines.len() - MAX_LISTED));
        }
        listing.join("\n")
    }
}

/// Reads a catalogue, one item per line. Empty lines are skipped.
///
/// # Errors
/// [`CatalogueFileError`] lists every line that is not an item, repeats an id, or
/// has a vector of another length than the first one.
pub fn parse_catalogue(text: &str) -> Result<Vec<Item>, CatalogueFileError> {
    let mut items: Vec<Item> = Vec::new();
    let mut bad = Vec::new();
    let mut line_of_id = HashMap::new();
    let mut vector_size = None;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        if line.trim().is_empty() {
            continue;
        }
        let item = match catalogue_line::parse(line) {
            Ok(item) => item,
            Err(error) => {
                bad.push((number, error.to_string()));
                continue;
            }
        };
        if let Some(first) = line_of_id.insert(item.id.clone(), number) {
            bad.push((number, format!("id: the same as in line {first}")));
            continue;
        }
        if let Some(vector) = &item.vector {
            let expected = *vector_size.get_or_insert(vector.size());
            if vector.size() != expected {
                bad.push((
                    number,
                    format!(
                        "vector: has {} numbers, the first one has {expected}",
                        vector.size()
                    ),
                ));
                continue;
            }
        }
        items.push(item);
    }
    if bad.is_empty() {
        Ok(items)
    } else {
        Err(CatalogueFileError { lines: bad })
    }
}

/// The built-in sample catalogue.
///
/// # Errors
/// Never; a test parses it.
pub fn sample_catalogue() -> Result<Vec<Item>, CatalogueFileError> {
    parse_catalogue(SAMPLE)
}

#[cfg(test)]
mod tests {
    use super::{parse_catalogue, sample_catalogue};

    #[test]
    fn the_sample_catalogue_has_items_of_every_kind() {
        let items = sample_catalogue().unwrap();
        assert!(items.len() >= 100);
        assert!(items.iter().any(|item| item.vector.is_none()));
        assert!(items.iter().any(|item| item.tags.is_empty()));
        assert!(items.iter().any(|item| item.text.is_empty()));
    }

    #[test]
    fn every_bad_line_is_listed() {
        let text = "{\"id\":\"a\",\"vector\":[1,0]}\n\n{oops\n{\"id\":\"a\"}\n{\"id\":\"b\",\"vector\":[1]}\n";
        let error = parse_catalogue(text).unwrap_err();
        let numbers: Vec<usize> = error.lines.iter().map(|(number, _)| *number).collect();
        assert_eq!(numbers, [3, 4, 5]);
        let listing = error.to_string();
        assert!(
            listing.contains("line 4: id: the same as in line 1"),
            "{listing}"
        );
        assert!(
            listing.contains("line 5: vector: has 1 numbers, the first one has 2"),
            "{listing}"
        );
    }

    #[test]
    fn a_byte_order_mark_is_skipped_and_columns_are_reported() {
        assert_eq!(parse_catalogue("\u{feff}{\"id\":\"a\"}").unwrap().len(), 1);
        let error = parse_catalogue("{oops").unwrap_err().to_string();
        assert_eq!(error, "line 1: not JSON: key must be a string (column 2)");
    }

    #[test]
    fn a_long_list_of_bad_lines_is_truncated() {
        let error = parse_catalogue(&"{\n".repeat(50)).unwrap_err();
        assert!(error.to_string().ends_with("and 30 more lines"));
    }
}
