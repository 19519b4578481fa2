//! The beginnings of ids, which order most of them without reading them whole.

/// Bytes of a head.
const HEAD: usize = size_of::<u128>();

/// The first bytes of a text as a number. If two texts have different heads, the one with
/// the smaller head is the bytewise smaller text: most comparisons need no more.
pub(super) fn head(text: &str) -> u128 {
    let bytes = text.as_bytes();
    if let Some(first) = bytes.first_chunk::<HEAD>() {
        return u128::from_be_bytes(*first);
    }
    let mut head = [0; HEAD];
    head[..bytes.len()].copy_from_slice(bytes);
    u128::from_be_bytes(head)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::head;

    proptest! {
        #[test]
        fn heads_are_in_the_order_of_the_texts(
            mut texts in prop::collection::vec("(prefix of each: )?[\\x00ab\u{e9}]{0,20}", 0..40),
        ) {
            texts.sort();
            prop_assert!(texts.is_sorted_by_key(|text| head(text)));
        }
    }
}
