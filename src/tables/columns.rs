//! What the columns of a file mean.

use std::{
    collections::{BTreeSet, HashMap},
    path::Path,
};

use serde_json::{Map, Value};

use super::{
    cells,
    error::TableError,
    fields::{ColumnMeaning, Field, by_name, comparable, resembles},
    mapping::{Mapping, MappingOption},
};

/// Names that a sentence lists, and warnings of columns that resemble a field: JSON may
/// have any number of keys.
const MAX_LISTED: usize = 30;

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
    /// Where the mapping comes from.
    option: MappingOption,
    /// Comparable name of a mapped column -> (field, as the user wrote it).
    mapped: HashMap<String, (usize, String)>,
    /// Meaning and position of each column so far.
    known: HashMap<String, (ColumnMeaning, usize)>,
    /// In the order in which they appeared.
    names: Vec<String>,
    seen_fields: BTreeSet<usize>,
    /// Columns that are no field, each with the field that it resembles.
    resembling: Vec<(usize, String)>,
    warnings: Vec<String>,
}

impl ColumnTable {
    pub(super) fn new(
        path: &Path,
        fields: &'static [Field],
        mapping: &Mapping,
    ) -> Result<Self, TableError> {
        let mut mapped: HashMap<String, (usize, String)> = HashMap::new();
        for (name, column) in mapping.entries() {
            let wanted = comparable(name);
            let field = fields
                .iter()
                .position(|field| comparable(field.name) == wanted)
                .ok_or_else(|| TableError::Column {
                    path: path.to_owned(),
                    reason: format!(
                        "{}: there is no field {name}; the fields are {}",
                        mapping.option().with(&format!("{name}={column}")),
                        listed(fields.iter().map(|field| field.name))
                    ),
                })?;
            let entry = format!("{name}={column}");
            if let Some((_, other)) = mapped.get(&comparable(column)) {
                return Err(TableError::Column {
                    path: path.to_owned(),
                    reason: format!(
                        "{}: {other} names the same column; a column is one field",
                        mapping.option().with(&entry)
                    ),
                });
            }
            mapped.insert(comparable(column), (field, entry));
        }
        Ok(Self {
            fields,
            option: mapping.option(),
            mapped,
            known: HashMap::new(),
            names: Vec::new(),
            seen_fields: BTreeSet::new(),
            resembling: Vec::new(),
            warnings: Vec::new(),
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
                let field = resembles(self.fields, column);
                if let Some(field) = field.filter(|_| self.resembling.len() < MAX_LISTED) {
                    self.resembling.push((field, column.to_owned()));
                }
            }
        }
        let known = (meaning, self.names.len());
        self.names.push(column.to_owned());
        self.known.insert(column.to_owned(), known);
        known
    }

    /// That a column is not read as a field, and how to change that.
    fn not_taken(&self, column: &str, field: usize) -> String {
        let field = self.fields[field].name;
        format!(
            "column {column} is not read as {field}; if it should be, {}",
            self.option.addition(&format!("{field}={column}"))
        )
    }

    /// That a column is not read as a field because another one is, and how to read both as
    /// tags if they are labels.
    fn not_taken_beside_another(&self, column: &str, field: usize) -> String {
        let name = self.fields[field].name;
        if !["categories", "genres"].contains(&name) || self.has_name("tags") {
            return self.not_taken(column, field);
        }
        format!(
            "column {column} is not read as {name}, because another column is; to read it as \
             tags, {}",
            self.option.addition(&format!("tags={column}"))
        )
    }

    /// Whether a field of this name has a column among those so far.
    fn has_name(&self, name: &str) -> bool {
        let field = self.fields.iter().position(|field| field.name == name);
        field.is_some_and(|field| self.has(field))
    }

    fn warn(&mut self, warning: String) {
        if self.warnings.len() < MAX_LISTED && !self.warnings.contains(&warning) {
            self.warnings.push(warning);
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
        let is_repeated = position == other;
        let (surplus, loser) = if rank < best {
            values.origins[field] = (rank, position);
            (values.fields[field].replace(value), other)
        } else {
            (Some(value), position)
        };
        if let Some(surplus) = surplus {
            let column = self.names[loser].clone();
            if is_repeated {
                self.warn(format!(
                    "column {column} is there twice; the first one counts"
                ));
                return;
            }
            self.warn(self.not_taken_beside_another(&column, field));
            values.others.insert(column, surplus);
        }
    }

    pub(super) fn of_object(&mut self, object: Map<String, Value>) -> Values {
        let mut values = Values::default();
        for (column, value) in object {
            self.put(&mut values, &column, cells::without_type(value));
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

    /// Whether no row or header is read yet.
    pub(super) fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// The first column that is no field, or the first one.
    pub(super) fn first_name(&self) -> Option<&str> {
        let is_other = |name: &&String| {
            let known = self.known.get(name.as_str());
            known.is_some_and(|(meaning, _)| *meaning == ColumnMeaning::Other)
        };
        let other = self.names.iter().find(is_other);
        other.or(self.names.first()).map(String::as_str)
    }

    /// Whether a column is no field.
    pub(super) fn is_other(&mut self, column: &str) -> bool {
        self.meaning(column).0 == ColumnMeaning::Other
    }

    /// Whether there are columns that are no field.
    pub(super) fn has_others(&self) -> bool {
        let mut meanings = self.known.values();
        meanings.any(|(meaning, _)| *meaning == ColumnMeaning::Other)
    }

    /// That no column is known as a field, and how to name the right one.
    pub(super) fn without(&self, field: usize, effect: &str, example: &str) -> String {
        let mut sentence = format!(
            "no column is known as {}{effect}; the columns are {}; name the right one, for \
             example {}",
            self.fields[field].name,
            listed(self.names.iter().map(String::as_str)),
            self.option.with(example)
        );
        let is_data = |name: &String| name.parse::<f64>().is_ok();
        if self.seen_fields.is_empty() && self.names.iter().any(is_data) {
            sentence.push_str("; columns without a header are numbers from 1");
        }
        sentence
    }

    /// The option with an entry of the mapping.
    pub(super) fn option(&self) -> MappingOption {
        self.option
    }

    pub(super) fn warnings(&self) -> Vec<String> {
        let missing = self.missing_entries().into_iter();
        let missing =
            missing.map(|entry| format!("{}: no row has this column", self.option.with(entry)));
        // A field that has a column needs none that resembles it.
        let resembling = self.resembling.iter();
        let resembling = resembling.filter(|(field, _)| !self.has(*field));
        let not_taken = resembling.map(|(field, column)| self.not_taken(column, *field));
        let warnings = self.warnings.iter().cloned();
        missing.chain(warnings).chain(not_taken).collect()
    }
}

/// Names as a sentence lists them.
pub(super) fn listed<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let mut names = names.into_iter();
    let mut listed: Vec<&str> = names.by_ref().take(MAX_LISTED).collect();
    let unlisted = names.count();
    let more = format!("and {unlisted} more");
    if unlisted > 0 {
        listed.push(&more);
    }
    listed.join(", ")
}
