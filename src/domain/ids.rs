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
