//! Tenants with their engines, and the keys that lead to them.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use http::HeaderMap;
use tokio_util::sync::CancellationToken;

use crate::{
    domain::ids::TenantId,
    edge::{
        access::{
            credentials::{TENANT, presented_key, single},
            quota::Bucket,
        },
        tenants::{KeyEntry, KeyId, PresentedKey, Role, TenantsFile},
    },
    engine::Engine,
};

/// The tenants and keys of one version of the tenants file.
pub struct Directory {
    /// Cancelled when another version replaces this one.
    pub(crate) replaced: CancellationToken,
    pub(crate) tenants: BTreeMap<TenantId, Engine>,
    keys: HashMap<KeyId, Arc<Key>>,
}

/// A key with its quotas.
pub(crate) struct Key {
    tenant: TenantId,
    pub(crate) entry: KeyEntry,
    pub(crate) calls: Option<Bucket>,
    pub(crate) events: Option<Bucket>,
}

impl Directory {
    /// The keys of a file, over the engines of its tenants.
    #[must_use]
    pub fn new(file: &TenantsFile, engines: BTreeMap<TenantId, Engine>) -> Self {
        Self::after(file, engines, None)
    }

    /// As [`Directory::new`]. Keys that are unchanged since `previous` keep the
    /// level of their quotas.
    pub(crate) fn after(
        file: &TenantsFile,
        tenants: BTreeMap<TenantId, Engine>,
        previous: Option<&Self>,
    ) -> Self {
        let keys = file
            .tenants
            .iter()
            .flat_map(|(tenant, entry)| entry.keys.iter().map(move |key| (tenant, key)))
            .map(|(tenant, entry)| {
                let existing = previous.and_then(|previous| previous.keys.get(&entry.id));
                let unchanged = existing.filter(|key| key.tenant == *tenant && key.entry == *entry);
                let key = unchanged
                    .cloned()
                    .unwrap_or_else(|| Key::new(tenant, entry));
                (entry.id.clone(), key)
            })
            .collect();
        Self {
            replaced: CancellationToken::new(),
            tenants,
            keys,
        }
    }

    /// The key that the headers present, if it is one of these.
    pub(crate) fn key(&self, headers: &HeaderMap) -> Option<Arc<Key>> {
        let presented = PresentedKey::read(presented_key(headers)?)?;
        let key = self.keys.get(presented.id())?;
        presented.matches(&key.entry.hash).then(|| Arc::clone(key))
    }

    /// The tenant of the key, or the one that an admin key names. `None` if the
    /// headers name a tenant that the key gives no access to.
    pub(crate) fn tenant(&self, key: &Key, headers: &HeaderMap) -> Option<(&TenantId, &Engine)> {
        let own = key.tenant.as_str();
        let named = match single(headers, TENANT)? {
            None => own,
            Some(named) => named.to_str().ok()?,
        };
        if named != own && !key.entry.roles.allow(Role::Admin) {
            return None;
        }
        self.tenants.get_key_value(&TenantId::parse(named).ok()?)
    }
}

impl Key {
    fn new(tenant: &TenantId, entry: &KeyEntry) -> Arc<Self> {
        Arc::new(Self {
            tenant: tenant.clone(),
            calls: entry.calls.map(Bucket::new),
            events: entry.events.map(Bucket::new),
            entry: entry.clone(),
        })
    }
}
