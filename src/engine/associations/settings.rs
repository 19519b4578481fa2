//! Settings of associations that are not in the ranking file.

use std::time::Duration;

/// How a process refreshes associations.
#[derive(Clone, Debug, PartialEq)]
pub struct AssociationSettings {
    /// How often due rows are refreshed, and the largest age of cached rows and of
    /// popularity.
    pub interval: Duration,
    /// The share of a core that refreshing may take, above 0.
    pub cpu: f64,
    /// How many processes share the users' state.
    pub replicas: usize,
    /// Memory for cached rows and lists, in bytes.
    pub cache_max_bytes: u64,
    /// Whether due rows are refreshed in the background. If not,
    /// [`Engine::refresh_associations`](crate::engine::Engine::refresh_associations)
    /// refreshes them.
    pub background: bool,
}

impl Default for AssociationSettings {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(30),
            cpu: 0.1,
            replicas: 1,
            cache_max_bytes: 64 << 20,
            background: true,
        }
    }
}
