//! Item ids that carry their hash.

use std::{
    hash::{BuildHasher as _, BuildHasherDefault, Hash, Hasher},
    sync::LazyLock,
};

/// One state for all, so that hashes can be kept beside the ids. It is random, so that
/// nobody can choose ids whose hashes collide.
static STATE: LazyLock<foldhash::quality::RandomState> = LazyLock::new(Default::default);

/// An item's id with its hash. Adding up rows looks up thousands of ids: with stored
/// hashes, ids that differ are hardly ever compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct HashedId<'a> {
    // Compared first.
    hash: u32,
    id: &'a str,
}

impl<'a> HashedId<'a> {
    pub(super) fn new(id: &'a str) -> Self {
        Self {
            hash: Self::hash_of(id),
            id,
        }
    }

    /// With the hash that [`HashedId::hash_of`] returned for the id.
    pub(super) fn with_hash(id: &'a str, hash: u32) -> Self {
        Self { hash, id }
    }

    /// The hash of an id, for as long as the process runs.
    pub(super) fn hash_of(id: &str) -> u32 {
        (STATE.hash_one(id) >> 32) as u32
    }

    pub(super) fn id(self) -> &'a str {
        self.id
    }
}

impl Hash for HashedId<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u32(self.hash);
    }
}

/// Builds the hasher of maps with [`HashedId`] as the key.
pub(super) type StoredHashes = BuildHasherDefault<StoredHash>;

/// Passes a stored hash on.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct StoredHash(u64);

impl Hasher for StoredHash {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u32(u32::from(*byte));
        }
    }

    fn write_u32(&mut self, hash: u32) {
        // Maps use the lowest and the highest bits: the golden ratio spreads to both.
        self.0 = (self.0 ^ u64::from(hash)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 ^= self.0 >> 32;
    }
}
