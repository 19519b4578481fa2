//! The server: services, health, reflection, limits, graceful stop.

use std::{sync::Arc, time::Duration};

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic_web::GrpcWebLayer;
use tower::Layer as _;
use tracing::{info, warn};

use crate::{
    api::{
        catalog::Catalog, health::Monitor, limits::Limits, recommender::Recommender,
        signals::SignalsFirst,
    },
    edge::{
        access::{Access, AccessLayer},
        browser::CorsLayer,
        call::CallLog,
        connections::{Connections, Policy},
        deadline::DeadlineLayer,
        load::{Load, LoadLayer},
        observe::ObserveLayer,
        panics::CatchPanicLayer,
        settings::ServerSettings,
        tls::Tls,
        watchdog::Pulse,
    },
    http::{admin::Admin, webhook::Webhook},
    proto::{
        FILE_DESCRIPTOR_SET, catalog_service_server::CatalogServiceServer,
        recommender_service_server::RecommenderServiceServer,
    },
};

/// Longest that serving waits for the dependencies' first answer.
const FIRST_CHECK: Duration = Duration::from_millis(500);
/// Longest that appends and refreshes under way may go on once no call waits
/// for them: more than their stores may take.
const LAST_WORK: Duration = Duration::from_secs(8);
/// Longest that the admin port is waited for, once all else has ended.
const ADMIN_END: Duration = Duration::from_secs(1);
/// Largest request of the services that anyone may call without being counted:
/// a name of a service, a symbol or a file.
pub(crate) const MAX_FREE_REQUEST_BYTES: usize = 4 << 10;
/// Largest reply: 500 items of the largest size, or a full buffer of common
/// events.
const MAX_REPLY_BYTES: usize = 256 << 20;

/// The server could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The reflection service refused the descriptor set: a build error.
    #[error("reflection cannot be set up")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// The admin port's thread could not be started.
    #[error("the admin port cannot be served")]
    Admin(#[source] std::io::Error),
}

/// How a server is told to stop.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    /// Cancelled when it is to stop: health says NOT_SERVING at once, and new
    /// calls are served for the drain delay.
    pub drain: CancellationToken,
    /// Cancelled when nobody needs that delay.
    pub no_delay: CancellationToken,
}

/// The API's port.
pub struct Port {
    /// Listened on.
    pub listener: TcpListener,
    /// How its connections are secured; `None`: not at all.
    pub tls: Option<Arc<Tls>>,
}

