//! Changes of some fields of an item.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::{ids::ContentId, item::Item};

/// A field of an item that an update can name. Attributes have an [`AttributeMask`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ItemField {
    /// [`Item::content_type`].
    ContentType,
    /// [`Item::title`].
    Title,
    /// [`Item::text`].
    Text,
    /// [`Item::tags`].
    Tags,
    /// [`Item::word_count`].
    WordCount,
    /// [`Item::has_image`].
    HasImage,
    /// The first of [`Item::locations`].
    Location,
    /// The others of [`Item::locations`].
    OtherLocations,
    /// [`Item::image_url`].
    ImageUrl,
    /// [`Item::public_url`].
    PublicUrl,
    /// [`Item::years`].
    Years,
    /// [`Item::vector`].
    Vector,
}

impl ItemField {
    /// All fields.
    pub const ALL: [Self; 12] = [
        Self::ContentType,
        Self::Title,
        Self::Text,
        Self::Tags,
        Self::WordCount,
        Self::HasImage,
        Self::Location,
        Self::OtherLocations,
        Self::ImageUrl,
        Self::PublicUrl,
        Self::Years,
        Self::Vector,
    ];
}

/// The attributes that an update names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttributeMask {
    /// All: those that the update does not have are removed.
    All,
    /// Those at these paths: the keys of nested objects, outermost first.
    Paths(Vec<Vec<String>>),
}

/// The fields that an update names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ItemMask {
    /// Its fields.
    pub fields: BTreeSet<ItemField>,
    /// Its attributes.
    pub attributes: AttributeMask,
}

impl ItemMask {
    /// Names all fields and attributes.
    #[must_use]
    pub fn all() -> Self {
        Self {
            fields: ItemField::ALL.into(),
            attributes: AttributeMask::All,
        }
    }

    /// Whether it names nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let no_attributes =
            matches!(&self.attributes, AttributeMask::Paths(paths) if paths.is_empty());
        self.fields.is_empty() && no_attributes
    }
}

/// A change of one attribute.
#[derive(Clone, Debug, PartialEq)]
pub struct AttributeChange {
    /// The keys of nested objects, outermost first; at least one.
    pub path: Vec<String>,
    /// The new value; `None` removes the attribute.
    pub value: Option<Value>,
}

/// What an update does to attributes.
#[derive(Clone, Debug, PartialEq)]
pub enum AttributeUpdate {
    /// These replace all.
    Replace(Map<String, Value>),
    /// These change; others are kept. No path begins with another one.
    Change(Vec<AttributeChange>),
}

/// A change of some fields of an item. Other fields stay as they are.
#[derive(Clone, Debug, PartialEq)]
pub struct ItemUpdate {
    /// Has the values of `fields`, and no attributes.
    values: Item,
    fields: BTreeSet<ItemField>,
    attributes: AttributeUpdate,
}

impl ItemUpdate {
    /// The update that gives the item of this id the fields of `values` that the mask
    /// names. A field that `values` does not have is cleared; an attribute that is
    /// missing or null is removed.
    ///
    /// If the mask names [`ItemField::Location`] or [`ItemField::OtherLocations`] alone,
    /// `values` has only such locations.
    #[must_use]
    pub fn new(mut values: Item, mask: ItemMask) -> Self {
        let mut given = std::mem::take(&mut values.attributes);
        given.retain(|_, value| !value.is_null());
        let attributes = match mask.attributes {
            AttributeMask::All => AttributeUpdate::Replace(given),
            AttributeMask::Paths(paths) => {
                let changes = outermost(paths).into_iter().map(|path| AttributeChange {
                    value: value_at(&given, &path).filter(|value| !value.is_null()),
                    path,
                });
                AttributeUpdate::Change(changes.collect())
            }
        };
        Self {
            values,
            fields: mask.fields,
            attributes,
        }
    }

    /// The id of the item.
    #[must_use]
    pub fn id(&self) -> &ContentId {
        &self.values.id
    }

