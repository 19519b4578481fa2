//! Authentication and authorization: keys, roles, tenants, quotas.
//!
//! Without a tenants file every call is allowed, on one engine. With one, a call
//! presents a key, which belongs to one tenant and has roles. Health and
//! reflection need no key.

mod caller;
mod credentials;
mod directory;
mod quota;

use std::{
    collections::BTreeMap,
    num::NonZeroU32,
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use http::HeaderMap;
use tokio_util::sync::CancellationToken;

use crate::{
    domain::ids::TenantId,
    edge::{
        refusal::Refusal,
        tenants::{Role, TenantsFile},
    },
    engine::Engine,
    telemetry::meters::{self, Refused},
};
use credentials::TENANT;

pub(crate) use caller::Caller;
pub(crate) use credentials::{presented_key, single};
pub use directory::Directory;

/// Who may call. Keys and engines can be replaced while calls are in flight.
pub struct Access {
    mode: RwLock<Arc<Mode>>,
    /// Replaced engines that may still have work to finish.
    retired: Mutex<Vec<Engine>>,
}

enum Mode {
    /// Every call is allowed.
    Open(Engine),
    /// Calls need a key.
    Keyed(Directory),
}

impl Access {
    /// Allows every call, on this engine.
    #[must_use]
    pub fn open(engine: Engine) -> Arc<Self> {
        Self::with(Mode::Open(engine))
    }

    /// Allows the calls of these keys.
    #[must_use]
    pub fn keyed(directory: Directory) -> Arc<Self> {
        Self::with(Mode::Keyed(directory))
    }

    fn with(mode: Mode) -> Arc<Self> {
        Arc::new(Self {
            mode: RwLock::new(Arc::new(mode)),
            retired: Mutex::default(),
        })
    }

    /// Replaces keys and engines. Keys that are unchanged keep the level of their
    /// quotas.
    pub fn reload(&self, file: &TenantsFile, engines: BTreeMap<TenantId, Engine>) {
        let previous = self.mode();
        let known = match &*previous {
            Mode::Keyed(directory) => Some(directory),
            Mode::Open(_) => None,
        };
        let directory = Directory::after(file, engines, known);
        {
            let mut retired = self.retired.lock().unwrap_or_else(PoisonError::into_inner);
            retired.extend(self.engines());
            retired.retain(|engine| !engine.is_idle());
        }
        let mut mode = self.mode.write().unwrap_or_else(PoisonError::into_inner);
        *mode = Arc::new(Mode::Keyed(directory));
        drop(mode);
        if let Some(known) = known {
            known.replaced.cancel();
        }
    }

    fn mode(&self) -> Arc<Mode> {
        let mode = self.mode.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&mode)
    }

    /// Whether a call with these headers may come from anyone who is trusted: it has a key
    /// of this server, or no key is needed. Takes nothing from a quota.
    pub(crate) fn knows(&self, headers: &HeaderMap) -> bool {
        match &*self.mode() {
            Mode::Open(_) => true,
            Mode::Keyed(directory) => directory.key(headers).is_some(),
        }
    }

    /// Whether every call is allowed.
    pub(crate) fn is_open(&self) -> bool {
        matches!(&*self.mode(), Mode::Open(_))
    }

    /// The engines in use.
    pub(crate) fn engines(&self) -> Vec<Engine> {
        match &*self.mode() {
            Mode::Open(engine) => vec![engine.clone()],
            Mode::Keyed(directory) => directory.tenants.values().cloned().collect(),
        }
    }

    /// Waits until the engines have finished all work that calls started.
    pub(crate) async fn finish(&self) {
        let retired =
            std::mem::take(&mut *self.retired.lock().unwrap_or_else(PoisonError::into_inner));
        for engine in retired.into_iter().chain(self.engines()) {
            engine.finish().await;
        }
    }

    /// The caller of a call with these headers. Takes one call from its quota.
    ///
    /// # Errors
    /// [`Refusal`] if the call is not allowed; `roles` are those of its method.
    pub(crate) fn admit(
        &self,
        headers: &HeaderMap,
        roles: &'static [Role],
    ) -> Result<Caller, Refusal> {
        let mode = self.mode();
        let directory = match &*mode {
            Mode::Keyed(directory) => directory,
            Mode::Open(_) if headers.contains_key(TENANT) => {
                meters::refused(Refused::Tenant);
                return Err(Refusal::NoTenants);
            }
            Mode::Open(engine) => {
                return Ok(Caller {
                    engine: engine.clone(),
                    replaced: CancellationToken::new(),
                    tenant: None,
                    key: None,
                });
            }
        };
        let Some(key) = directory.key(headers) else {
            meters::refused(Refused::Key);
            return Err(Refusal::Unauthenticated);
        };
        if !roles.iter().any(|role| key.entry.roles.allow(*role)) {
            meters::refused(Refused::Role);
            return Err(Refusal::RoleMissing(roles));
        }
        let Some((tenant, engine)) = directory.tenant(&key, headers) else {
            meters::refused(Refused::Tenant);
            return Err(Refusal::TenantMismatch);
        };
        if let Some(calls) = &key.calls {
            calls.take(NonZeroU32::MIN)?;
        }
        Ok(Caller {
            engine: engine.clone(),
            replaced: directory.replaced.clone(),
            tenant: Some(tenant.clone()),
            key: Some(key),
        })
    }
}
