//! The server: assembles the ports, runs them, and stops them in order.

use std::{sync::Arc, time::Duration};

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic_web::GrpcWebLayer;
use tower::{Layer as _, util::BoxCloneSyncService};
use tracing::{info, warn};

use crate::{
    api::{
        connect::{Connect, Translated},
        health::Monitor,
        limits::Limits,
        methods::METHODS,
        services::services,
        status::Grpc,
    },
    edge::{
        access::Access,
        budget::Load,
        call::{CallLayer, CallLog},
        connections::{Connections, Policy},
        cors::CorsLayer,
        guard::Guard,
        load::FreeCalls,
        settings::ServerSettings,
        tls::Tls,
        watchdog::Watchdog,
    },
    http::{
        admin::{Admin, AdminError},
        console::{Console, ConsoleApi},
        webhook::Webhook,
    },
};

/// How long the start waits for the dependencies' first answer.
const FIRST_CHECK: Duration = Duration::from_millis(500);
/// How long appends and refreshes may continue after the last call has ended: longer
/// than their stores may take.
const LAST_WORK: Duration = Duration::from_secs(8);
/// How long the end of the admin port is awaited, after everything else has ended.
const ADMIN_END: Duration = Duration::from_secs(1);

/// The server could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The reflection service refused the descriptor set: a build error.
    #[error("reflection cannot be set up")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// The admin port cannot be served.
    #[error(transparent)]
    Admin(#[from] AdminError),
}

/// The signals to stop a server.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    /// Cancelled to stop: health is NOT_SERVING at once, and new calls are still served
    /// for the drain delay.
    pub drain: CancellationToken,
    /// Cancelled to skip that delay.
    pub no_delay: CancellationToken,
}

/// The API's port.
pub struct Port {
    /// Its listener.
    pub listener: TcpListener,
    /// TLS of its connections; `None`: plaintext.
    pub tls: Option<Arc<Tls>>,
}

/// The ports besides the API's, as far as they are served.
#[derive(Default)]
pub struct OtherPorts {
    /// The webhook.
    pub webhook: Option<Webhook>,
    /// The console.
    pub console: Option<Console>,
    /// Metrics and probes.
    pub admin: Option<Admin>,
}

/// Serves the API's port until `stop`; then finishes calls in flight and all work of the
/// engines. The webhook and the console start and stop together with that port. The admin port is
/// served to the very end.
///
/// # Errors
/// [`ServeError`].
pub async fn serve(
    access: Arc<Access>,
    limits: Limits,
    settings: ServerSettings,
    port: Port,
    others: OtherPorts,
    stop: Stop,
) -> Result<(), ServeError> {
    let OtherPorts {
        webhook,
        console,
        admin,
    } = others;
    let (reporter, health) = tonic_health::server::health_reporter();
    let mut monitor = Monitor::start(Arc::clone(&access), reporter.clone()).await;
    let ended = CancellationToken::new();
    let _ends = ended.clone().drop_guard();
    let admin_ended = admin
        .map(|admin| {
            admin.start(
                reporter,
                monitor.progress(),
                Watchdog::start(),
                ended.clone(),
            )
        })
        .transpose()?;

    let limits = Arc::new(limits);
    let load = Load::new(settings.max_calls, settings.max_buffered_bytes);
    let guard = Guard {
        methods: METHODS,
        access: Some(Arc::clone(&access)),
        load: Arc::clone(&load),
        free: FreeCalls::new(&load),
        timeout: settings.request_timeout,
        protocol: &Grpc,
    };
    let services = services(&limits, health, settings.reflection)?;
    let service = guard.layer(Translated::new(services, Arc::clone(&limits)));
    let log = CallLog::new(settings.log_ok_calls);
    let calls = if console.is_some() {
        CallLayer::keeping_latencies(METHODS, log, Arc::clone(&access))
    } else {
        CallLayer::new(METHODS, log, Arc::clone(&access))
    };
    let service = calls.layer(service);

    // Dependencies that answer at once are up before the first call.
    let _ = tokio::time::timeout(FIRST_CHECK, monitor.check()).await;
    let policy = Policy {
        port: "api",
        max_connections: settings.max_connections,
        max_age: settings.max_connection_age,
        grace: settings.request_timeout + settings.slow_client_timeout,
        slow_client_timeout: settings.slow_client_timeout,
        http1: true,
        paced: true,
    };
    let connections = Connections::new(policy, port.tls.clone(), Arc::clone(&load));
    // Outermost: the other layers see all these calls as gRPC.
    let connect = Connect::new(
        Arc::clone(&access),
        calls.clone(),
        settings.browser.grpc_web,
    );
    let console = console.map(|console| {
        let api = ConsoleApi {
            service: BoxCloneSyncService::new(connect.layer(service.clone())),
            calls,
            limits: Arc::clone(&limits),
        };
        console.open(Arc::clone(&access), Arc::clone(&load), api, &settings)
    });
    let port_of_api = Arc::clone(&connections);
    let cors = CorsLayer::new(&settings.browser);
    let accepting = if settings.browser.grpc_web {
        let service = connect.layer(GrpcWebLayer::new().layer(service));
        tokio::spawn(port_of_api.accept(port.listener, cors.layer(service)))
    } else {
        let service = cors.layer(connect.layer(service));
        tokio::spawn(port_of_api.accept(port.listener, service))
    };
    let webhook = webhook.map(|webhook| webhook.open(Arc::clone(&access), load, limits, &settings));
    if let Some(tls) = port.tls {
        tokio::spawn(ended.clone().run_until_cancelled_owned(tls.watch_files()));
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
    info!("stopping: finishing calls in flight");
    let others = [
        webhook.as_ref().map(|webhook| &webhook.connections),
        console.as_ref().map(|console| &console.connections),
    ];
    if !close(&connections, others, settings.drain_timeout).await {
        warn!(
            drain_timeout_s = settings.drain_timeout.as_secs_f64(),
            "some calls did not finish in time"
        );
    }
    let _ = accepting.await;
    if let Some(webhook) = webhook {
        let _ = webhook.accepting.await;
    }
    if let Some(console) = console {
        let _ = console.accepting.await;
    }
    if tokio::time::timeout(LAST_WORK, access.finish())
        .await
        .is_err()
    {
        warn!("some work did not finish in time: the next reads do it");
    }
    if let Some(admin_ended) = admin_ended {
        ended.cancel();
        let _ = tokio::time::timeout(ADMIN_END, admin_ended).await;
    }
    Ok(())
}

/// Closes all ports together. Returns whether all calls finished in time.
async fn close(
    api: &Connections,
    others: [Option<&Arc<Connections>>; 2],
    timeout: Duration,
) -> bool {
    let [webhook, console] = others.map(|port| async move {
        match port {
            Some(port) => port.close(timeout).await,
            None => true,
        }
    });
    let (api, webhook, console) = tokio::join!(api.close(timeout), webhook, console);
    api && webhook && console
}
