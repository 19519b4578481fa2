//! The names of keys, in one place.

use crate::domain::ids::{ContentId, UserId};

/// Makes the keys of users, all under one prefix.
#[derive(Clone, Debug, Default)]
pub(super) struct Keys {
    prefix: String,
}

impl Keys {
    pub(super) fn new(prefix: &str) -> Self {
        Self {
            prefix: prefix.to_owned(),
        }
    }

    /// The start of every key.
    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// A user's events.
    pub(super) fn events(&self, user: &UserId) -> String {
        self.key("evt", user.as_str())
    }

    /// A user's model.
    pub(super) fn model(&self, user: &UserId) -> String {
        self.key("umodel", user.as_str())
    }

    /// The users who recently engaged with an item.
    pub(super) fn audience(&self, item: &ContentId) -> String {
        self.key("aud", item.as_str())
    }

    /// A user's interest list.
    pub(super) fn list(&self, user: &UserId) -> String {
        self.key("lst", user.as_str())
    }

    /// An item's neighbour row.
    pub(super) fn row(&self, item: &ContentId) -> String {
        self.key("nbr", item.as_str())
    }

    /// The ranking of popular items.
    pub(super) fn popular(&self) -> String {
        format!("{}pop", self.prefix)
    }

    /// The ranking of trending items.
    pub(super) fn trending(&self) -> String {
        format!("{}trend", self.prefix)
    }

    /// The stream of changes of a collection's items. No tenant's keys begin so: the names
    /// of tenants have no underscore.
    pub(super) fn item_changes(&self, collection: &str) -> String {
        self.key("item_changes", collection)
    }

    /// The id of the data, beside the models: no user id has a control character, and
    /// the ACL that allows models allows it.
    pub(super) fn data_id(&self) -> String {
        self.key("umodel", "\tdata-id")
    }

    /// A key of an event buffer for checks. No user id is empty: it never
    /// exists.
    pub(super) fn events_probe(&self) -> String {
        self.key("evt", "")
    }

    /// A key of a model for checks, which never exists either.
    pub(super) fn model_probe(&self) -> String {
        self.key("umodel", "")
    }

    /// Keys of an interest list, an audience and a row for checks, which never exist.
    pub(super) fn association_probes(&self) -> [String; 3] {
        ["lst", "aud", "nbr"].map(|kind| self.key(kind, ""))
    }

    /// A stream of changes for checks. No collection's name is empty: it never exists.
    pub(super) fn item_changes_probe(&self) -> String {
        self.item_changes("")
    }

    fn key(&self, kind: &str, id: &str) -> String {
        format!("{}{kind}:{id}", self.prefix)
    }
}
