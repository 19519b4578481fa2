//! The form in which event types are compared.

use std::iter::once;

use caseless::Caseless as _;
use unicode_normalization::{UnicodeNormalization as _, char::is_combining_mark};

/// An event type with its spelling removed: camel case split, case folded, each
/// run of characters other than letters and digits one space, trimmed.
///
/// `Product Viewed`, `product_viewed`, `ProductViewed` and `PRODUCT-VIEWED` have
/// one normal form. A word begins at a capital after a small letter
/// (`productViewed`), and at a capital before a small letter after any other
/// letter or digit (`HTMLViewed` is `html viewed`, `Top10Viewed` is
/// `top10 viewed`). A digit alone begins no word, so a text in capitals has the
/// form of the same text in small letters. Composed and decomposed letters are
/// equal. A text without letters and digits has the empty form.
///
/// Held in place, so that computing one allocates nothing for common texts.
#[derive(Clone, Copy, Debug)]
pub struct NormalForm {
    bytes: [u8; Self::MAX_BYTES],
    len: usize,
}

impl NormalForm {
    /// Length of the longest normal form, in bytes.
    pub const MAX_BYTES: usize = 128;

    /// The normal form of an event type; `None` if it is longer than
    /// [`MAX_BYTES`](Self::MAX_BYTES).
    #[must_use]
    pub fn of(event_type: &str) -> Option<Self> {
        let mut form = Self {
            bytes: [0; Self::MAX_BYTES],
            len: 0,
        };
        if event_type.is_ascii() {
            form.fill(event_type.bytes().map(char::from))?;
        } else {
            form.fill(event_type.nfc())?;
        }
        Some(form)
    }

    /// The form as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // Only whole characters are pushed.
        str::from_utf8(self.as_bytes()).unwrap_or_default()
    }

    /// The form in UTF-8.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    fn fill(&mut self, chars: impl Iterator<Item = char>) -> Option<()> {
        let mut chars = chars.peekable();
        let mut before = Kind::Separator;
        while let Some(c) = chars.next() {
            let kind = Kind::of(c, before);
            let begins_word = match before {
                Kind::Separator => true,
                Kind::Small => kind == Kind::Capital,
                Kind::Capital | Kind::Other => {
                    kind == Kind::Capital && chars.peek().is_some_and(|next| next.is_lowercase())
                }
            };
            before = kind;
            if kind == Kind::Separator {
                continue;
            }
            if begins_word && self.len > 0 {
                self.push_byte(b' ')?;
            }
            if let Ok(byte) = u8::try_from(c)
                && byte.is_ascii()
            {
                self.push_byte(byte.to_ascii_lowercase())?;
            } else {
                for folded in once(c).default_case_fold() {
                    self.push(folded)?;
                }
            }
        }
        Some(())
    }

    fn push_byte(&mut self, byte: u8) -> Option<()> {
        *self.bytes.get_mut(self.len)? = byte;
        self.len += 1;
        Some(())
    }

    fn push(&mut self, c: char) -> Option<()> {
        let end = self.len + c.len_utf8();
        c.encode_utf8(self.bytes.get_mut(self.len..end)?);
        self.len = end;
        Some(())
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Separator,
    Small,
    Capital,
    /// A digit, or a letter of a script without case.
    Other,
}

