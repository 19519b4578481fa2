//! The server: services, health, reflection, deadlines, graceful stop.

use std::{sync::Arc, time::Duration};

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Server, server::TcpIncoming};
use tracing::{error, info, warn};

use super::{
    admin::Admin, catalog::Catalog, deadline::DeadlineLayer, health::Monitor, limits::Limits,
    observe::ObserveLayer, panics::CatchPanicLayer, recommender::Recommender,
};
use crate::{
    engine::Engine,
    proto::{
        FILE_DESCRIPTOR_SET, catalog_service_server::CatalogServiceServer,
        recommender_service_server::RecommenderServiceServer,
    },
};

const TCP_KEEPALIVE: Duration = Duration::from_secs(60);
const PING_EVERY: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest that serving waits for the dependencies' first answer.
const FIRST_CHECK: Duration = Duration::from_millis(500);
/// Largest reply: 500 items of the largest size, or a full buffer of common
/// events.
const MAX_REPLY_BYTES: usize = 256 << 20;
const MAX_STREAMS_PER_CONNECTION: u32 = 256;
/// Calls cancelled before they were begun that may await their end on one
/// connection; one more ends it, for all its calls. After a stall of the network
/// those that a client gave up come in one go, and the default of 20 is soon
/// reached.
const MAX_CANCELLED_PER_CONNECTION: usize = 4 * MAX_STREAMS_PER_CONNECTION as usize;

/// What can be set of the server.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Server")]
pub struct ServerSettings {
    /// Longest that a call may take; a client's own deadline may be shorter
    #[arg(long, global = true, env = "RECSYS_REQUEST_TIMEOUT", value_name = "DURATION",
          value_parser = crate::parsers::parse_duration, default_value = "10s")]
    pub request_timeout: Duration,
    /// Longest that calls under way may take to finish once the server stops
    #[arg(long, global = true, env = "RECSYS_DRAIN_TIMEOUT", value_name = "DURATION",
          value_parser = crate::parsers::parse_duration, default_value = "10s")]
    pub drain_timeout: Duration,
}

impl Default for ServerSettings {
    fn default() -> Self {
        Self {
            request_timeout: Duration::from_secs(10),
            drain_timeout: Duration::from_secs(10),
        }
    }
}

/// The server could not be set up, or failed.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The reflection service refused the descriptor set: a build error.
    #[error("reflection cannot be set up")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// The transport failed.
    #[error("the gRPC server failed")]
    Transport(#[from] tonic::transport::Error),
}

/// Serves an engine on a listener until `stop` is cancelled; then finishes
/// calls under way, and all work of the engine, within the drain timeout. The
/// admin port, if there is one, is served to the very end.
///
/// # Errors
/// [`ServeError`].
pub async fn serve(
    engine: Engine,
    limits: Limits,
    settings: ServerSettings,
    listener: TcpListener,
    admin: Option<Admin>,
    stop: CancellationToken,
) -> Result<(), ServeError> {
    let limits = Arc::new(limits);
    let (reporter, health_service) = tonic_health::server::health_reporter();
    let mut monitor = Monitor::start(engine.clone(), reporter.clone()).await;
    let ended = CancellationToken::new();
    let _ends = ended.clone().drop_guard();
    if let Some(admin) = admin {
        tokio::spawn(async move {
            if let Err(failed) = admin.serve(reporter, ended).await {
                error!(
                    error = &failed as &dyn std::error::Error,
                    "admin port failed"
                );
            }
        });
    }

    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            // So that grpcurl can print the details of an error.
            .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
    };
    let recommender = RecommenderServiceServer::new(Recommender {
        engine: engine.clone(),
        limits: Arc::clone(&limits),
    })
    .max_decoding_message_size(limits.max_request_bytes)
    .max_encoding_message_size(MAX_REPLY_BYTES);
    let catalog = CatalogServiceServer::new(Catalog {
        engine: engine.clone(),
        limits: Arc::clone(&limits),
    })
    .max_decoding_message_size(limits.max_catalog_request_bytes)
    .max_encoding_message_size(MAX_REPLY_BYTES);

    let router = Server::builder()
        .max_concurrent_streams(Some(MAX_STREAMS_PER_CONNECTION))
        .http2_max_pending_accept_reset_streams(Some(MAX_CANCELLED_PER_CONNECTION))
        .http2_keepalive_interval(Some(PING_EVERY))
        .http2_keepalive_timeout(Some(PING_TIMEOUT))
        .layer(ObserveLayer::new(&[
            FILE_DESCRIPTOR_SET,
            tonic_health::pb::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
        ]))
        .layer(DeadlineLayer {
            longest: settings.request_timeout,
        })
        .layer(CatchPanicLayer)
        .add_service(health_service)
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?)
        .add_service(recommender)
        .add_service(catalog);
    let incoming = TcpIncoming::from(listener)
        .with_nodelay(Some(true))
        .with_keepalive(Some(TCP_KEEPALIVE));

    // Dependencies that answer at once are known before the first call.
    let _ = tokio::time::timeout(FIRST_CHECK, monitor.check()).await;
    let draining = stop.clone();
    let drained = router.serve_with_incoming_shutdown(incoming, async move {
        monitor.watch(draining).await;
        info!("stopping: finishing calls under way");
    });
    let too_long = async {
        stop.cancelled().await;
        tokio::time::sleep(settings.drain_timeout).await;
    };
    let finished = async {
        drained.await?;
        engine.finish().await;
        Ok::<(), ServeError>(())
    };
    tokio::select! {
        finished = finished => finished?,
        () = too_long => warn!(
            drain_timeout_s = settings.drain_timeout.as_secs_f64(),
            "some calls did not finish in time"
        ),
    }
    Ok(())
}
