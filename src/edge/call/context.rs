//! What is learned about a call on its way, for its log line and span.

use std::sync::{Arc, OnceLock};

use http::Extensions;

use crate::domain::ids::TenantId;

/// Facts about a call: an extension of its request.
#[derive(Clone, Default)]
pub(crate) struct CallContext(Arc<OnceLock<TenantId>>);

impl CallContext {
    /// Records the tenant of a call with these extensions.
    pub(crate) fn set_tenant(extensions: &Extensions, tenant: Option<&TenantId>) {
        if let (Some(context), Some(tenant)) = (extensions.get::<Self>(), tenant) {
            let _ = context.0.set(tenant.clone());
        }
    }

    pub(crate) fn tenant(&self) -> Option<&str> {
        self.0.get().map(TenantId::as_str)
    }
}