impl Kind {
    /// The kind of a character; a combining mark has that of its base.
    fn of(c: char, before: Self) -> Self {
        match c {
            'a'..='z' => Self::Small,
            'A'..='Z' => Self::Capital,
            '0'..='9' => Self::Other,
            '\0'..='\x7f' => Self::Separator,
            _ if c.is_lowercase() => Self::Small,
            _ if c.is_uppercase() => Self::Capital,
            _ if c.is_alphanumeric() => Self::Other,
            _ if is_combining_mark(c) => before,
            _ => Self::Separator,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::{prop_assert_eq, proptest};

    use super::NormalForm;

    fn form(event_type: &str) -> String {
        NormalForm::of(event_type).unwrap().as_str().to_owned()
    }

    #[test]
    fn spellings_of_one_type_have_one_form() {
        for spelling in [
            "Product Viewed",
            "product viewed",
            "product_viewed",
            "product-viewed",
            "PRODUCT_VIEWED",
            "PRODUCT-VIEWED",
            "ProductViewed",
            "productViewed",
            "product.viewed",
            "product/viewed",
            "  product \u{2003} viewed\n",
            "__product__viewed__",
            "Product\u{a0}Viewed!",
        ] {
            assert_eq!(form(spelling), "product viewed", "{spelling:?}");
        }
    }

    #[test]
    fn acronyms_and_digits_stay_in_their_word() {
        for (spelling, expected) in [
            ("HTMLViewed", "html viewed"),
            ("viewHTML", "view html"),
            ("HTML", "html"),
            ("viewAPage", "view a page"),
            ("Top10Viewed", "top10 viewed"),
            ("top10_viewed", "top10 viewed"),
            ("TOP10-VIEWED", "top10 viewed"),
            ("MP3Played", "mp3 played"),
            ("H2O", "h2o"),
            ("2ndVisit", "2nd visit"),
            ("view_2", "view 2"),
            ("view2", "view2"),
            ("X", "x"),
        ] {
            assert_eq!(form(spelling), expected, "{spelling}");
        }
    }

    #[test]
    fn other_scripts_are_folded_and_split_alike() {
        for (spelling, expected) in [
            ("ТоварПросмотрен", "товар просмотрен"),
            ("товар_просмотрен", "товар просмотрен"),
            ("ΠΡΟΪΌΝ-ΕΊΔΕΣ", "προϊόν είδεσ"),
            ("προϊόν είδες", "προϊόν είδεσ"),
            ("商品を見た", "商品を見た"),
            ("商品Viewed", "商品 viewed"),
            ("Straße", "strasse"),
            ("ÉtéVu", "été vu"),
            ("E\u{301}te\u{301}Vu", "été vu"),
            ("पुस्तक-देखी", "पुस्तक देखी"),
        ] {
            assert_eq!(form(spelling), expected, "{spelling}");
        }
    }

    #[test]
    fn a_text_without_letters_and_digits_has_the_empty_form() {
        for text in ["", " ", "--", "👍", "\u{301}", "¿?"] {
            assert_eq!(form(text), "", "{text:?}");
        }
    }

    #[test]
    fn a_form_has_a_largest_length() {
        let longest = NormalForm::MAX_BYTES;
        assert_eq!(form(&"A".repeat(longest)), "a".repeat(longest));
        assert_eq!(form(&format!("{}--", "a".repeat(longest))).len(), longest);
        assert!(NormalForm::of(&"a".repeat(longest + 1)).is_none());
        // 65 words of one letter: 129 bytes with the spaces.
        assert!(NormalForm::of(&"a-".repeat(65)).is_none());
        assert!(NormalForm::of(&"é".repeat(longest / 2)).is_some());
        assert!(NormalForm::of(&"é".repeat(longest / 2 + 1)).is_none());
    }

    proptest! {
        #[test]
        fn the_form_of_a_form_is_itself(text in "[a-zA-Z0-9 _éÉжЖ商-]{0,60}") {
            let once = form(&text);
            prop_assert_eq!(form(&once), once);
        }

        #[test]
        fn a_text_in_capitals_has_the_form_of_its_small_letters(text in "[a-z0-9 _-]{0,80}") {
            prop_assert_eq!(form(&text.to_uppercase()), form(&text));
        }

        #[test]
        fn any_text_has_a_form_or_is_too_long(text in "\\PC{0,80}") {
            if let Some(form) = NormalForm::of(&text) {
                prop_assert_eq!(form.as_str().as_bytes(), form.as_bytes());
                prop_assert_eq!(form.as_str().trim(), form.as_str());
            }
        }
    }
}
