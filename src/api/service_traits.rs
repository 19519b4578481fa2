//! The services' traits and their tonic servers, generated from `proto/recsys/v1`
//! (see `build.rs`). The messages are in [`crate::proto`].

#![allow(
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    clippy::allow_attributes_without_reason,
    clippy::wildcard_enum_match_arm,
    reason = "generated code"
)]

include!(concat!(env!("OUT_DIR"), "/server/recsys.v1.rs"));
