//! Ids of lists that carry their placement and variant, with a signature, so that an
//! event that sends one back is attributed without any lookup.
//!
//! An id of a list of n items is 30 + 2n bytes in URL-safe base64, without padding:
//!
//! ```text
//! version  1   VERSION
//! flags    1   1 = for a user
//! arm      8   ArmId
//! issued   4   seconds since 1970
//! nonce    8   random: the id is unique
//! items   2n   of each item, the last 16 bits of XXH3-64 of the nonce and the item's id
//! tag      8   the first 8 bytes of HMAC-SHA-256 over the context, the scope's length and
//!              the scope, the length of what is before the tag and that itself, and the
//!              user id
//! ```
//!
//! Numbers are big-endian. 64 bits suffice: a forger cannot check a guess alone, but must
//! send it to the service, which does not reply whether it was right.

use std::{fmt, ops::RangeInclusive, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::hmac;
use subtle::ConstantTimeEq as _;
use xxhash_rust::xxh3::xxh3_64;

use crate::domain::{
    ids::{ContentId, UserId},
    time::Timestamp,
};

const VERSION: u8 = 1;
const FOR_A_USER: u8 = 1;
/// Before the items.
const HEAD_BYTES: usize = 22;
const TAG_BYTES: usize = 8;
/// Items that an id carries: more would make it longer than ids may be. Events of later
/// items are not attributed.
const MAX_ITEMS: usize = 150;
/// Length of the longest id, in bytes.
pub const MAX_SIGNED_ID_BYTES: usize = 440;
const LENGTHS: RangeInclusive<usize> = 40..=MAX_SIGNED_ID_BYTES;
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedId {
    /// The placement and the variant of the list.
    pub arm: ArmId,
    /// When the list was made, in whole seconds.
    pub issued: Timestamp,
    /// A random number that makes the id unique.
    pub nonce: u64,
    /// A hash of each item.
    items: Vec<u16>,
}

impl SignedId {
    /// The id of a list of these items.
    pub fn new<'a>(
        arm: ArmId,
        issued: Timestamp,
        nonce: u64,
        items: impl Iterator<Item = &'a ContentId>,
    ) -> Self {
        Self {
            arm,
            issued,
            nonce,
            items: items
                .take(MAX_ITEMS)
                .map(|item| hash(nonce, item))
                .collect(),
        }
    }

    /// Whether an item is in the list. Wrong for one of 65,536 other items for each item
    /// of the list.
    #[must_use]
    pub fn has(&self, item: &ContentId) -> bool {
        self.items.contains(&hash(self.nonce, item))
    }

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

    /// What is before the tag; `None` if the time has no form in an id.
    fn to_body(&self, flags: u8) -> Option<Vec<u8>> {
        let issued = u32::try_from(self.issued.as_micros().div_euclid(1_000_000)).ok()?;
        let items = self.items.iter().flat_map(|item| item.to_be_bytes());
        let head = [VERSION, flags].into_iter();
        let head = head.chain(self.arm.0.to_be_bytes());
        let head = head.chain(issued.to_be_bytes());
        Some(head.chain(self.nonce.to_be_bytes()).chain(items).collect())
    }

    fn of_body(body: &[u8]) -> Option<Self> {
        let (head, items) = body.split_first_chunk::<HEAD_BYTES>()?;
        let (items, rest) = items.as_chunks::<2>();
        let number = |bytes: &[u8]| {
            let of_byte = |number: u64, byte: &u8| (number << 8) | u64::from(*byte);
            bytes.iter().fold(0, of_byte)
        };
        let issued = i64::try_from(number(&head[10..14])).ok()?;
        rest.is_empty().then(|| Self {
            arm: ArmId(number(&head[2..10])),
            issued: Timestamp::from_micros(issued * 1_000_000),
            nonce: number(&head[14..]),
            items: items.iter().map(|item| u16::from_be_bytes(*item)).collect(),
        })
    }
}

fn hash(nonce: u64, item: &ContentId) -> u16 {
    let text = [&nonce.to_be_bytes(), item.as_str().as_bytes()].concat();
    (xxh3_64(&text) & u64::from(u16::MAX)) as u16
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

    /// The id as a text, for a list of this user, or of no user. `None` if its time has no
    /// form in an id (before 1970, or after 2106).
    #[must_use]
    pub fn sign(&self, id: &SignedId, user: Option<&UserId>) -> Option<String> {
        let flags = if user.is_some() { FOR_A_USER } else { 0 };
        let mut bytes = id.to_body(flags)?;
        let tag = self.tag(self.keys.first()?, &bytes, user);
        bytes.extend(tag);
        Some(URL_SAFE_NO_PAD.encode(bytes))
    }

    /// What the id of an event of this user carries; `None` if none of the keys signed
    /// it, or it is of another user's list.
    #[must_use]
    pub fn verify(&self, text: &str, user: &UserId) -> Option<SignedId> {
        if !LENGTHS.contains(&text.len()) {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (body, tag) = bytes.split_last_chunk::<TAG_BYTES>()?;
        let [VERSION, flags, ..] = *body else {
            return None;
        };
        if flags > FOR_A_USER {
            return None;
        }
        let user = (flags == FOR_A_USER).then_some(user);
        let mut keys = self.keys.iter();
        keys.any(|key| bool::from(self.tag(key, body, user)[..].ct_eq(tag)))
            .then(|| SignedId::of_body(body))
            .flatten()
    }

    fn tag(&self, key: &hmac::Key, body: &[u8], user: Option<&UserId>) -> [u8; TAG_BYTES] {
        let mut context = hmac::Context::with_key(key);
        context.update(CONTEXT);
        for part in [self.scope.as_bytes(), body] {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
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
