//! Catalogues: files of items that fit together.

use std::{collections::HashMap, io::Cursor, path::Path};

use super::{
    error::{NumberedRow, TableError},
    items::ItemFile,
    mapping::Mapping,
};
use crate::domain::{ids::ContentId, item::Item};

/// Bad lines that an error lists.
const MAX_LISTED: usize = 20;

/// The built-in catalogue: the museum of an invented town.
const SAMPLE: &str = include_str!("../../assets/sample-catalogue.jsonl");

/// Why a line of a catalogue is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RefusedItem {
    /// It is not an item.
    #[error("{0}")]
    Invalid(String),
    /// An earlier line has the same id.
    #[error("id: the same as in line {first}")]
    RepeatedId {
        /// That line.
        first: u64,
    },
    /// Its vector has another size than the others.
    #[error("vector: has {size} numbers, the first one has {expected}")]
    VectorSize {
        /// Its size.
        size: usize,
        /// The size of the others.
        expected: usize,
    },
}

/// The items of a catalogue file, each checked against those before it: ids are
/// unique, vectors have one size.
pub struct CatalogueFile {
    items: ItemFile,
    first_lines: HashMap<ContentId, u64>,
    vector_size: Option<usize>,
}

impl CatalogueFile {
    /// Opens a catalogue file. `vector_size` is the size that vectors must have;
    /// `None`: that of the first one.
    ///
    /// # Errors
    /// [`TableError`] if it cannot be read, or no column is the id.
    pub fn open(
        path: &Path,
        mapping: &Mapping,
        vector_size: Option<usize>,
    ) -> Result<Self, TableError> {
        Ok(Self::new(ItemFile::open(path, mapping)?, vector_size))
    }

    fn new(items: ItemFile, vector_size: Option<usize>) -> Self {
        Self {
            items,
            first_lines: HashMap::new(),
            vector_size,
        }
    }

    /// The next item with its line number, or why that line is refused.
    ///
    /// # Errors
    /// [`TableError::Io`] if the file cannot be read further, and at the end of JSON
    /// [`TableError::Column`] if no row has an id.
    pub fn next_item(&mut self) -> Result<Option<NumberedRow<Item, RefusedItem>>, TableError> {
        let row = self.items.next_item()?;
        Ok(row.map(|(line, item)| {
            let item = item.map_err(RefusedItem::Invalid);
            (line, item.and_then(|item| self.check(line, item)))
        }))
    }

    fn check(&mut self, line: u64, item: Item) -> Result<Item, RefusedItem> {
        if let Some(first) = self.first_lines.get(&item.id) {
            return Err(RefusedItem::RepeatedId { first: *first });
        }
        self.first_lines.insert(item.id.clone(), line);
        if let Some(vector) = &item.vector {
            let size = vector.size();
            let expected = *self.vector_size.get_or_insert(size);
            if size != expected {
                return Err(RefusedItem::VectorSize { size, expected });
            }
        }
        Ok(item)
    }

    /// Warnings about the columns, complete after the last row.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        self.items.warnings()
    }
}

/// A catalogue file is refused.
#[derive(Debug, thiserror::Error)]
pub enum CatalogueFileError {
    /// The file as a whole cannot be read.
    #[error(transparent)]
    Table(#[from] TableError),
    /// Lines that are refused, with their numbers from 1.
    #[error("{}", listing(.0))]
    Lines(Vec<(u64, RefusedItem)>),
}

fn listing(lines: &[(u64, RefusedItem)]) -> String {
    let mut listing: Vec<String> = lines
        .iter()
        .take(MAX_LISTED)
        .map(|(number, reason)| format!("line {number}: {reason}"))
        .collect();
    if lines.len() > MAX_LISTED {
        listing.push(format!("and {} more lines", lines.len() - MAX_LISTED));
    }
    listing.join("\n")
}

/// Reads a whole catalogue. Passes its items to `take`, one by one, also if a later line
/// is refused: together they can take several times the memory of a catalogue. Returns
/// warnings about its columns.
///
/// # Errors
/// [`CatalogueFileError`] with every line that is refused, or why the file as a
/// whole cannot be read.
pub fn read_catalogue(
    path: &Path,
    mapping: &Mapping,
    take: impl FnMut(Item),
) -> Result<Vec<String>, CatalogueFileError> {
    all_items(CatalogueFile::open(path, mapping, None)?, take)
}

/// Passes the items of the built-in sample catalogue to `take`.
///
/// # Errors
/// Never; a test reads it.
pub fn sample_catalogue(take: impl FnMut(Item)) -> Result<(), CatalogueFileError> {
    let text = Box::new(Cursor::new(SAMPLE));
    let items = ItemFile::of(Path::new("sample"), text, &Mapping::default())?;
    all_items(CatalogueFile::new(items, None), take).map(|_| ())
}

fn all_items(
    mut file: CatalogueFile,
    mut take: impl FnMut(Item),
) -> Result<Vec<String>, CatalogueFileError> {
    let mut refused = Vec::new();
    while let Some((line, item)) = file.next_item()? {
        match item {
            Ok(item) => take(item),
            Err(reason) => refused.push((line, reason)),
        }
    }
    if refused.is_empty() {
        Ok(file.warnings())
    } else {
        Err(CatalogueFileError::Lines(refused))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::{CatalogueFileError, Mapping, read_catalogue, sample_catalogue};
    use crate::domain::item::Item;

    fn read(text: &str) -> Result<Vec<Item>, CatalogueFileError> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        let mut items = Vec::new();
        read_catalogue(file.path(), &Mapping::default(), |item| items.push(item))?;
        Ok(items)
    }

    #[test]
    fn the_sample_catalogue_has_items_of_every_kind() {
        let mut items = Vec::new();
        sample_catalogue(|item| items.push(item)).unwrap();
        assert!(items.len() >= 100);
        assert!(items.iter().any(|item| item.vector.is_none()));
        assert!(items.iter().any(|item| item.tags.is_empty()));
        assert!(items.iter().any(|item| item.text.is_empty()));
    }

    #[test]
    fn every_bad_line_is_listed() {
        let text = "{\"id\":\"a\",\"vector\":[1,0]}\n\n{oops\n{\"id\":\"a\"}\n{\"id\":\"b\",\"vector\":[1]}\n";
        let error = read(text).unwrap_err();
        assert_eq!(
            error.to_string(),
            "line 3: not JSON at column 2: 'o' is not expected\n\
             line 4: id: the same as in line 1\n\
             line 5: vector: has 1 numbers, the first one has 2"
        );
    }

    #[test]
    fn a_byte_order_mark_is_skipped_and_an_empty_file_has_no_items() {
        assert_eq!(read("\u{feff}{\"id\":\"a\"}").unwrap().len(), 1);
        assert_eq!(read("\n").unwrap(), []);
        assert_eq!(read("").unwrap(), []);
    }

    #[test]
    fn a_long_list_of_bad_lines_is_truncated() {
        let error = read(&"{\n".repeat(50)).unwrap_err();
        assert!(error.to_string().ends_with("and 30 more lines"));
    }

    #[test]
    fn a_table_of_products_is_a_catalogue() {
        let items = read("product_id,name,category\n1,Kettle,Kitchen\n2,Lamp,Office\n").unwrap();
        assert_eq!(items[1].title, "Lamp");
        assert_eq!(items[1].tags[0].label, "Office");
    }
}
