//! Point ids of item ids. Different items have different points.

use qdrant_client::qdrant::{PointId, point_id::PointIdOptions};
use uuid::Uuid;

use crate::domain::ids::ContentId;

/// The namespace of the UUIDs of item ids that are neither a number nor a UUID.
/// Must never change: points would no longer be found.
const NAMESPACE: Uuid = Uuid::from_u128(0x9c6e_6a0f_31d7_5b43_8c5e_7a5d_0b1f_26e4);

/// A point's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum PointKey {
    Number(u64),
    Uuid(Uuid),
}

impl PointKey {
    /// A canonical decimal number is that number; a canonical lower-case
    /// hyphenated UUID is that UUID; any other id becomes a UUIDv5.
    pub(crate) fn of(id: &ContentId) -> Self {
        Self::canonical(id.as_str())
            .unwrap_or_else(|| Self::Uuid(Uuid::new_v5(&NAMESPACE, id.as_str().as_bytes())))
    }

    /// Whether the key of an item's point is a hash of the item's id: then the
    /// payload has to contain the id.
    pub(super) fn is_hash_of(id: &ContentId) -> bool {
        Self::canonical(id.as_str()).is_none()
    }

    fn canonical(text: &str) -> Option<Self> {
        let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
        if is_number && (text == "0" || !text.starts_with('0')) {
            return text.parse().ok().map(Self::Number);
        }
        let uuid = Uuid::try_parse(text).ok()?;
        let mut canonical = Uuid::encode_buffer();
        let canonical = uuid.as_hyphenated().encode_lower(&mut canonical);
        (canonical == text).then_some(Self::Uuid(uuid))
    }

    /// The key of a point; `None` if it is neither a number nor a UUID, which
    /// Qdrant never returns.
    pub(crate) fn read(id: Option<&PointId>) -> Option<Self> {
        match id?.point_id_options.as_ref()? {
            PointIdOptions::Num(number) => Some(Self::Number(*number)),
            PointIdOptions::Uuid(text) => Uuid::try_parse(text).ok().map(Self::Uuid),
        }
    }

    /// The item's id, unless the payload contains another.
    pub(super) fn content_id(self) -> ContentId {
        match self {
            Self::Number(number) => number.to_string().into(),
            Self::Uuid(uuid) => uuid.as_hyphenated().to_string().into(),
        }
    }
}

impl From<PointKey> for PointId {
    fn from(key: PointKey) -> Self {
        let options = match key {
            PointKey::Number(number) => PointIdOptions::Num(number),
            PointKey::Uuid(uuid) => PointIdOptions::Uuid(uuid.as_hyphenated().to_string()),
        };
        Self {
            point_id_options: Some(options),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::PointKey;
    use crate::domain::ids::ContentId;

    fn key(text: &str) -> PointKey {
        PointKey::of(&text.into())
    }

    #[test]
    fn only_canonical_spellings_are_used_directly() {
        assert_eq!(key("0"), PointKey::Number(0));
        assert_eq!(key("18446744073709551615"), PointKey::Number(u64::MAX));
        let uuid = "67e55044-10b1-426f-9247-bb680e5fe0c8";
        assert_eq!(key(uuid), PointKey::Uuid(Uuid::try_parse(uuid).unwrap()));
        for other in [
            "007",
            "+7",
            "-7",
            " 7",
            "7.0",
            "18446744073709551616",
            "111111111111111111111",
            "67E55044-10B1-426F-9247-BB680E5FE0C8",
            "67e5504410b1426f9247bb680e5fe0c8",
            "{67e55044-10b1-426f-9247-bb680e5fe0c8}",
            "urn:uuid:67e55044-10b1-426f-9247-bb680e5fe0c8",
            "SKU-1",
            "é",
        ] {
            let PointKey::Uuid(made) = key(other) else {
                panic!("{other} is a number");
            };
            assert_eq!(made.get_version_num(), 5, "{other}");
            assert!(PointKey::is_hash_of(&other.into()), "{other}");
        }
    }

    #[test]
    fn the_hash_of_an_id_never_changes() {
        let PointKey::Uuid(made) = key("SKU-1") else {
            panic!("a number");
        };
        assert_eq!(made.to_string(), "42de8c46-5462-5862-9ab0-25950586181c");
    }

    fn id() -> impl Strategy<Value = String> {
        prop_oneof![
            any::<u64>().prop_map(|number| number.to_string()),
            any::<u64>().prop_map(|number| format!("0{number}")),
            "[0-9]{19,22}",
            any::<u128>().prop_map(|bits| Uuid::from_u128(bits).to_string()),
            any::<u128>().prop_map(|bits| Uuid::from_u128(bits).to_string().to_uppercase()),
            any::<u128>().prop_map(|bits| Uuid::from_u128(bits).simple().to_string()),
            any::<u128>().prop_map(|bits| Uuid::from_u128(bits).braced().to_string()),
            any::<u128>().prop_map(|bits| Uuid::from_u128(bits).urn().to_string()),
            "\\PC{1,40}",
        ]
    }

    proptest! {
        #[test]
        fn a_point_id_is_its_items_id_or_a_hash_of_it(text in id()) {
            let id = ContentId::from(text.as_str());
            let key = PointKey::of(&id);
            prop_assert_eq!(PointKey::read(Some(&key.into())), Some(key));
            prop_assert_eq!(key.content_id() == id, !PointKey::is_hash_of(&id));
        }

        #[test]
        fn different_items_have_different_points(a in id(), b in id()) {
            prop_assume!(a != b);
            prop_assert_ne!(key(&a), key(&b));
        }
    }
}
