//! Ids of users and items.

use std::{borrow::Borrow, fmt, sync::Arc};

/// A user's id: at least one byte of UTF-8 without control characters. What
/// else it holds (`:`, `*`, `{`, spaces, any script) has no meaning.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserId(Arc<str>);

/// Why a text cannot be a user id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidUserId {
    /// It is empty.
    #[error("must not be empty")]
    Empty,
    /// It holds a control character.
    #[error("must not hold control characters")]
    ControlCharacter,
}

impl UserId {
    /// Takes a text as a user id.
    ///
    /// # Errors
    /// [`InvalidUserId`] if it is empty or holds a control character.
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

/// A tenant's name: 1 to 63 of a-z, 0-9 and `-`, and not the beginning of a key
/// of Redis.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TenantId(Arc<str>);

/// Why a text cannot name a tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTenantId {
    /// It is too short, too long, or holds something else.
    #[error("must be 1 to 63 of a-z, 0-9 and -")]
    Form,
    /// It is `evt` or `umodel`.
    #[error("must not be evt or umodel, with which keys begin")]
    Reserved,
}

impl TenantId {
    const LONGEST: usize = 63;
    const RESERVED: [&str; 2] = ["evt", "umodel"];

    /// Takes a text as a tenant's name.
    ///
    /// # Errors
    /// [`InvalidTenantId`] if it cannot be one.
    pub fn parse(text: &str) -> Result<Self, InvalidTenantId> {
        let good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if text.is_empty() || text.len() > Self::LONGEST || !text.bytes().all(good) {
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

/// An item's id, any text. Orders bytewise, which breaks every tie.
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
    fn a_tenants_name_is_short_and_plain_and_begins_no_key() {
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
            "*",
            &"x".repeat(64),
        ] {
            assert!(TenantId::parse(wrong).is_err(), "{wrong}");
        }
    }
}