    /// The fields that it changes.
    #[must_use]
    pub fn fields(&self) -> &BTreeSet<ItemField> {
        &self.fields
    }

    /// Whether it changes a field.
    #[must_use]
    pub fn names(&self, field: ItemField) -> bool {
        self.fields.contains(&field)
    }

    /// What it does to attributes.
    #[must_use]
    pub fn attributes(&self) -> &AttributeUpdate {
        &self.attributes
    }

    /// A stored item after the update. It may lack the values of fields that the update
    /// replaces.
    #[must_use]
    pub fn apply(&self, mut item: Item) -> Item {
        let values = &self.values;
        for field in &self.fields {
            match field {
                ItemField::ContentType => item.content_type.clone_from(&values.content_type),
                ItemField::Title => item.title.clone_from(&values.title),
                ItemField::Text => item.text.clone_from(&values.text),
                ItemField::Tags => item.tags.clone_from(&values.tags),
                ItemField::WordCount => item.word_count = values.word_count,
                ItemField::HasImage => item.has_image = values.has_image,
                ItemField::Location => {
                    let others = item.locations.iter().skip(1);
                    item.locations = values.locations.iter().chain(others).copied().collect();
                }
                // Both are named: `Location`, which comes before, has set all of them.
                ItemField::OtherLocations if self.names(ItemField::Location) => {
                    item.locations.clone_from(&values.locations);
                }
                ItemField::OtherLocations => {
                    item.locations.truncate(1);
                    item.locations.extend(&values.locations);
                }
                ItemField::ImageUrl => item.image_url.clone_from(&values.image_url),
                ItemField::PublicUrl => item.public_url.clone_from(&values.public_url),
                ItemField::Years => item.years.clone_from(&values.years),
                ItemField::Vector => item.vector.clone_from(&values.vector),
            }
        }
        match &self.attributes {
            AttributeUpdate::Replace(attributes) => item.attributes.clone_from(attributes),
            AttributeUpdate::Change(changes) => {
                for change in changes {
                    change.apply(&mut item.attributes);
                }
            }
        }
        item
    }
}

impl AttributeChange {
    /// Objects on the way are created, also in place of other values.
    fn apply(&self, attributes: &mut Map<String, Value>) {
        let Some((last, parents)) = self.path.split_last() else {
            return;
        };
        let mut object = attributes;
        for key in parents {
            if self.value.is_none() && !object.get(key).is_some_and(Value::is_object) {
                return;
            }
            let value = object.entry(key.clone()).or_insert(Value::Null);
            if !value.is_object() {
                *value = Value::Object(Map::new());
            }
            let Value::Object(inner) = value else { return };
            object = inner;
        }
        match &self.value {
            Some(value) => {
                object.insert(last.clone(), value.clone());
            }
            None => {
                object.remove(last);
            }
        }
    }
}

/// Without the paths that begin with another one.
fn outermost(mut paths: Vec<Vec<String>>) -> Vec<Vec<String>> {
    paths.sort_unstable();
    // A path sorts before those that begin with it.
    paths.dedup_by(|later, earlier| later.starts_with(earlier));
    paths
}

