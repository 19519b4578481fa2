//! How items are named in the output.

use crate::proto::Item;

/// An item's title, or its id if it has none.
pub(super) fn title(item: &Item) -> String {
    let name = if item.title.is_empty() {
        &item.content_id
    } else {
        &item.title
    };
    // A catalogue may hold anything; a terminal interprets control characters.
    name.replace(char::is_control, " ")
}

pub(super) fn quoted(item: &Item) -> String {
    format!("“{}”", title(item))
}
