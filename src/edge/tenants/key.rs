//! Keys: a text that a client presents, of which only the hash is kept.
//!
//! A key is `rsk_ID_SECRET`. The id is no secret: it finds the entry. The secret
//! has 256 random bits, so a plain SHA-256 cannot be turned back by guessing.

use std::{fmt, str::FromStr};

use ring::{
    digest::{SHA256, digest},
    rand::{SecureRandom as _, SystemRandom},
};
use subtle::ConstantTimeEq as _;

const START: &str = "rsk_";
const ID_BYTES: usize = 8;
const SECRET_BYTES: usize = 32;
const HASH_BYTES: usize = 32;
/// How a hash begins in the file: what it was made with.
const SCHEME: &str = "sha256:";

/// What a key is known by. No secret.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId(String);

impl FromStr for KeyId {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let good = |byte: u8| byte.is_ascii_digit() || byte.is_ascii_lowercase();
        if text.is_empty() || text.len() > 64 || !text.bytes().all(good) {
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

/// As it stands in the file.
impl fmt::Display for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}", hex(&self.0))
    }
}

impl FromStr for KeyHash {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WRONG: &str = "must be sha256: and 64 hexadecimal digits";
        let digits = text.strip_prefix(SCHEME).ok_or(WRONG)?;
        if digits.len() != 2 * HASH_BYTES || !digits.is_ascii() {
            return Err(WRONG);
        }
        let mut hash = [0; HASH_BYTES];
        for (byte, at) in hash.iter_mut().zip((0..digits.len()).step_by(2)) {
            *byte = u8::from_str_radix(&digits[at..at + 2], 16).map_err(|_| WRONG)?;
        }
        Ok(Self(hash))
    }
}

/// A key that was just made. Its text is shown once and kept nowhere.
pub struct NewKey {
    /// The whole key, for the client.
    pub text: String,
    /// What it is known by.
    pub id: KeyId,
    /// What is kept of it.
    pub hash: KeyHash,
}

impl NewKey {
    /// Makes one of the system's random bits; `None` if it has none to give.
    #[must_use]
    pub fn make() -> Option<Self> {
        let mut bits = [0; ID_BYTES + SECRET_BYTES];
        SystemRandom::new().fill(&mut bits).ok()?;
        let (id, secret) = bits.split_at(ID_BYTES);
        let id = hex(id);
        let text = format!("{START}{id}_{}", hex(secret));
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
    /// Reads a key; `None` if the text is none.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let (id, _) = text.strip_prefix(START)?.split_once('_')?;
        Some(Self {
            id: id.parse().ok()?,
            hash: KeyHash::of(text),
        })
    }

    /// What it says it is.
    #[must_use]
    pub fn id(&self) -> &KeyId {
        &self.id
    }

    /// Whether it is the key that was hashed. Takes the same time whatever
    /// differs.
    #[must_use]
    pub fn is(&self, kept: &KeyHash) -> bool {
        self.hash.0.ct_eq(&kept.0).into()
    }
}

/// A secret that callers and this server share. Only its hash is kept.
#[derive(Clone)]
pub struct SharedSecret(KeyHash);

impl SharedSecret {
    /// Keeps what is needed of it.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(KeyHash::of(text))
    }

    /// Whether this is the secret. Takes the same time whatever differs.
    #[must_use]
    pub fn is(&self, presented: &str) -> bool {
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
    fn a_shared_secret_is_itself_and_nothing_else() {
        let secret = SharedSecret::new("open sesame");
        assert!(secret.is("open sesame"));
        for other in ["", "open sesam", "open sesame ", "Open sesame"] {
            assert!(!secret.is(other), "{other}");
        }
    }

    #[test]
    fn a_made_key_is_known_by_its_hash_and_no_other_is() {
        let (key, other) = (NewKey::make().unwrap(), NewKey::make().unwrap());
        let kept: KeyHash = key.hash.to_string().parse().unwrap();
        let presented = PresentedKey::read(&key.text).unwrap();
        assert_eq!(presented.id(), &key.id);
        assert!(presented.is(&kept));
        assert!(!PresentedKey::read(&other.text).unwrap().is(&kept));
        // The same id with another secret.
        let forged = format!("rsk_{}_{}", key.id, "0".repeat(64));
        let forged = PresentedKey::read(&forged).unwrap();
        assert_eq!(forged.id(), &key.id);
        assert!(!forged.is(&kept));
        let longer = PresentedKey::read(&format!("{}0", key.text)).unwrap();
        assert!(!longer.is(&kept));
    }

    #[test]
    fn the_hash_is_sha_256_of_the_whole_key() {
        // printf %s rsk_a_b | sha256sum
        let known = "sha256:a968fbdc6c5757fe6ef0dba85f843179e37ef609376e7bd0ae49c8b1e391bf0f";
        let kept: KeyHash = known.parse().unwrap();
        assert_eq!(kept.to_string(), known);
        assert!(PresentedKey::read("rsk_a_b").unwrap().is(&kept));
    }

    #[test]
    fn rubbish_is_no_key_and_no_hash() {
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
    fn nothing_of_a_key_is_in_debug_output() {
        let key = NewKey::make().unwrap();
        assert_eq!(format!("{:?}", key.hash), "(hidden)");
    }
}
