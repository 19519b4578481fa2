//! Ids of users and items.

use std::{borrow::Borrow, fmt, sync::Arc};

/// What programs write for an id that is missing.
const MISSING: [&str; 6] = [
    "undefined",
    "null",
    "NULL",
    "None",
    "NaN",
    "[object Object]",
];

/// Whether a text from another program's export or event stands for a missing id: it is
/// blank, or how a language prints no value.
#[must_use]
pub fn is_missing_id(text: &str) -> bool {
    let text = text.trim();
    text.is_empty() || MISSING.contains(&text)
}

/// A user's id: at least one byte of UTF-8 without control characters. Other
/// characters (`:`, `*`, `{`, spaces, any script) have no special meaning.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserId(Arc<str>);

/// A text is not a valid user id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidUserId {
    /// It is empty.
    #[error("must not be empty")]
    Empty,
    /// It contains a control character.
    #[error("must not hold control characters")]
    ControlCharacter,
}

impl UserId {
    /// Parses a user id.
    ///
    /// # Errors
    /// [`InvalidUserId`] if it is empty or contains a control character.
    pub fn parse(text: &str) -> Result<Self, InvalidUserId> {
        if text.is_empty() {
            return Err(InvalidUserId::Empty);
        }
        if text.chars().any(char::is_control) {
            return Err(InvalidUserId::ControlCharacter);
        }
        Ok(Self(text.into()))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// A tenant's name: 1 to 63 of a-z, 0-9 and `-`, and not a reserved prefix of
/// Redis keys.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TenantId(Arc<str>);

/// A text is not a valid tenant name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTenantId {
    /// It has the wrong length or other characters.
    #[error("must be 1 to 63 of a-z, 0-9 and -")]
    Form,
    /// It is the name of a kind of key.
    #[error("must not be evt, umodel, aud, lst, nbr, pop or trend, with which keys begin")]
    Reserved,
}

impl TenantId {
    const LONGEST: usize = 63;
    const RESERVED: [&str; 7] = ["evt", "umodel", "aud", "lst", "nbr", "pop", "trend"];

    /// Parses a tenant's name.
    ///
    /// # Errors
    /// [`InvalidTenantId`] if it is not valid.
    pub fn parse(text: &str) -> Result<Self, InvalidTenantId> {
        let is_allowed =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if text.is_empty() || text.len() > Self::LONGEST || !text.bytes().all(is_allowed) {
            return Err(InvalidTenantId::Form);
        }
        if Self::RESERVED.contains(&text) {
            return Err(InvalidTenantId::Reserved);
        }
        Ok(Self(text.into()))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An item's id: any text. Ordered bytewise; this order breaks ties.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentId(Arc<str>);

impl ContentId {
    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for ContentId {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl From<String> for ContentId {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl Borrow<str> for ContentId {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Display for ContentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for ContentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::TenantId;

    #[test]
    fn a_tenant_name_is_short_lower_case_and_not_reserved() {
        for good in ["a", "shop-2", "-", "evt2", &"x".repeat(63)] {
            assert_eq!(TenantId::parse(good).unwrap().as_str(), good);
        }
        for wrong in [
            "",
            "Shop",
            "a:b",
            "a b",
            "é",
            "evt",
            "umodel",
            "aud",
            "lst",
            "nbr",
            "pop",
            "trend",
            "*",
            &"x".repeat(64),
        ] {
            assert!(TenantId::parse(wrong).is_err(), "{wrong}");
        }
    }
}
