//! The audit log: who looked at which user. Users are keyed hashes, by which lines about
//! one user can be matched within a process, and no id is found out.

use ring::{
    hmac::{HMAC_SHA256, Key, sign},
    rand::SystemRandom,
};
use tracing::info;

/// Bytes of a hash that are logged.
const HASH_BYTES: usize = 8;

/// Writes lines of the audit log.
pub(super) struct Audit {
    /// Of this process; `None` if there are no random numbers: then no hash is logged.
    key: Option<Key>,
}

impl Audit {
    pub(super) fn new() -> Self {
        Self {
            key: Key::generate(HMAC_SHA256, &SystemRandom::new()).ok(),
        }
    }

    pub(super) fn looked_at(&self, user: &str, tenant: Option<&str>, path: &str) {
        let user_hash = self.hash(user);
        info!(target: "recsys::audit", user_hash, tenant, path, "console showed a user");
    }

    pub(super) fn logged_in(&self, tenant: Option<&str>) {
        info!(target: "recsys::audit", tenant, "console log-in");
    }

    fn hash(&self, user: &str) -> String {
        let Some(key) = &self.key else {
            return String::new();
        };
        let tag = sign(key, user.as_bytes());
        let bytes = tag.as_ref().iter().take(HASH_BYTES);
        bytes.map(|byte| format!("{byte:02x}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::Audit;

    #[test]
    fn a_user_has_one_hash_in_a_process_and_another_in_the_next() {
        let audit = Audit::new();
        assert_eq!(audit.hash("ada"), audit.hash("ada"));
        assert_ne!(audit.hash("ada"), audit.hash("bea"));
        assert_ne!(audit.hash("ada"), Audit::new().hash("ada"));
        assert_eq!(audit.hash("ada").len(), 16);
    }
}
