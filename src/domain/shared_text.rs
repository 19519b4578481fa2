//! Texts that many values share, such as the tags of a catalogue: each is held
//! once, and told apart by where it is.

use std::{
    collections::HashSet,
    hash::{Hash, Hasher},
    sync::{Arc, LazyLock, Mutex, PoisonError},
};

use foldhash::fast::RandomState;

/// A text that is held once in this process: two of them are equal if and only if
/// they are at one place.
#[derive(Clone, Debug)]
pub struct SharedText(Arc<str>);

impl SharedText {
    /// The one text of these bytes.
    #[must_use]
    pub fn of(text: String) -> Self {
        // Changed in single steps, so whole even after a panic.
        let mut texts = TEXTS.lock().unwrap_or_else(PoisonError::into_inner);
        texts.get(text)
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn place(&self) -> usize {
        self.0.as_ptr().addr()
    }
}

impl PartialEq for SharedText {
    fn eq(&self, other: &Self) -> bool {
        self.place() == other.place()
    }
}

impl Eq for SharedText {}

impl Hash for SharedText {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_usize(self.place());
    }
}

static TEXTS: LazyLock<Mutex<Texts>> = LazyLock::new(Mutex::default);

/// Texts from which on those that nobody uses any more are looked for.
const FIRST_SWEEP: usize = 1_024;

#[derive(Default)]
struct Texts {
    held: HashSet<Arc<str>, RandomState>,
    /// How many were left by the last look.
    used: usize,
}

impl Texts {
    fn get(&mut self, text: String) -> SharedText {
        if let Some(held) = self.held.get(text.as_str()) {
            return SharedText(Arc::clone(held));
        }
        if self.held.len() >= FIRST_SWEEP.max(2 * self.used) {
            self.held.retain(|held| Arc::strong_count(held) > 1);
            self.used = self.held.len();
        }
        let text: Arc<str> = text.into();
        self.held.insert(Arc::clone(&text));
        SharedText(text)
    }
}

#[cfg(test)]
mod tests {
    use super::{FIRST_SWEEP, SharedText, Texts};

    #[test]
    fn equal_texts_are_one_and_others_are_not() {
        let [a, again, b] =
            ["theme:a", "theme:a", "theme:b"].map(|text| SharedText::of(text.into()));
        assert_eq!(a, again);
        assert_ne!(a, b);
        assert_eq!(b.as_str(), "theme:b");
    }

    #[test]
    fn texts_that_nobody_uses_make_room() {
        let mut texts = Texts::default();
        let used = texts.get("used".into());
        for number in 0..10 * FIRST_SWEEP {
            let _ = texts.get(number.to_string());
        }
        assert!(texts.held.len() <= FIRST_SWEEP, "{}", texts.held.len());
        assert_eq!(texts.get("used".into()), used);
    }
}
