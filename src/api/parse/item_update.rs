//! Updates of items: their masks, in the form of AIP-161.

use std::collections::BTreeSet;

use crate::{
    api::{
        error::ApiError,
        limits::Limits,
        parse::{checks::Checks, item::item_fields},
    },
    domain::{
        item_update::{AttributeMask, ItemField, ItemMask, ItemUpdate},
        json::MAX_NESTING,
    },
    proto,
};

/// Most bytes of a path in an error.
const MAX_SHOWN_BYTES: usize = 80;

/// Reads an update at `field`. Of its item only the fields that the mask names are read.
pub(crate) fn item_update(
    update: proto::ItemUpdate,
    field: &str,
    limits: &Limits,
) -> Result<ItemUpdate, ApiError> {
    let mut checks = Checks::new(limits);
    let at_item = format!("{field}.item");
    let Some(given) = update.item else {
        checks.broken(at_item, "must be set");
        return checks.finish(None);
    };
    let mask = match update.update_mask {
        Some(mask) if !mask.paths.is_empty() => read_mask(
            &mut checks,
            &format!("{field}.update_mask.paths"),
            &mask.paths,
        ),
        _ => {
            let mask = populated(&given);
            if mask.is_empty() {
                checks.broken(field, "changes nothing: set fields of item, or update_mask");
            }
            mask
        }
    };
    let item = item_fields(&mut checks, masked(given, &mask), &at_item);
    checks.finish(item.map(|item| ItemUpdate::new(item, mask)))
}

/// The fields that are set in an item.
fn populated(item: &proto::Item) -> ItemMask {
    let fields = [
        (ItemField::ContentType, !item.content_type.is_empty()),
        (ItemField::Title, !item.title.is_empty()),
        (ItemField::Text, !item.text.is_empty()),
        (ItemField::Tags, !item.tags.is_empty()),
        (ItemField::WordCount, item.word_count != 0),
        (ItemField::HasImage, item.has_image),
        (ItemField::Location, item.location.is_some()),
        (ItemField::OtherLocations, !item.other_locations.is_empty()),
        (ItemField::ImageUrl, !item.image_url.is_empty()),
        (ItemField::PublicUrl, !item.public_url.is_empty()),
        (ItemField::Years, !item.years.is_empty()),
        (ItemField::Vector, !item.vector.is_empty()),
    ];
    let fields = fields.into_iter().filter(|(_, is_set)| *is_set);
    let attributes = item.attributes.iter().flat_map(|given| given.fields.keys());
    ItemMask {
        fields: fields.map(|(field, _)| field).collect(),
        attributes: AttributeMask::Paths(attributes.map(|name| vec![name.clone()]).collect()),
    }
}

/// The item without the fields that the mask does not name.
fn masked(item: proto::Item, mask: &ItemMask) -> proto::Item {
    fn of<T: Default>(mask: &ItemMask, field: ItemField, value: T) -> T {
        if mask.fields.contains(&field) {
            value
        } else {
            T::default()
        }
    }
    let attributes = item.attributes.map(|mut given| {
        if let AttributeMask::Paths(paths) = &mask.attributes {
            let named: BTreeSet<&String> = paths.iter().filter_map(|path| path.first()).collect();
            given.fields.retain(|name, _| named.contains(name));
        }
        given
    });
    proto::Item {
        content_id: item.content_id,
        content_type: of(mask, ItemField::ContentType, item.content_type),
        title: of(mask, ItemField::Title, item.title),
        text: of(mask, ItemField::Text, item.text),
        tags: of(mask, ItemField::Tags, item.tags),
        word_count: of(mask, ItemField::WordCount, item.word_count),
        has_image: of(mask, ItemField::HasImage, item.has_image),
        location: of(mask, ItemField::Location, item.location),
        image_url: of(mask, ItemField::ImageUrl, item.image_url),
        public_url: of(mask, ItemField::PublicUrl, item.public_url),
        years: of(mask, ItemField::Years, item.years),
        vector: of(mask, ItemField::Vector, item.vector),
        attributes,
        other_locations: of(mask, ItemField::OtherLocations, item.other_locations),
    }
}

fn read_mask(checks: &mut Checks<'_>, field: &str, paths: &[String]) -> ItemMask {
    let mut mask = ItemMask {
        fields: BTreeSet::new(),
        attributes: AttributeMask::Paths(Vec::new()),
    };
    if !checks.count(field, paths.len(), checks.limits.max_tags) {
        return mask;
    }
    if let [only] = paths
        && only == "*"
    {
        return ItemMask::all();
    }
    for (index, path) in paths.iter().enumerate() {
        if let Err(rule) = add_path(&mut mask, path, checks.limits) {
            checks.broken(format!("{field}[{index}]"), rule);
        }
    }
    mask
}

