//! The Connect protocol: unary calls as a plain POST with JSON or protobuf, over HTTP/1.1
//! and 2. Source: <https://connectrpc.com/docs/protocol>.
//!
//! [`Connect`] is the outermost layer: it distinguishes these calls from gRPC, and writes their
//! errors. [`Translated`] is the innermost one: it reads and writes messages. The layers
//! between them (records, keys, limits, deadlines) see each call as gRPC.

mod call;
mod encoding;
mod error;
mod faults;
mod json;
mod json_cost;
mod lent_body;
mod port;
mod reflected_cost;
mod translate;
mod unique_names;
mod value_cost;

pub(crate) use error::reply as error_reply;
pub(crate) use json::{read_message, write_message};
pub(crate) use port::Connect;
pub(crate) use translate::Translated;
pub(crate) use unique_names::repeated_name;
