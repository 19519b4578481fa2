//! Access: keys, roles, tenants and quotas.

mod isolation;
mod keys;
mod quotas;
mod reload;
mod startup;