fn add_path(mask: &mut ItemMask, path: &str, limits: &Limits) -> Result<(), String> {
    let shown = shown(path);
    let max = limits.max_id_bytes;
    if path.len() > max {
        return Err(format!("must be at most {max} bytes: {shown}"));
    }
    let Some(names) = names(path) else {
        return Err(format!(
            "{shown} is not a path: separate names by dots, and put names of other characters \
             than letters, digits, _ and - in backticks"
        ));
    };
    let Some((first, inner)) = names.split_first() else {
        return Ok(());
    };
    if first == "attributes" {
        return add_attribute(mask, inner, &shown);
    }
    let field = match first.as_str() {
        "content_type" => ItemField::ContentType,
        "title" => ItemField::Title,
        "text" => ItemField::Text,
        "tags" => ItemField::Tags,
        "word_count" => ItemField::WordCount,
        "has_image" => ItemField::HasImage,
        "location" => ItemField::Location,
        "other_locations" => ItemField::OtherLocations,
        "image_url" => ItemField::ImageUrl,
        "public_url" => ItemField::PublicUrl,
        "years" => ItemField::Years,
        "vector" => ItemField::Vector,
        "content_id" => return Err(format!("{shown} cannot be updated: it names the item")),
        _ if path == "*" => return Err(format!("{shown} must be the only path")),
        _ => return Err(format!("{shown} is not a field of Item")),
    };
    if !inner.is_empty() {
        return Err(format!(
            "{shown} is a part of {first}, which is updated as a whole"
        ));
    }
    mask.fields.insert(field);
    Ok(())
}

fn add_attribute(mask: &mut ItemMask, path: &[String], shown: &str) -> Result<(), String> {
    if path.len() > MAX_NESTING {
        return Err(format!("{shown} nests more than {MAX_NESTING} deep"));
    }
    match &mut mask.attributes {
        AttributeMask::All => {}
        attributes if path.is_empty() => *attributes = AttributeMask::All,
        AttributeMask::Paths(paths) => paths.push(path.to_vec()),
    }
    Ok(())
}

fn shown(path: &str) -> String {
    if path.len() <= MAX_SHOWN_BYTES {
        return format!("{path:?}");
    }
    let begin = &path[..path.floor_char_boundary(MAX_SHOWN_BYTES)];
    format!("{begin:?}…")
}

/// The names of a path. `None` if it is not of the form; `*` is a name here.
fn names(path: &str) -> Option<Vec<String>> {
    let is_plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-');
    if path == "*" {
        return Some(vec![path.to_owned()]);
    }
    let mut names = Vec::new();
    let mut rest = path;
    loop {
        let (name, after) = match rest.strip_prefix('`') {
            Some(quoted) => in_backticks(quoted)?,
            None => {
                let end = rest.find(|c| !is_plain(c)).unwrap_or(rest.len());
                let (name, after) = rest.split_at(end);
                if name.is_empty() {
                    return None;
                }
                (name.to_owned(), after)
            }
        };
        names.push(name);
        if after.is_empty() {
            return Some(names);
        }
        rest = after.strip_prefix('.')?;
    }
}

/// A name up to its closing backtick, and what follows. Two backticks are one of the name.
fn in_backticks(quoted: &str) -> Option<(String, &str)> {
    let mut name = String::new();
    let mut rest = quoted;
    loop {
        let (begin, after) = rest.split_once('`')?;
        name.push_str(begin);
        match after.strip_prefix('`') {
            Some(more) => {
                name.push('`');
                rest = more;
            }
            None => return Some((name, after)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::names;

    #[test]
    fn paths_are_names_with_dots_between() {
        let read = |path: &str| names(path).map(|names| names.join("|"));
        for (path, expected) in [
            ("title", Some("title")),
            ("attributes.stock.nl", Some("attributes|stock|nl")),
            (
                "attributes.`list price`.é-1",
                Some("attributes|list price|é-1"),
            ),
            ("attributes.`a.b`", Some("attributes|a.b")),
            ("attributes.`a``b`", Some("attributes|a`b")),
            ("*", Some("*")),
            ("", None),
            (".", None),
            ("a.", None),
            (".a", None),
            ("a..b", None),
            ("a.*", None),
            ("tags[0]", None),
            ("list price", None),
            ("`a", None),
            ("`a`b", None),
        ] {
            assert_eq!(read(path).as_deref(), expected, "{path}");
        }
    }
}
