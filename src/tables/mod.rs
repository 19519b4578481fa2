//! Files of events and of items, as other programs export them.
//!
//! One reader for all commands: JSON Lines, a JSON array, CSV and TSV, each also
//! gzipped or on standard input. What a file is, is recognised once, by its
//! first bytes and never by its name. Which column is which field is
//! decided by a table of names ([`fields`]) and by `--map` ([`Mapping`]).
//!
//! A file is read once, front to back, a row at a time: memory does not grow
//! with its size. A row that cannot be read is returned with its number and a
//! reason, and the next one is read.

mod catalogue;
mod cells;
mod columns;
mod delimited;
mod error;
mod events;
pub mod fields;
mod input;
mod items;
mod json;
mod mapping;
mod rows;

pub use catalogue::{
    CatalogueFile, CatalogueFileError, RefusedItem, read_catalogue, sample_catalogue,
};
pub use error::{NumberedRow, TableError};
pub use events::{EventColumns, EventFile};
pub use items::ItemFile;
pub use mapping::{InvalidMapping, Mapping, MappingOption};

#[cfg(test)]
mod column_tests;
#[cfg(test)]
mod test_files;
#[cfg(test)]
mod tests;
