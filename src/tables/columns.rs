//! What the columns of a file mean.

use std::{
    collections::{BTreeSet, HashMap},
    path::Path,
};

use serde_json::{Map, Value};

use super::{
    error::TableError,
    fields::{ColumnMeaning, Field, by_name, comparable, resembles},
    mapping::Mapping,
};

/// The values of a row: those of fields by their position in the table of
/// fields, and all others.
#[derive(Debug, Default)]
pub(super) struct Values {
    /// Of each field.
    pub(super) fields: Vec<Option<Value>>,
    /// Whether the file has no types, so that every value was written as text.
    pub(super) untyped: bool,
    /// Of columns that are no field.
    pub(super) others: Map<String, Value>,
    /// Of each field, the rank and the position of the column it comes from.
    origins: Vec<(usize, usize)>,
}

/// A row with its line number, from 1: its values, or why it has none.
pub(super) type Row = (u64, Result<Values, String>);

/// What the columns of a file mean.
pub(super) struct ColumnTable {
    pub(super) fields: &'static [Field],
    /// Comparable name of a mapped column -> (field, as the user wrote it).
    mapped: HashMap<String, (usize, String)>,
    /// Meaning and position of each column so far.
    known: HashMap<String, (ColumnMeaning, usize)>,
    /// In the order in which they appeared.
    names: Vec<String>,
    seen_fields: BTreeSet<usize>,
    not_taken: Vec<String>,
}

impl ColumnTable {
    pub(super) fn new(
        path: &Path,
        fields: &'static [Field],
        mapping: &Mapping,
    ) -> Result<Self, TableError> {
        let mut mapped = HashMap::new();
        for (name, column) in mapping.entries() {
            let wanted = comparable(name);
            let field = fields
                .iter()
                .position(|field| comparable(field.name) == wanted)
                .ok_or_else(|| TableError::Column {
                    path: path.to_owned(),
                    reason: format!(
                        "--map {name}={column}: there is no field {name}; the fields are {}",
                        listed(fields.iter().map(|field| field.name))
                    ),
                })?;
            mapped.insert(comparable(column), (field, format!("{name}={column}")));
        }
        Ok(Self {
            fields,
            mapped,
            known: HashMap::new(),
            names: Vec::new(),
            seen_fields: BTreeSet::new(),
            not_taken: Vec::new(),
        })
    }

    /// What a column means, and its position among those so far.
    pub(super) fn meaning(&mut self, column: &str) -> (ColumnMeaning, usize) {
        if let Some(known) = self.known.get(column) {
            return *known;
        }
        let meaning = match self.mapped.get(&comparable(column)) {
            Some((field, _)) => ColumnMeaning::Field {
                field: *field,
                rank: 0,
            },
            None => by_name(self.fields, column),
        };
        match meaning {
            ColumnMeaning::Field { field, .. } => {
                self.seen_fields.insert(field);
            }
            ColumnMeaning::Other => {
                if let Some(field) = resembles(self.fields, column) {
                    self.warn_not_taken(column, field);
                }
            }
        }
        let known = (meaning, self.names.len());
        self.names.push(column.to_owned());
        self.known.insert(column.to_owned(), known);
        known
    }

    fn warn_not_taken(&mut self, column: &str, field: &str) {
        let warning = format!(
            "column {column} is not read as {field}; if it should be, add --map {field}={column}"
        );
        if !self.not_taken.contains(&warning) {
            self.not_taken.push(warning);
        }
    }

    /// Puts a value where its column belongs. Of two columns for one field the
    /// one with the better name counts.
    pub(super) fn put(&mut self, values: &mut Values, column: &str, value: Value) {
        if value.is_null() {
            self.meaning(column);
            return;
        }
        let (meaning, position) = self.meaning(column);
        let ColumnMeaning::Field { field, rank } = meaning else {
            values.others.insert(column.to_owned(), value);
            return;
        };
        if values.fields.is_empty() {
            values.fields.resize(self.fields.len(), None);
            let none = (usize::MAX, usize::MAX);
            values.origins.resize(self.fields.len(), none);
        }
        let (best, other) = values.origins[field];
        let (surplus, loser) = if rank < best {
            values.origins[field] = (rank, position);
            (values.fields[field].replace(value), other)
        } else {
            (Some(value), position)
        };
        if let Some(surplus) = surplus {
            let column = self.names[loser].clone();
            self.warn_not_taken(&column, self.fields[field].name);
            values.others.insert(column, surplus);
        }
    }

    pub(super) fn of_object(&mut self, object: Map<String, Value>) -> Values {
        let mut values = Values::default();
        for (column, value) in object {
            self.put(&mut values, &column, value);
        }
        values.fields.resize(self.fields.len(), None);
        values
    }

    /// Entries of the mapping whose columns have not appeared.
    pub(super) fn missing_entries(&self) -> Vec<&str> {
        let has_appeared = |column: &str| self.names.iter().any(|name| comparable(name) == column);
        let mut missing: Vec<&str> = self
            .mapped
            .iter()
            .filter(|(column, _)| !has_appeared(column))
            .map(|(_, (_, entry))| entry.as_str())
            .collect();
        missing.sort_unstable();
        missing
    }

    /// Whether a field has a column among those so far.
    pub(super) fn has(&self, field: usize) -> bool {
        self.seen_fields.contains(&field)
    }

    /// The columns so far, in order.
    pub(super) fn names(&self) -> &[String] {
        &self.names
    }

    pub(super) fn warnings(&self) -> Vec<String> {
        let missing = self.missing_entries().into_iter();
        let missing = missing.map(|entry| format!("--map {entry}: no row has this column"));
        missing.chain(self.not_taken.iter().cloned()).collect()
    }
}

/// Names as a sentence lists them.
pub(super) fn listed<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.into_iter().collect();
    names.join(", ")
}
