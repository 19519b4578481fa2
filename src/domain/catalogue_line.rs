//! One line of a catalogue file: an item as a JSON object.

use serde_json::{Map, Value};

use super::{
    geo::GeoPoint,
    ids::ContentId,
    item::{Item, Tag},
    json::{MAX_NESTING, nests_deeper, not_json},
    vector::UnitVector,
};

/// Maximum length of an item's id in bytes.
pub const MAX_CONTENT_ID_BYTES: usize = 512;

/// A line is not an item: lists every invalid field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("; "))]
pub struct InvalidLine(Vec<String>);

/// Parses `{"id", "title", "text", "content_type", "tags": [{facet, label,
/// weight}], "vector": [...], "word_count", "has_image", "lat", "lon",
/// "image_url", "public_url", "years"}`. All keys except `id` can be missing or
/// null; other keys become the item's attributes.
///
/// # Errors
/// [`InvalidLine`] lists every invalid field.
pub fn parse(line: &str) -> Result<Item, InvalidLine> {
    let value: Value =
        serde_json::from_str(line).map_err(|error| InvalidLine(vec![not_json(line, &error)]))?;
    match value {
        Value::Object(object) => from_object(object),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Err(InvalidLine(vec!["not a JSON object".to_owned()]))
        }
    }
}

/// The item of a parsed line.
///
/// # Errors
/// [`InvalidLine`] lists every invalid field.
pub fn from_object(object: Map<String, Value>) -> Result<Item, InvalidLine> {
    let mut fields = LineFields {
        object,
        errors: Vec::new(),
    };

    let mut item = Item::new(fields.id());
    item.title = fields.text("title");
    item.text = fields.text("text");
    item.content_type = fields.text("content_type");
    item.tags = fields.tags();
    item.vector = fields.vector();
    item.word_count = fields.word_count();
    item.has_image = fields.flag("has_image");
    item.locations = fields.location().into_iter().collect();
    item.image_url = fields.text("image_url");
    item.public_url = fields.text("public_url");
    item.years = fields.years();
    item.attributes = fields.attributes();

    if fields.errors.is_empty() {
        Ok(item)
    } else {
        Err(InvalidLine(fields.errors))
    }
}

struct LineFields {
    object: Map<String, Value>,
    errors: Vec<String>,
}

impl LineFields {
    /// Removes a field, so that the remaining ones are the attributes.
    fn take(&mut self, name: &str) -> Option<Value> {
        self.object.remove(name).filter(|value| !value.is_null())
    }

    fn require<T>(&mut self, name: &str, rule: &str, value: Option<T>) -> Option<T> {
        if value.is_none() {
            self.errors.push(format!("{name}: {rule}"));
        }
        value
    }

    /// The remaining fields, when all others are removed.
    fn attributes(&mut self) -> Map<String, Value> {
        for (name, value) in &self.object {
            if nests_deeper(value, MAX_NESTING) {
                self.errors
                    .push(format!("{name}: must nest at most {MAX_NESTING} deep"));
            }
        }
        std::mem::take(&mut self.object)
    }

    fn id(&mut self) -> ContentId {
        let id = match self.take("id") {
            None => {
                self.errors.push("id: must be set".to_owned());
                return ContentId::from("");
            }
            Some(Value::String(text)) => Some(text),
            Some(Value::Number(number)) if number.is_u64() || number.is_i64() => {
                Some(number.to_string())
            }
            _ => None,
        }
        .filter(|id| (1..=MAX_CONTENT_ID_BYTES).contains(&id.len()));
        self.require(
            "id",
            "must be a text of 1 to 512 bytes or a whole number",
            id,
        )
        .unwrap_or_default()
        .into()
    }

    fn text(&mut self, name: &str) -> String {
        match self.take(name) {
            None => String::new(),
            Some(Value::String(text)) => text,
            Some(_) => {
                self.errors.push(format!("{name}: must be a text"));
                String::new()
            }
        }
    }

    fn flag(&mut self, name: &str) -> bool {
        match self.take(name) {
            None => false,
            Some(value) => self
                .require(name, "must be true or false", value.as_bool())
                .unwrap_or_default(),
        }
    }

    fn word_count(&mut self) -> u32 {
        let Some(value) = self.take("word_count") else {
            return 0;
        };
        let count = value
            .as_f64()
            .filter(|count| (0.0..=f64::from(u32::MAX)).contains(count) && count.fract() == 0.0)
            .map(|count| count as u32);
        self.require("word_count", "must be a whole number, at least 0", count)
            .unwrap_or_default()
    }

    fn years(&mut self) -> Vec<i32> {
        let Some(value) = self.take("years") else {
            return Vec::new();
        };
        let years = value.as_array().and_then(|years| {
            years
                .iter()
                .map(|year| year.as_i64().and_then(|year| i32::try_from(year).ok()))
                .collect()
        });
        self.require("years", "must be a list of whole numbers", years)
            .unwrap_or_default()
    }

