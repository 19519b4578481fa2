//! The call layer of the API's port: every call gets an id, a span, a metric and,
//! if it is sampled, a log line.

mod context;
mod latencies;
mod log;
mod record;
mod request_id;
mod service;

pub(crate) use context::CallContext;
pub(crate) use latencies::MethodLatencies;
pub(crate) use log::CallLog;
pub(crate) use request_id::{HEADER as REQUEST_ID_HEADER, RequestId};
pub(crate) use service::CallLayer;
