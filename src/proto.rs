//! The messages and clients of the gRPC contract, generated from `proto/recsys/v1` (see
//! `build.rs`). The servers are in `api/service_traits.rs`.

#![allow(
    missing_docs,
    unused_qualifications,
    clippy::allow_attributes_without_reason,
    clippy::wildcard_enum_match_arm,
    reason = "generated code"
)]

tonic::include_proto!("recsys.v1");

/// The encoded descriptor set of `proto/recsys/v1`, for reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] =
    include_bytes!(concat!(env!("OUT_DIR"), "/recsys_descriptor.bin"));
