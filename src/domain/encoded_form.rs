//! The encoded form of a value, which is computed once and shares its lifetime.

use std::{fmt, sync::OnceLock};

/// The place of a value's encoded form. The value must not change once it is encoded:
/// it is shared by then. The form takes no part in comparisons, and a clone, which
/// may be changed, has none.
#[derive(Default)]
pub struct EncodedForm(OnceLock<Box<[u8]>>);

impl EncodedForm {
    /// The form, if it was computed.
    #[must_use]
    pub fn get(&self) -> Option<&[u8]> {
        self.0.get().map(|form| &**form)
    }

    /// The form, computed by the first call. All calls pass the same encoding.
    pub fn get_or_encode(&self, encode: impl FnOnce() -> Vec<u8>) -> &[u8] {
        self.0.get_or_init(|| encode().into_boxed_slice())
    }
}

impl Clone for EncodedForm {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl PartialEq for EncodedForm {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl fmt::Debug for EncodedForm {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.0.get().map(|form| form.len());
        formatter
            .debug_struct("EncodedForm")
            .field("bytes", &bytes)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::EncodedForm;

    #[test]
    fn a_form_is_computed_once_and_not_cloned() {
        let form = EncodedForm::default();
        assert_eq!(form.get(), None);
        assert_eq!(form.get_or_encode(|| vec![1, 2]), [1, 2]);
        assert_eq!(form.get_or_encode(|| unreachable!()), [1, 2]);
        assert_eq!(form.get(), Some(&[1, 2][..]));
        let clone = form.clone();
        assert_eq!(clone.get(), None);
        assert!(form == clone);
    }
}
