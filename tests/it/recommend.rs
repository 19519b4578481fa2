//! Lists over the wire, beyond the reference cases.

mod exploration;
mod lists;
mod requests;
mod restrictions;
