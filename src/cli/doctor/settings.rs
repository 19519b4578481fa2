//! Addresses, callers, file descriptors, traces, retired and unknown variables.

use std::{io, net::SocketAddr, time::Duration};

use tokio::net::TcpListener;

use super::report::{Finding, Section};
use crate::{
    app::{self, StartError},
    cli::healthcheck::{self, Unhealthy},
    config::{Settings, is_set_variable, retired_variables, unknown_variables},
    telemetry,
};

const SECTION: Section = Section("settings");
/// A health name that no other program serves.
const SERVICE: &str = "recsys.v1.RecommenderService";
/// Longest wait for the program that listens on an address.
const MAX_WAIT: Duration = Duration::from_secs(2);

/// Whether `serve` could listen on the addresses.
pub(super) async fn addresses(settings: &Settings, timeout: Duration) -> Vec<Finding> {
    let webhook = settings.webhook.webhook_addr;
    let console = settings.console.console_addr;
    let addresses = [
        (
            "listen address",
            "RECSYS_LISTEN_ADDR",
            Some(settings.listen_addr),
        ),
        ("admin address", "RECSYS_ADMIN_ADDR", settings.admin_addr),
        ("webhook address", "RECSYS_WEBHOOK_ADDR", webhook),
        ("console address", "RECSYS_CONSOLE_ADDR", console),
    ];
    // Held until all are checked, so that two settings cannot name one address.
    let mut listeners = Vec::new();
    let mut findings = Vec::new();
    for (check, setting, address) in addresses {
        let Some(address) = address else { continue };
        findings.push(match TcpListener::bind(address).await {
            Ok(listener) => {
                listeners.push(listener);
                SECTION.ok(check, format!("{address} is free"))
            }
            Err(error) => {
                let running = if error.kind() == io::ErrorKind::AddrInUse {
                    running_server(settings, timeout).await
                } else {
                    None
                };
                unavailable(check, setting, address, running, &error)
            }
        });
    }
    findings
}

/// The health of the recsys that runs with these settings; `None` if none answers.
async fn running_server(settings: &Settings, timeout: Duration) -> Option<&'static str> {
    let timeout = timeout.min(MAX_WAIT);
    let health = settings.health_address()?;
    let check = healthcheck::check(health, SERVICE.to_owned(), timeout);
    match tokio::time::timeout(2 * timeout, check).await {
        Ok(Ok(())) => Some("SERVING"),
        Ok(Err(Unhealthy::NotServing { status, .. })) => Some(status),
        _ => None,
    }
}

fn unavailable(
    check: &'static str,
    setting: &str,
    address: SocketAddr,
    running: Option<&str>,
    error: &io::Error,
) -> Finding {
    if let Some(status) = running {
        let found = format!("{address} is in use; a running recsys is {status}");
        if status == "SERVING" {
            return SECTION.ok(check, found);
        }
        let finding = SECTION.warn(check, found);
        return finding.fix("recsys healthcheck   # its log names the cause");
    }
    let port = address.port();
    let free = SocketAddr::new(address.ip(), if port < 1024 { 50_051 } else { port ^ 1 });
    SECTION
        .fail(check, format!("cannot listen on {address}: {error}"))
        .fix(format!(
            "export {setting}={free}   # or another free address"
        ))
        .fix(format!(
            "ss -ltnp 'sport = :{port}'   # the program that uses it"
        ))
}

/// The settings that need no store.
pub(super) fn check(settings: &Settings) -> Vec<Finding> {
    let mut findings = vec![descriptors(settings)];
    match app::requires_key_or_loopback(settings) {
        Ok(true) => {}
        Ok(false) => findings.push(new_tenant(SECTION.warn(
            "callers",
            "everyone who reaches RECSYS_LISTEN_ADDR may read, change and erase everything",
        ))),
        Err(error) => findings.push(new_tenant(SECTION.fail("callers", error).refused())),
    }
    if let Err(error) = app::check_webhook(settings) {
        let fix = if matches!(error, StartError::SecretBesideKeys) {
            "unset RECSYS_WEBHOOK_SECRET"
        } else {
            "export RECSYS_WEBHOOK_SECRET=\"$(openssl rand -hex 32)\"   # and give it to the sender"
        };
        findings.push(SECTION.fail("deliveries", error).refused().fix(fix));
    }
    if let Err(error) = app::check_console(settings) {
        let mut finding = SECTION.fail("console", error).refused();
        if settings.tenants_path.is_none() {
            finding = new_tenant(finding);
        }
        let port = settings
            .console
            .console_addr
            .map_or(0, |address| address.port());
        findings.push(
            finding
                .fix("export RECSYS_TLS_CERT_FILE=cert.pem RECSYS_TLS_KEY_FILE=key.pem")
                .fix(format!(
                    "export RECSYS_CONSOLE_ADDR=127.0.0.1:{port}   # or on this machine alone"
                )),
        );
    }
    for (url, setting, scheme) in [
        (&settings.redis_url, "REDIS_URL", "rediss://"),
        (&settings.qdrant_api_url, "QDRANT_API_URL", "https://"),
    ] {
        let Some(url) = url else { continue };
        if app::is_public_plaintext(url.expose()) {
            let found = format!("{setting} leads out of private networks without TLS");
            let finding = SECTION.warn("plaintext", found);
            findings.push(finding.fix(format!("export {setting}={scheme}...")));
        }
    }
    if let Some(collector) = &settings.otel_exporter_otlp_endpoint {
        findings.push(match telemetry::check_traces(collector) {
            Ok(()) => SECTION.ok("traces", "OTEL_EXPORTER_OTLP_ENDPOINT is valid"),
            Err(error) => SECTION
                .fail("traces", error)
                .refused()
                .fix("export OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4317"),
        });
    }
    if let Some(variables) = retired_variables(is_set_variable) {
        let found = format!("no longer read: {variables}");
        let finding = SECTION.warn("retired variables", found);
        findings.push(finding.fix("recsys help settings   # all current settings"));
    }
    if let Some(variables) = unknown_variables() {
        let found = format!("no setting has these names: {variables}");
        let finding = SECTION.warn("unknown variables", found);
        findings.push(finding.fix("recsys help settings   # all settings"));
    }
    findings
}

fn new_tenant(finding: Finding) -> Finding {
    finding
        .fix("(umask 077; printf '[tenants.shop]\\ncollection = \"items\"\\n\\n' >> tenants.toml)")
        .fix(super::files::NEW_KEY)
        .fix("export RECSYS_TENANTS_PATH=tenants.toml")
}

fn descriptors(settings: &Settings) -> Finding {
    const CHECK: &str = "file descriptors";
    let webhook = settings.webhook.webhook_addr.is_some();
    let needed = app::needed_descriptors(&settings.server, webhook);
    match rlimit::Resource::NOFILE.get() {
        Ok((_, hard)) if hard < needed => {
            let found = format!("{hard}, but RECSYS_MAX_CONNECTIONS needs {needed}");
            let finding = SECTION.warn(CHECK, found);
            finding.fix(format!(
                "ulimit -n {needed}   # as root; systemd: LimitNOFILE={needed}"
            ))
        }
        Ok((_, hard)) => SECTION.ok(CHECK, format!("{hard}, {needed} are needed")),
        Err(error) => SECTION.ok(CHECK, format!("not known: {error}")),
    }
}
