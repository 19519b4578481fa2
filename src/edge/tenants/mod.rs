//! The tenants file: tenants, their keys, roles and quotas. This module parses text;
//! `app` reads the file and creates the tenants' engines.

mod file;
mod key;
mod role;

pub use file::{KeyEntry, Quota, TenantEntry, TenantsFile, TenantsFileError};
pub use key::{KeyHash, KeyId, NewKey, PresentedKey, SharedSecret};
pub use role::{Role, Roles};