/// Serves on a port until it is told to stop; then finishes calls under way, and
/// all work of the engines. The webhook, if there is one, begins and ends with
/// that port; the admin port is served to the very end.
///
/// # Errors
/// [`ServeError`].
pub async fn serve(
    access: Arc<Access>,
    limits: Limits,
    settings: ServerSettings,
    port: Port,
    webhook: Option<Webhook>,
    admin: Option<Admin>,
    stop: Stop,
) -> Result<(), ServeError> {
    let (reporter, health_service) = tonic_health::server::health_reporter();
    let mut monitor = Monitor::start(Arc::clone(&access), reporter.clone()).await;
    let ended = CancellationToken::new();
    let _ends = ended.clone().drop_guard();
    let admin_ended = admin
        .map(|admin| admin.start(reporter, Pulse::start(), ended.clone()))
        .transpose()?;

    let limits = Arc::new(limits);
    let routes = routes(&limits, settings.reflection)?
        .add_service(health_service.max_decoding_message_size(MAX_FREE_REQUEST_BYTES));
    let load = Load::new(settings.max_calls, settings.max_buffered_bytes);
    let service = CatchPanicLayer.layer(routes.prepare());
    let service = DeadlineLayer {
        longest: settings.request_timeout,
    }
    .layer(service);
    let service = LoadLayer(Arc::clone(&load)).layer(service);
    let service = AccessLayer(Arc::clone(&access)).layer(service);
    let descriptors = [
        FILE_DESCRIPTOR_SET,
        tonic_health::pb::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
    ];
    let service =
        ObserveLayer::new(&descriptors, CallLog::new(settings.log_ok_calls)).layer(service);

    // Dependencies that answer at once are known before the first call.
    let _ = tokio::time::timeout(FIRST_CHECK, monitor.check()).await;
    let policy = Policy {
        port: "api",
        most: settings.max_connections,
        age: settings.max_connection_age,
        grace: settings.request_timeout + settings.slow_client_timeout,
        slow_client_timeout: settings.slow_client_timeout,
        http1: settings.browser.grpc_web,
    };
    let connections = Connections::new(policy, port.tls.clone());
    let port_of_api = Arc::clone(&connections);
    let accepting = if settings.browser.grpc_web {
        // Outermost: all else sees the calls of pages as any other.
        let service = GrpcWebLayer::new().layer(service);
        let service = CorsLayer::new(&settings.browser).layer(service);
        tokio::spawn(port_of_api.accept(port.listener, service))
    } else {
        tokio::spawn(port_of_api.accept(port.listener, service))
    };
    let webhook = webhook.map(|webhook| webhook.open(Arc::clone(&access), load, limits, &settings));
    if let Some(tls) = port.tls {
        tokio::spawn(ended.clone().run_until_cancelled_owned(tls.keep_current()));
    }
    monitor.watch(stop.drain).await;

    info!(
        drain_delay_s = settings.drain_delay.as_secs_f64(),
        "stopping: no longer ready, still serving"
    );
    tokio::select! {
        () = tokio::time::sleep(settings.drain_delay) => {}
        () = stop.no_delay.cancelled() => {}
    }
    info!("stopping: finishing calls under way");
    let of_webhook = webhook.as_ref().map(|webhook| &webhook.connections);
    if !close(&connections, of_webhook, settings.drain_timeout).await {
        warn!(
            drain_timeout_s = settings.drain_timeout.as_secs_f64(),
            "some calls did not finish in time"
        );
    }
    let _ = accepting.await;
    if let Some(webhook) = webhook {
        let _ = webhook.accepting.await;
    }
    if tokio::time::timeout(LAST_WORK, access.finish())
        .await
        .is_err()
    {
        warn!("some work did not finish in time: the next reads make up for it");
    }
    if let Some(admin_ended) = admin_ended {
        ended.cancel();
        let _ = tokio::time::timeout(ADMIN_END, admin_ended).await;
    }
    Ok(())
}

/// Closes all ports together. Says whether all calls have ended by themselves.
async fn close(api: &Connections, webhook: Option<&Arc<Connections>>, at_most: Duration) -> bool {
    let webhook = async {
        match webhook {
            Some(webhook) => webhook.close(at_most).await,
            None => true,
        }
    };
    let (api, webhook) = tokio::join!(api.close(at_most), webhook);
    api && webhook
}

fn routes(limits: &Arc<Limits>, reflected: bool) -> Result<Routes, ServeError> {
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            // So that grpcurl can print the details of an error.
            .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
    };
    let recommender = Recommender {
        limits: Arc::clone(limits),
    };
    let recommender = SignalsFirst {
        others: RecommenderServiceServer::new(recommender.clone())
            .max_decoding_message_size(limits.max_request_bytes)
            .max_encoding_message_size(MAX_REPLY_BYTES),
        recommender,
        max_request_bytes: limits.max_request_bytes,
        max_reply_bytes: MAX_REPLY_BYTES,
    };
    let catalog = CatalogServiceServer::new(Catalog {
        limits: Arc::clone(limits),
    })
    .max_decoding_message_size(limits.max_catalog_request_bytes)
    .max_encoding_message_size(MAX_REPLY_BYTES);
    let routes = Routes::new(recommender).add_service(catalog);
    if !reflected {
        return Ok(routes);
    }
    Ok(routes
        .add_service(
            reflection()
                .build_v1()?
                .max_decoding_message_size(MAX_FREE_REQUEST_BYTES),
        )
        .add_service(
            reflection()
                .build_v1alpha()?
                .max_decoding_message_size(MAX_FREE_REQUEST_BYTES),
        ))
}
