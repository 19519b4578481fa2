//! `recsys healthcheck`: the health of a running server, without a shell or a
//! gRPC client.

use std::{net::SocketAddr, process::ExitCode, time::Duration};

use tonic::{Code, transport::Endpoint};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use super::exit;
use crate::{
    config::{HealthcheckFlags, Settings},
    telemetry::error_chain::causes,
};

/// The server is not known to be serving.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unhealthy {
    #[error("no recsys server answers on {address}{}", causes(source))]
    Unreachable {
        address: SocketAddr,
        source: tonic::transport::Error,
    },
    #[error("the server has no health name {0:?}")]
    UnknownService(String),
    #[error("the server answered {}: {}", .0.code(), .0.message())]
    Failed(Box<tonic::Status>),
    #[error("{service:?} is {status}")]
    NotServing {
        service: String,
        status: &'static str,
    },
}

/// Prints `SERVING` if the server of the settings is.
pub(super) async fn run(settings: &Settings, flags: &HealthcheckFlags) -> ExitCode {
    let Some(address) = settings.health_address() else {
        let error = "health is served in plaintext, and the API's port has TLS: set \
                     RECSYS_ADMIN_ADDR";
        return exit::failed(error, true);
    };
    match check(address, flags.service.clone(), flags.timeout).await {
        Ok(()) => {
            anstream::println!("SERVING");
            ExitCode::SUCCESS
        }
        Err(error) => exit::failed(error, false),
    }
}

/// Checks that `service` is SERVING at `address`.
pub(super) async fn check(
    address: SocketAddr,
    service: String,
    timeout: Duration,
) -> Result<(), Unhealthy> {
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

/// The address at which this machine reaches a server that listens on `address`: the
/// loopback if that is a wildcard.
pub(super) fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        let loopback: std::net::IpAddr = match address {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        };
        address.set_ip(loopback);
    }
    address
}
