//! The names of keys: spelled here and nowhere else.

use crate::domain::ids::UserId;

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

    /// The user's events.
    pub(super) fn events(&self, user: &UserId) -> String {
        format!("{}evt:{}", self.prefix, user.as_str())
    }

    /// The buffer of no user, as no id is empty: never there.
    pub(super) fn nobody(&self) -> String {
        format!("{}evt:", self.prefix)
    }

    /// The model of no user: never there.
    pub(super) fn nobodys_model(&self) -> String {
        format!("{}umodel:", self.prefix)
    }

    /// The user's model.
    pub(super) fn model(&self, user: &UserId) -> String {
        format!("{}umodel:{}", self.prefix, user.as_str())
    }
}
