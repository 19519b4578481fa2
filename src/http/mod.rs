//! Plain HTTP: the admin port, the webhook and the console.

pub mod admin;
pub mod console;
pub(crate) mod log_filter;
mod open_port;
pub mod webhook;
