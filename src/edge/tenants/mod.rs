//! Who may call, as whom, and what: the tenants file, its keys and roles. Reads
//! texts, not files; what a tenant's data is kept in is made elsewhere.

mod file;
mod key;
mod role;

pub use file::{KeyEntry, Quota, TenantEntry, TenantsFile, TenantsFileError};
pub use key::{KeyHash, KeyId, NewKey, PresentedKey, SharedSecret};
pub use role::{Role, Roles};
