//! `recsys keys new`: a key for a caller, and what to keep of it.

use crate::{
    domain::ids::TenantId,
    edge::tenants::{NewKey, Role},
};

/// A key that was just made, as it is told.
pub struct Told {
    /// The key: for the caller alone, and shown only now.
    pub key: String,
    /// What the tenants file needs of it.
    pub entry: String,
}

/// Makes a key of a tenant with these roles; `None` if the system has no random
/// numbers to give.
#[must_use]
pub fn new(tenant: &TenantId, roles: &[Role]) -> Option<Told> {
    let key = NewKey::make()?;
    let roles: Vec<String> = roles.iter().map(|role| format!("\"{role}\"")).collect();
    let entry = format!(
        "[[tenants.{tenant}.keys]]\nid = \"{}\"\nhash = \"{}\"\nroles = [{}]\n",
        key.id,
        key.hash,
        roles.join(", ")
    );
    Some(Told {
        key: key.text,
        entry,
    })
}
