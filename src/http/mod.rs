//! Plain HTTP: the admin port and the webhook.

pub mod admin;
pub(crate) mod log_filter;
pub mod webhook;