fn value_at(attributes: &Map<String, Value>, path: &[String]) -> Option<Value> {
    let (first, nested) = path.split_first()?;
    let value = nested
        .iter()
        .try_fold(attributes.get(first)?, |value, key| value.get(key))?;
    Some(value.clone())
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, Value, json};

    use super::{AttributeMask, ItemField, ItemMask, ItemUpdate};
    use crate::domain::{geo::GeoPoint, item::Item};

    fn object(value: Value) -> Map<String, Value> {
        value.as_object().expect("an object").clone()
    }

    /// The attributes after an update of these paths.
    fn after(stored: Value, given: Value, paths: &[&[&str]]) -> Value {
        let path = |keys: &&[&str]| keys.iter().map(|key| (*key).to_owned()).collect();
        let mask = ItemMask {
            fields: [].into(),
            attributes: AttributeMask::Paths(paths.iter().map(path).collect()),
        };
        let values = Item {
            attributes: object(given),
            ..Item::new("a")
        };
        let stored = Item {
            attributes: object(stored),
            ..Item::new("a")
        };
        json!(
            ItemUpdate::new(values, mask)
                .apply(stored.clone())
                .attributes
        )
    }

    #[test]
    fn attributes_change_by_path_and_others_stay() {
        let stored = json!({"price": 5, "stock": {"nl": 3, "be": 1}, "brand": "Acme"});
        let given = json!({"price": 4, "stock": {"nl": 2}, "ignored": 1});
        assert_eq!(
            after(
                stored.clone(),
                given.clone(),
                &[&["price"], &["stock", "nl"]]
            ),
            json!({"price": 4, "stock": {"nl": 2, "be": 1}, "brand": "Acme"})
        );
        assert_eq!(
            after(
                stored.clone(),
                given.clone(),
                &[&["stock", "be"], &["stock"]]
            ),
            json!({"price": 5, "stock": {"nl": 2}, "brand": "Acme"}),
            "the outer path includes the inner one"
        );
        assert_eq!(
            after(
                stored.clone(),
                json!({"price": null}),
                &[&["price"], &["stock", "nl"]]
            ),
            json!({"stock": {"be": 1}, "brand": "Acme"}),
            "null and missing values are removed"
        );
        assert_eq!(
            after(stored, given, &[&["brand", "name"], &["price", "x", "y"]]),
            json!({"price": 5, "stock": {"nl": 3, "be": 1}, "brand": "Acme"}),
            "there is nothing to remove"
        );
        assert_eq!(
            after(
                json!({"a": 1}),
                json!({"a": {"b": {"c": 2}}}),
                &[&["a", "b", "c"]]
            ),
            json!({"a": {"b": {"c": 2}}}),
            "an object replaces another value on the way"
        );
    }

    #[test]
    fn the_first_location_and_the_others_change_apart() {
        let place = |latitude| GeoPoint::new(latitude, 5.0).unwrap();
        let update = |fields: &[ItemField], locations: Vec<GeoPoint>| {
            let mask = ItemMask {
                fields: fields.iter().copied().collect(),
                attributes: AttributeMask::Paths(Vec::new()),
            };
            let values = Item {
                locations,
                ..Item::new("a")
            };
            let stored = Item {
                locations: vec![place(1.0), place(2.0), place(3.0)],
                ..Item::new("a")
            };
            let latitudes = ItemUpdate::new(values, mask)
                .apply(stored.clone())
                .locations;
            latitudes.iter().map(|at| at.latitude()).collect::<Vec<_>>()
        };
        let (first, others) = (ItemField::Location, ItemField::OtherLocations);
        assert_eq!(update(&[first], vec![place(9.0)]), [9.0, 2.0, 3.0]);
        assert_eq!(update(&[first], Vec::new()), [2.0, 3.0]);
        assert_eq!(update(&[others], vec![place(9.0)]), [1.0, 9.0]);
        assert_eq!(update(&[others], Vec::new()), [1.0]);
        assert_eq!(update(&[first, others], vec![place(9.0)]), [9.0]);
    }

    #[test]
    fn a_mask_of_everything_replaces_the_item() {
        let stored = Item {
            title: "old".into(),
            years: vec![1890],
            attributes: object(json!({"price": 5})),
            ..Item::new("a")
        };
        let values = Item {
            text: "new".into(),
            attributes: object(json!({"brand": "Acme", "price": null})),
            ..Item::new("a")
        };
        let expected = Item {
            attributes: object(json!({"brand": "Acme"})),
            ..values.clone()
        };
        assert_eq!(
            ItemUpdate::new(values, ItemMask::all()).apply(stored.clone()),
            expected
        );
    }
}