    fn tags(&mut self) -> Vec<Tag> {
        let Some(value) = self.take("tags") else {
            return Vec::new();
        };
        let Some(entries) = value.as_array() else {
            self.errors.push("tags: must be a list".to_owned());
            return Vec::new();
        };
        let mut tags = Vec::with_capacity(entries.len());
        for (index, entry) in entries.iter().enumerate() {
            let field = format!("tags[{index}]");
            let rule = "must be {\"facet\": text, \"label\": text, \"weight\": number}";
            let Some(tag) = self.require(&field, rule, tag(entry)) else {
                continue;
            };
            for (name, rule) in tag.broken_rules() {
                self.errors.push(format!("{field}.{name}: {rule}"));
            }
            if tag.facet.len().max(tag.label.len()) > MAX_CONTENT_ID_BYTES {
                self.errors
                    .push(format!("{field}: must be at most 512 bytes"));
            }
            tags.push(tag);
        }
        tags
    }

    fn vector(&mut self) -> Option<UnitVector> {
        let value = self.take("vector")?;
        let numbers: Option<Vec<f32>> = value.as_array().and_then(|numbers| {
            numbers
                .iter()
                .map(|number| number.as_f64().map(|number| number as f32))
                .collect()
        });
        let numbers = self.require("vector", "must be a list of numbers", numbers)?;
        if numbers.is_empty() {
            return None;
        }
        self.require(
            "vector",
            "must hold finite numbers that are not all 0",
            UnitVector::new(&numbers),
        )
    }

    fn location(&mut self) -> Option<GeoPoint> {
        let (lat, lon) = (self.take("lat"), self.take("lon"));
        if lat.is_none() && lon.is_none() {
            return None;
        }
        let point = lat
            .and_then(|lat| lat.as_f64())
            .zip(lon.and_then(|lon| lon.as_f64()))
            .and_then(|(lat, lon)| GeoPoint::new(lat, lon));
        self.require(
            "lat, lon",
            "must be both numbers, within 90 and 180 degrees",
            point,
        )
    }
}

fn tag(entry: &Value) -> Option<Tag> {
    let text = |name: &str| match entry.get(name) {
        None | Some(Value::Null) => Some(String::new()),
        Some(value) => value.as_str().map(str::to_owned),
    };
    let weight = match entry.get("weight") {
        None | Some(Value::Null) => 1.0,
        Some(value) => value.as_f64()?,
    };
    Some(Tag {
        facet: text("facet")?,
        label: text("label")?,
        weight,
    })
}

#[cfg(test)]
mod tests {
    use super::{MAX_NESTING, parse};

    #[test]
    fn an_id_alone_is_an_item() {
        let item = parse(r#"{"id": "x"}"#).unwrap();
        assert_eq!(item.id.as_str(), "x");
        assert!(item.vector.is_none() && item.tags.is_empty() && item.locations.is_empty());
        assert_eq!(parse(r#"{"id": 7}"#).unwrap().id.as_str(), "7");
        assert_eq!(
            parse(r#"{"id":"x","title":null,"vector":[]}"#)
                .unwrap()
                .title,
            ""
        );
    }

    #[test]
    fn other_keys_become_attributes() {
        let item = parse(r#"{"id":"x","shelf":{"row":3},"lat":57.7,"lon":11.9}"#).unwrap();
        assert_eq!(item.attributes.len(), 1);
        assert_eq!(item.attributes["shelf"]["row"], 3);
        assert_eq!(item.locations[0].latitude(), 57.7);
    }

    #[test]
    fn attributes_nested_deeper_than_clients_can_decode_are_rejected() {
        let line = |depth: usize| {
            let (open, close) = ("{\"a\":".repeat(depth), "}".repeat(depth));
            format!(r#"{{"id":"x","shelf":{open}1{close}}}"#)
        };
        assert!(parse(&line(MAX_NESTING)).is_ok());
        let wrong = parse(&line(MAX_NESTING + 1)).unwrap_err().to_string();
        assert_eq!(wrong, "shelf: must nest at most 30 deep");
    }

    #[test]
    fn every_invalid_field_of_a_line_is_listed() {
        let wrong = parse(
            r#"{"id":"","title":1,"tags":[{"facet":"a:b","label":"c"},{"label":" "}],"vector":[0,0],"word_count":-1,"has_image":"yes","lat":91,"lon":0,"years":["1900"]}"#,
        )
        .unwrap_err()
        .to_string();
        for name in [
            "id:",
            "title:",
            "tags[0].facet:",
            "tags[1].label:",
            "vector:",
            "word_count:",
            "has_image:",
            "lat, lon:",
            "years:",
        ] {
            assert!(wrong.contains(name), "{name} is missing in: {wrong}");
        }
        assert!(parse("{").unwrap_err().to_string().contains("not JSON"));
        assert!(parse("[]").unwrap_err().to_string().contains("object"));
        assert!(parse(r#"{"id":"x","vector":[1e39]}"#).is_err());
        assert!(parse(r#"{"id":"x","lat":1.0}"#).is_err());
    }
}
