//! Ids of lists that carry their placement and variant, with a signature, so that an
//! event that sends one back is attributed without any lookup.
//!
//! An id is 30 bytes in URL-safe base64, without padding:
//!
//! ```text
//! version  1   VERSION
//! flags    1   1 = for a user
//! arm      8   ArmId
//! issued   4   seconds since 1970
//! nonce    8   random: the id is unique
//! tag      8   the first 8 bytes of HMAC-SHA-256 over the context, the scope's length and
//!              the scope, the 22 bytes before the tag, and the user id
//! ```
//!
//! Numbers are big-endian. 64 bits suffice: a forger cannot check a guess alone, but must
//! send it to the service, which does not reply whether it was right.

use std::{fmt, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::hmac;
use subtle::ConstantTimeEq as _;
use xxhash_rust::xxh3::xxh3_64;

use crate::domain::{ids::UserId, time::Timestamp};

const VERSION: u8 = 1;
const FOR_A_USER: u8 = 1;
const BODY_BYTES: usize = 22;
const TAG_BYTES: usize = 8;
const ID_BYTES: usize = BODY_BYTES + TAG_BYTES;
/// Length of an id in base64.
const ID_LENGTH: usize = 40;
/// No other use of a key has the same first bytes.
const CONTEXT: &[u8] = b"recsys request id\0";
const KEY_BYTES: usize = 32;
const MAX_KEYS: usize = 2;

/// How long after a list events are attributed to it.
pub const ATTRIBUTION_WINDOW: Duration = Duration::from_secs(24 * 3_600);
/// How far the clock of an event's sender may be behind the server's.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(300);

/// A placement and a variant as a number, which is the same in every process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ArmId(u64);

impl ArmId {
    /// The number of a placement and an experiment's variant.
    #[must_use]
    pub fn of(placement: Option<&str>, variant: Option<(&str, &str)>) -> Self {
        let (experiment, variant) = variant.unwrap_or_default();
        // Names have no control characters.
        let text = [placement.unwrap_or_default(), experiment, variant].join("\0");
        Self(xxh3_64(text.as_bytes()))
    }
}

/// What an id carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignedId {
    /// The placement and the variant of the list.
    pub arm: ArmId,
    /// When the list was made, in whole seconds.
    pub issued: Timestamp,
    /// A random number that makes the id unique.
    pub nonce: u64,
}

impl SignedId {
    /// Whether an event can result from the list: it happened, and arrives, within
    /// [`ATTRIBUTION_WINDOW`] after it.
    #[must_use]
    pub fn can_lead_to(&self, event_time: Timestamp, now: Timestamp) -> bool {
        let during = |time: Timestamp| {
            self.issued.minus(CLOCK_TOLERANCE) <= time
                && time <= self.issued.plus(ATTRIBUTION_WINDOW)
        };
        during(event_time) && during(now)
    }

    /// `None` if its time has no form in an id.
    fn body(&self, flags: u8) -> Option<[u8; BODY_BYTES]> {
        let issued = u32::try_from(self.issued.as_micros().div_euclid(1_000_000)).ok()?;
        let mut body = [0; BODY_BYTES];
        body[0] = VERSION;
        body[1] = flags;
        body[2..10].copy_from_slice(&self.arm.0.to_be_bytes());
        body[10..14].copy_from_slice(&issued.to_be_bytes());
        body[14..].copy_from_slice(&self.nonce.to_be_bytes());
        Some(body)
    }

    fn of_body(body: &[u8; BODY_BYTES]) -> Self {
        let number = |bytes: &[u8]| {
            let of_byte = |number: u64, byte: &u8| (number << 8) | u64::from(*byte);
            bytes.iter().fold(0, of_byte)
        };
        let issued = i64::from(u32::try_from(number(&body[10..14])).unwrap_or(u32::MAX));
        Self {
            arm: ArmId(number(&body[2..10])),
            issued: Timestamp::from_micros(issued * 1_000_000),
            nonce: number(&body[14..]),
        }
    }
}

/// A key file is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKeys {
    /// It has no key, or too many.
    #[error("must have one key, or two, and has {0}")]
    Count(usize),
    /// A line is not a key.
    #[error("line {0} must be 64 hexadecimal digits; make a key with: openssl rand -hex 32")]
    Form(usize),
    /// Both keys are the same.
    #[error("has the same key twice")]
    Same,
}

