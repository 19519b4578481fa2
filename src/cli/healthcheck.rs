//! `recsys healthcheck`: for images without a shell, and for people.

use std::{net::SocketAddr, time::Duration};

use tonic::{Code, transport::Endpoint};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use crate::telemetry::error_chain::causes;

/// Why the server is not known to be serving.
#[derive(Debug, thiserror::Error)]
pub enum Unhealthy {
    /// It cannot be reached.
    #[error("no recsys server answers on {address}{}", causes(source))]
    Unreachable {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: tonic::transport::Error,
    },
    /// It does not know the name.
    #[error("the server has no health name {0:?}")]
    UnknownService(String),
    /// It answered with an error.
    #[error("the server answered {}: {}", .0.code(), .0.message())]
    Failed(Box<tonic::Status>),
    /// It is up, but not serving.
    #[error("{service:?} is {status}")]
    NotServing {
        /// The health name.
        service: String,
        /// What it reported.
        status: &'static str,
    },
}

/// Asks the server on `address` (or on the loopback, if that is a wildcard)
/// whether `service` is SERVING.
///
/// # Errors
/// [`Unhealthy`] says why it is not.
pub async fn run(address: SocketAddr, service: String, timeout: Duration) -> Result<(), Unhealthy> {
    let address = reachable(address);
    let unreachable = |source| Unhealthy::Unreachable { address, source };
    let channel = Endpoint::from_shared(format!("http://{address}"))
        .map_err(unreachable)?
        .connect_timeout(timeout)
        .timeout(timeout)
        .connect()
        .await
        .map_err(unreachable)?;
    let request = HealthCheckRequest {
        service: service.clone(),
    };
    match HealthClient::new(channel).check(request).await {
        Ok(reply) => match reply.into_inner().status() {
            ServingStatus::Serving => Ok(()),
            status @ (ServingStatus::NotServing
            | ServingStatus::Unknown
            | ServingStatus::ServiceUnknown) => Err(Unhealthy::NotServing {
                service,
                status: status.as_str_name(),
            }),
        },
        Err(status) if status.code() == Code::NotFound => Err(Unhealthy::UnknownService(service)),
        Err(status) => Err(Unhealthy::Failed(Box::new(status))),
    }
}

/// Where a server that listens on `address` is reached from this machine.
#[must_use]
pub fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        let loopback: std::net::IpAddr = match address {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        };
        address.set_ip(loopback);
    }
    address
}
