//! API keys. The server stores only their hashes.
//!
//! A key is `rsk_ID_SECRET`. The id is not secret; the entry is looked up by it. The
//! secret has 256 random bits, so its plain SHA-256 cannot be reversed by guessing.

use std::{fmt, str::FromStr};

use ring::{
    digest::{SHA256, digest},
    rand::{SecureRandom as _, SystemRandom},
};
use subtle::ConstantTimeEq as _;

const PREFIX: &str = "rsk_";
const ID_BYTES: usize = 8;
const SECRET_BYTES: usize = 32;
const HASH_BYTES: usize = 32;
/// The prefix of a hash in the file: its algorithm.
const SCHEME: &str = "sha256:";

/// The public id of a key.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId(String);

impl FromStr for KeyId {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let allowed = |byte: u8| byte.is_ascii_digit() || byte.is_ascii_lowercase();
        if text.is_empty() || text.len() > 64 || !text.bytes().all(allowed) {
            return Err("must be 1 to 64 of a-z and 0-9");
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The SHA-256 of a whole key.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyHash([u8; HASH_BYTES]);

impl KeyHash {
    fn of(key: &str) -> Self {
        let mut hash = [0; HASH_BYTES];
        hash.copy_from_slice(digest(&SHA256, key.as_bytes()).as_ref());
        Self(hash)
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

/// In the form of the tenants file.
impl fmt::Display for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}", hex(&self.0))
    }
}

impl FromStr for KeyHash {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const RULE: &str = "must be sha256: and 64 hexadecimal digits";
        let digits = text.strip_prefix(SCHEME).ok_or(RULE)?;
        if digits.len() != 2 * HASH_BYTES || !digits.is_ascii() {
            return Err(RULE);
        }
        let mut hash = [0; HASH_BYTES];
        for (byte, at) in hash.iter_mut().zip((0..digits.len()).step_by(2)) {
            *byte = u8::from_str_radix(&digits[at..at + 2], 16).map_err(|_| RULE)?;
        }
        Ok(Self(hash))
    }
}

/// A newly generated key. Its text is shown once and stored nowhere.
pub struct NewKey {
    /// The whole key, for the client.
    pub text: String,
    /// Its public id.
    pub id: KeyId,
    /// Its hash, for the tenants file.
    pub hash: KeyHash,
}

impl NewKey {
    /// Generates a key; `None` if the system has no random bits.
    #[must_use]
    pub fn make() -> Option<Self> {
        let mut bits = [0; ID_BYTES + SECRET_BYTES];
        SystemRandom::new().fill(&mut bits).ok()?;
        let (id, secret) = bits.split_at(ID_BYTES);
        let id = hex(id);
        let text = format!("{PREFIX}{id}_{}", hex(secret));
        Some(Self {
            hash: KeyHash::of(&text),
            id: KeyId(id),
            text,
        })
    }
}

/// A key as a client presented it.
pub struct PresentedKey {
    id: KeyId,
    hash: KeyHash,
}

impl PresentedKey {
    /// Parses a key; `None` if the text is not one.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let (id, _) = text.strip_prefix(PREFIX)?.split_once('_')?;
        Some(Self {
            id: id.parse().ok()?,
            hash: KeyHash::of(text),
        })
    }

    /// The id that it claims.
    #[must_use]
    pub fn id(&self) -> &KeyId {
        &self.id
    }

    /// Whether this is the key with the stored hash. Compares in constant time.
    #[must_use]
    pub fn matches(&self, stored: &KeyHash) -> bool {
        self.hash.0.ct_eq(&stored.0).into()
    }
}

/// A secret that clients and this server share. Only its hash is stored.
#[derive(Clone)]
pub struct SharedSecret(KeyHash);

impl SharedSecret {
    /// Hashes the secret.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(KeyHash::of(text))
    }

    /// Whether `presented` is the secret. Compares in constant time.
    #[must_use]
    pub fn matches(&self, presented: &str) -> bool {
        self.0.0.ct_eq(&KeyHash::of(presented).0).into()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::{KeyHash, KeyId, NewKey, PresentedKey, SharedSecret};

    #[test]
    fn a_shared_secret_matches_only_itself() {
        let secret = SharedSecret::new("open sesame");
        assert!(secret.matches("open sesame"));
        for other in ["", "open sesam", "open sesame ", "Open sesame"] {
            assert!(!secret.matches(other), "{other}");
        }
    }

    #[test]
    fn a_key_matches_its_hash_and_no_other_key_does() {
        let (key, other) = (NewKey::make().unwrap(), NewKey::make().unwrap());
        let stored: KeyHash = key.hash.to_string().parse().unwrap();
        let presented = PresentedKey::read(&key.text).unwrap();
        assert_eq!(presented.id(), &key.id);
        assert!(presented.matches(&stored));
        assert!(!PresentedKey::read(&other.text).unwrap().matches(&stored));
        // The same id with another secret.
        let forged = format!("rsk_{}_{}", key.id, "0".repeat(64));
        let forged = PresentedKey::read(&forged).unwrap();
        assert_eq!(forged.id(), &key.id);
        assert!(!forged.matches(&stored));
        let longer = PresentedKey::read(&format!("{}0", key.text)).unwrap();
        assert!(!longer.matches(&stored));
    }

    #[test]
    fn the_hash_is_sha_256_of_the_whole_key() {
        // printf %s rsk_a_b | sha256sum
        let known = "sha256:a968fbdc6c5757fe6ef0dba85f843179e37ef609376e7bd0ae49c8b1e391bf0f";
        let stored: KeyHash = known.parse().unwrap();
        assert_eq!(stored.to_string(), known);
        assert!(PresentedKey::read("rsk_a_b").unwrap().matches(&stored));
    }

    #[test]
    fn malformed_keys_and_hashes_are_rejected() {
        for text in ["", "rsk_", "rsk_a", "rsk__b", "rsk_A_b", "abc", "rsk_a b_c"] {
            assert!(PresentedKey::read(text).is_none(), "{text}");
        }
        let digits = "0".repeat(63);
        for text in [
            "",
            "sha256:",
            "md5:00",
            &digits,
            &format!("sha256:{digits}é"),
        ] {
            assert!(text.parse::<KeyHash>().is_err(), "{text}");
        }
        assert!("".parse::<KeyId>().is_err() && "K".parse::<KeyId>().is_err());
    }

    #[test]
    fn debug_output_hides_hashes() {
        let key = NewKey::make().unwrap();
        assert_eq!(format!("{:?}", key.hash), "(hidden)");
    }
}
