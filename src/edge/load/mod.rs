//! Load shedding: calls beyond what the process can serve are refused early, with
//! a hint when to retry. Health and reflection have a share of the memory of their own:
//! at its limit the connection that holds most of it is closed.
//!
//! A call is in flight from when its request is complete until its reply begins.
//! So neither a client that sends slowly nor one that reads slowly occupies one of
//! the calls that may be in flight. Such clients do occupy memory, and that is
//! counted in bytes.

mod admission;
mod body;
mod free_call;
mod open_call;

pub(crate) use admission::Admission;
pub(crate) use free_call::FreeCalls;
pub(crate) use open_call::{Account, OpenCall};
