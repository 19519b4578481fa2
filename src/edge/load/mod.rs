//! Load shedding: calls beyond what the process can serve are refused early, with
//! a hint when to retry. Health and reflection are never refused.
//!
//! A call is in flight from when its request is complete until its reply begins.
//! So neither a client that sends slowly nor one that reads slowly occupies one of
//! the calls that may be in flight. Such clients do occupy memory, and that is
//! counted in bytes.

mod admission;
mod body;
mod budget;
mod open_call;

pub(crate) use admission::Admission;
pub(crate) use budget::Load;
pub(crate) use open_call::{Account, OpenCall};
