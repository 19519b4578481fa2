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

/// The replies of all calls for lists have the same fields.
macro_rules! as_recommend_response {
    ($($reply:ident),*) => {$(
        impl From<RecommendResponse> for $reply {
            fn from(list: RecommendResponse) -> Self {
                Self {
                    request_id: list.request_id,
                    strategy: list.strategy,
                    items: list.items,
                    diagnostics: list.diagnostics,
                }
            }
        }

        impl From<$reply> for RecommendResponse {
            fn from(list: $reply) -> Self {
                Self {
                    request_id: list.request_id,
                    strategy: list.strategy,
                    items: list.items,
                    diagnostics: list.diagnostics,
                }
            }
        }
    )*};
}

as_recommend_response!(SimilarItemsResponse, PopularItemsResponse);
