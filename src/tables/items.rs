//! Rows as items.

use std::{io::BufRead, path::Path};

use serde_json::{Map, Value, json};

use super::{
    cells,
    columns::Values,
    error::{NumberedRow, TableError},
    fields::{ITEM_FIELDS, item as field},
    mapping::Mapping,
    rows::Rows,
};
use crate::domain::{catalogue_line, item::Item};

/// The facet of tags that name none.
const TAG_FACET: &str = "tag";

/// The items of a file, in the file's order.
pub struct ItemFile {
    rows: Rows,
}

impl ItemFile {
    /// Opens a file of items.
    ///
    /// # Errors
    /// [`TableError`] if it cannot be read, or no column is the id.
    pub fn open(path: &Path, mapping: &Mapping) -> Result<Self, TableError> {
        Self::with_rows(Rows::open(path, &ITEM_FIELDS, mapping)?)
    }

    /// The items of a text that is no file; `name` stands for it in errors.
    pub(super) fn of(
        name: &Path,
        text: Box<dyn BufRead + Send>,
        mapping: &Mapping,
    ) -> Result<Self, TableError> {
        Self::with_rows(Rows::of(name, text, &ITEM_FIELDS, mapping)?)
    }

    fn with_rows(rows: Rows) -> Result<Self, TableError> {
        let file = Self { rows };
        if file.rows.has_header() {
            file.require_columns()?;
        }
        Ok(file)
    }

    fn require_columns(&self) -> Result<(), TableError> {
        let first = self.rows.columns().first_name().unwrap_or_default();
        self.rows.require(field::ID, &format!("id={first}"))
    }

    /// The next item with its line number, or why that line is none.
    ///
    /// # Errors
    /// [`TableError::Io`] if the file cannot be read further, and at the end of JSON
    /// [`TableError::Column`] if no row has an id.
    pub fn next_item(&mut self) -> Result<Option<NumberedRow<Item>>, TableError> {
        let Some((number, values)) = self.rows.next_row()? else {
            return self.require_columns().map(|()| None);
        };
        Ok(Some((number, values.and_then(item))))
    }

    /// Warnings about the columns, complete after the last row.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        self.rows.warnings()
    }
}

fn item(values: Values) -> Result<Item, String> {
    let Values {
        mut fields,
        others,
        untyped,
        ..
    } = values;
    let mut line = others;
    let mut take = |field: usize| fields[field].take();
    let mut put = |field: usize, value: Option<Value>| {
        if let Some(value) = value {
            line.insert(ITEM_FIELDS[field].name.to_owned(), value);
        }
    };

    let id = take(field::ID).map(|id| cells::id(&id, untyped));
    let id = id.transpose().map_err(|rule| format!("id: {rule}"))?;
    put(field::ID, id.flatten().map(Value::String));
    for name in [field::TITLE, field::TEXT, field::CONTENT_TYPE] {
        put(name, take(name).map(text_or_same));
    }
    for name in [field::IMAGE_URL, field::PUBLIC_URL] {
        put(name, take(name).map(text_or_same));
    }
    for name in [field::WORD_COUNT, field::LAT, field::LON] {
        put(name, take(name).map(number_or_same));
    }
    let has_image = take(field::HAS_IMAGE);
    put(
        field::HAS_IMAGE,
        has_image.map(|value| cells::flag(&value).map_or(value, Value::Bool)),
    );
    put(field::YEARS, take(field::YEARS).map(years));
    put(field::VECTOR, take(field::VECTOR).map(vector));
    let mut tags: Vec<Value> = Vec::new();
    for (name, facet, is_key) in [
        (field::TAGS, TAG_FACET, false),
        (field::TAG_LABELS, TAG_FACET, true),
        (field::GENRES, "genre", false),
        (field::CATEGORIES, "category", false),
    ] {
        let value = take(name);
        if let Some(facets) = value.as_ref().and_then(by_facet) {
            tags.extend(facets);
            continue;
        }
        // A category's name may hold commas.
        let entries_of = match name {
            field::CATEGORIES => cells::list,
            _ => cells::labels,
        };
        let entries = value.as_ref().map(entries_of).unwrap_or_default();
        tags.extend(entries.into_iter().map(|entry| tag(entry, facet, is_key)));
    }
    if !tags.is_empty() {
        put(field::TAGS, Some(Value::Array(tags)));
    }
    place(take(field::LOCATIONS).as_ref(), &mut line);
    catalogue_line::from_object(line).map_err(|error| error.to_string())
}

fn number_or_same(value: Value) -> Value {
    cells::number(&value).map_or(value, cells::json_number)
}

/// Texts; a list of texts is joined by spaces. Anything else is left to the check of
/// the item.
fn text_or_same(value: Value) -> Value {
    match value {
        Value::Array(_) => cells::text(&value).map_or(value, Value::String),
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => {
            value
        }
    }
}

/// One year, a list of years, or `1995|1996`.
fn years(value: Value) -> Value {
    let entries = cells::list(&value).into_iter();
    Value::Array(entries.map(number_or_same).collect())
}

/// Numbers, or one text with numbers that commas or spaces separate.
fn vector(value: Value) -> Value {
    let Value::String(text) = &value else {
        return value;
    };
    let numbers: Option<Vec<Value>> = text
        .trim_matches(['[', ']'])
        .split([',', ' ', '|'])
        .filter(|number| !number.is_empty())
        .map(|number| Some(json!(number.parse::<f32>().ok()?)))
        .collect();
    numbers.map_or(value, Value::Array)
}

/// The tags of an object that names labels by their facets, such as
/// `{"genre": ["Drama"]}`; `None` for anything else. A list of fractions is an
/// embedding that stands among the labels, and is left out.
fn by_facet(value: &Value) -> Option<Vec<Value>> {
    let Value::Object(facets) = value else {
        return None;
    };
    if facets.contains_key("label") {
        return None;
    }
    let labels = facets
        .iter()
        .map(|(facet, labels)| (facet, cells::list(labels)))
        .filter(|(_, labels)| !labels.iter().any(Value::is_f64));
    let tags = labels.flat_map(|(facet, labels)| {
        let labels = labels.into_iter();
        labels.map(move |label| tag(label, facet, false))
    });
    Some(tags.collect())
}

/// A tag as an object: from a label, or from a `facet:label` key.
fn tag(entry: Value, facet: &str, is_key: bool) -> Value {
    match entry {
        Value::Object(mut tag) => {
            tag.entry("facet").or_insert_with(|| facet.into());
            Value::Object(tag)
        }
        Value::String(text) => match text.split_once(':') {
            Some((facet, label)) if is_key => json!({"facet": facet, "label": label}),
            Some(_) | None => json!({"facet": facet, "label": text}),
        },
        Value::Number(number) => json!({"facet": facet, "label": number.to_string()}),
        Value::Null | Value::Bool(_) | Value::Array(_) => entry,
    }
}

/// The first place of a list of places; anything else stays an attribute.
fn place(value: Option<&Value>, line: &mut Map<String, Value>) {
    let Some(value) = value else {
        return;
    };
    let first = value
        .as_array()
        .and_then(|places| places.first())
        .unwrap_or(value);
    let lat = first.get("lat").and_then(cells::number);
    let lon = first.get("lon").and_then(cells::number);
    match (lat, lon) {
        (Some(lat), Some(lon)) => {
            line.insert("lat".to_owned(), json!(lat));
            line.insert("lon".to_owned(), json!(lon));
        }
        _ => {
            line.insert("location".to_owned(), value.clone());
        }
    }
}
