//! The edge of a port: everything between its listener and its handlers.
//!
//! A connection is accepted (`connections`, `tls`), then each call passes, from
//! the outside in:
//!
//! 1. `cors` and gRPC-Web, if they are enabled (API only);
//! 2. `call`: id, span, metric and log line (API only; the webhook records HTTP
//!    requests instead);
//! 3. `guard`: authorization (`access`), load shedding (`load`), the deadline
//!    (`deadline`), recovery from panics (`panics`).
//!
//! The edge knows neither services nor protocols. A port gives it a table of its
//! methods (`methods`) and a way to write refusals (`refusal`).
//!
//! Why this is not tonic's server with layers of tower and tower-http: tonic's
//! server neither evicts idle connections, nor ends those that are silent or do not
//! read replies, nor limits their age with a spread, nor reloads certificates; no
//! layer counts bytes of bodies against a limit of the process, or distinguishes an
//! idle stream from a busy one. The layers of tower-http that could be used behave
//! differently where clients notice: its CORS headers go to origins that are not
//! allowed, its request id takes any client's id, its panic handler does not know
//! the method, and its decompression neither counts bytes nor reports errors as this
//! API does.

pub mod access;
pub(crate) mod body;
pub mod browser;
pub(crate) mod budget;
pub(crate) mod call;
pub(crate) mod connections;
pub(crate) mod cors;
pub(crate) mod deadline;
pub(crate) mod guard;
pub(crate) mod load;
pub(crate) mod methods;
pub(crate) mod panics;
pub(crate) mod refusal;
pub mod settings;
pub mod tenants;
pub mod tls;
pub(crate) mod watchdog;
