//! Why a request to the webhook fails.

use std::error::Error as _;

use tonic::Status;

use crate::{api::error::ApiError, edge::refusal::Refusal, http::webhook::elements::DeliveryError};

/// Why a request to the webhook fails.
#[derive(Debug)]
pub(crate) enum WebhookError {
    /// For a reason that calls of the API share.
    Api(ApiError),
    /// It does not have the secret.
    UnknownSecret,
    /// Its path is not one of the webhook's.
    NotFound,
    /// Its method is none of these.
    MethodNotAllowed(&'static str),
    /// Its content type is not JSON.
    NotJson,
    /// Its content encoding is not supported.
    UnknownEncoding,
    /// Its body is not in the encoding that it states.
    NotGzip,
    /// Its body is too large, decompressed.
    TooLarge {
        /// The limit in bytes.
        max: usize,
    },
    /// Its body ended early.
    Unreadable(Status),
    /// Its body is not a delivery.
    Delivery(DeliveryError),
}

impl From<ApiError> for WebhookError {
    fn from(error: ApiError) -> Self {
        Self::Api(error)
    }
}

impl From<Refusal> for WebhookError {
    fn from(refusal: Refusal) -> Self {
        Self::Api(refusal.into())
    }
}

/// An error of a request's body, which is the edge's if it refused the rest.
impl From<Status> for WebhookError {
    fn from(status: Status) -> Self {
        let mut source = status.source();
        while let Some(error) = source {
            if let Some(refusal) = error.downcast_ref::<Refusal>() {
                return refusal.clone().into();
            }
            source = error.source();
        }
        Self::Unreadable(status)
    }
}