/// The keys that sign and verify ids, for one scope: a tenant.
#[derive(Clone)]
pub struct RequestIdKeys {
    /// The first one signs; all verify.
    keys: Vec<hmac::Key>,
    scope: String,
}

/// Keys are secret.
impl fmt::Debug for RequestIdKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scope = &self.scope;
        f.debug_struct("RequestIdKeys")
            .field("scope", scope)
            .finish_non_exhaustive()
    }
}

impl RequestIdKeys {
    /// The keys of a file: one or two lines of 64 hexadecimal digits. Empty lines do not
    /// count.
    ///
    /// # Errors
    /// [`InvalidKeys`] if it is not such a file.
    pub fn parse(text: &str) -> Result<Self, InvalidKeys> {
        let lines = text.lines().enumerate();
        let lines = lines.map(|(index, line)| (index + 1, line.trim()));
        let mut bytes: Vec<[u8; KEY_BYTES]> = Vec::new();
        for (number, line) in lines.filter(|(_, line)| !line.is_empty()) {
            bytes.push(key_bytes(line).ok_or(InvalidKeys::Form(number))?);
        }
        if !(1..=MAX_KEYS).contains(&bytes.len()) {
            return Err(InvalidKeys::Count(bytes.len()));
        }
        if bytes.len() == MAX_KEYS && bytes[0] == bytes[1] {
            return Err(InvalidKeys::Same);
        }
        let key = |bytes: &[u8; KEY_BYTES]| hmac::Key::new(hmac::HMAC_SHA256, bytes);
        Ok(Self {
            keys: bytes.iter().map(key).collect(),
            scope: String::new(),
        })
    }

    /// The same keys for another scope. An id of one scope is not valid in another.
    #[must_use]
    pub fn in_scope(&self, scope: &str) -> Self {
        Self {
            keys: self.keys.clone(),
            scope: scope.to_owned(),
        }
    }

    /// An id for a list of this user, or of nobody. `None` if its time has no form in an
    /// id (before 1970, or after 2106).
    #[must_use]
    pub fn sign(&self, id: &SignedId, user: Option<&UserId>) -> Option<String> {
        let flags = if user.is_some() { FOR_A_USER } else { 0 };
        let body = id.body(flags)?;
        let tag = self.tag(self.keys.first()?, &body, user);
        let mut bytes = [0; ID_BYTES];
        bytes[..BODY_BYTES].copy_from_slice(&body);
        bytes[BODY_BYTES..].copy_from_slice(&tag);
        Some(URL_SAFE_NO_PAD.encode(bytes))
    }

    /// What the id of an event of this user carries; `None` if none of the keys signed
    /// it, or it is of another user's list.
    #[must_use]
    pub fn verify(&self, text: &str, user: &UserId) -> Option<SignedId> {
        if text.len() != ID_LENGTH {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (body, tag) = bytes.split_first_chunk::<BODY_BYTES>()?;
        if body[0] != VERSION || body[1] > FOR_A_USER {
            return None;
        }
        let user = (body[1] == FOR_A_USER).then_some(user);
        let mut keys = self.keys.iter();
        keys.any(|key| bool::from(self.tag(key, body, user)[..].ct_eq(tag)))
            .then(|| SignedId::of_body(body))
    }

    fn tag(
        &self,
        key: &hmac::Key,
        body: &[u8; BODY_BYTES],
        user: Option<&UserId>,
    ) -> [u8; TAG_BYTES] {
        let mut context = hmac::Context::with_key(key);
        context.update(CONTEXT);
        context.update(&(self.scope.len() as u64).to_be_bytes());
        context.update(self.scope.as_bytes());
        context.update(body);
        context.update(user.map_or("", UserId::as_str).as_bytes());
        let mut tag = [0; TAG_BYTES];
        for (byte, signed) in tag.iter_mut().zip(context.sign().as_ref()) {
            *byte = *signed;
        }
        tag
    }
}

fn key_bytes(line: &str) -> Option<[u8; KEY_BYTES]> {
    if line.len() != 2 * KEY_BYTES || !line.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; KEY_BYTES];
    for (byte, at) in bytes.iter_mut().zip((0..line.len()).step_by(2)) {
        *byte = u8::from_str_radix(&line[at..at + 2], 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests;
