//! The API's port: connections, TLS, keys, load, deadlines.

pub mod access;
pub mod browser;
pub(crate) mod call;
pub(crate) mod connections;
pub(crate) mod deadline;
pub(crate) mod load;
pub(crate) mod observe;
pub(crate) mod panics;
pub(crate) mod request_id;
pub mod settings;
pub mod tenants;
pub mod tls;
pub(crate) mod watchdog;
