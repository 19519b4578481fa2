//! Why the edge answers a call itself instead of the service behind it, and how
//! a port puts that into its protocol.

use std::{error::Error, time::Duration};

use http::{HeaderMap, Response};
use tonic::body::Body;

use crate::{edge::tenants::Role, telemetry::meters::Shed};

pub(crate) type BoxError = Box<dyn Error + Send + Sync>;

/// Why a call is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// The call carries no key, or one that is not configured.
    #[error("no known key")]
    Unauthenticated,
    /// The key has none of the roles that the method requires.
    #[error("the key lacks a role")]
    RoleMissing(&'static [Role]),
    /// The call names a tenant, and this server has none.
    #[error("this server has no tenants")]
    NoTenants,
    /// The call names a tenant that the key does not give access to.
    #[error("another tenant than the key's")]
    TenantMismatch,
    /// The key's quota is used up.
    #[error("over quota")]
    OverQuota {
        /// When the quota allows the call. `None`: never, the call exceeds the
        /// whole burst.
        wait: Option<Duration>,
    },
    /// The process has as many calls or buffered bytes as it accepts.
    #[error("overloaded")]
    Overloaded(Shed),
    /// The call needs more memory than one call may ever have.
    #[error("too much memory for one call")]
    TooMuchMemory {
        /// An upper bound of what it needs.
        bytes: usize,
        /// Most bytes of one call.
        max: usize,
    },
    /// The call was not done in time.
    #[error("deadline exceeded")]
    DeadlineExceeded {
        /// How long the call was allowed to take.
        budget: Duration,
    },
    /// A bug: the call panicked, or reached its handler without passing the
    /// edge. The log has the cause.
    #[error("internal error")]
    Internal,
}

/// How a port writes refusals. A port has one protocol; the edge knows none.
pub(crate) trait Protocol: Sync {
    /// The whole reply to a refused call.
    fn reply(&self, refusal: Refusal) -> Response<Body>;

    /// The error that a handler gets from a request's body when the rest of that
    /// body is refused. A handler that reads `tonic::body::Body` finds it in the
    /// status or among its sources.
    fn body_error(&self, refusal: Refusal) -> BoxError {
        refusal.into()
    }

    /// Trailers of a reply without an end of its own, such as a health watch, that
    /// ends because its connection closes.
    fn closing_trailers(&self) -> HeaderMap {
        HeaderMap::new()
    }
}
