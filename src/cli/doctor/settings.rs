//! Addresses, and what the system gives.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use tokio::net::TcpListener;

use super::{report::Finding, webhook};
use crate::{
    app::{self, StartError, TraceError},
    cli::healthcheck::{self, Unhealthy},
    config::Settings,
};

const API: &str = "RECSYS_LISTEN_ADDR";
const ADMIN: &str = "RECSYS_ADMIN_ADDR";

/// A health name that no other program has.
const OUR_SERVICE: &str = "recsys.v1.RecommenderService";
/// Longest to ask who listens.
const LONGEST_TO_ASK: Duration = Duration::from_secs(2);

pub(super) async fn check(settings: &Settings, at_most: Duration) -> Vec<Finding> {
    let ask = at_most.min(LONGEST_TO_ASK);
    // With TLS on the API's port, only the admin port can be asked.
    let health = settings.health_address();
    let api = address("listen address", settings.listen_addr, health, ask).await;
    let mut findings = vec![name_setting(api, API)];
    match settings.admin_addr {
        Some(admin) => {
            let found = address("admin address", admin, Some(admin), ask).await;
            findings.push(name_setting(found, ADMIN));
        }
        None => findings.push(Finding::ok(
            "admin address",
            "none (RECSYS_ADMIN_ADDR): no metrics are served",
        )),
    }
    findings.extend(webhook::check(settings, ask).await);
    findings.extend(shared(settings));
    findings.push(descriptors(settings));
    findings.extend(in_clear(settings));
    findings.extend(traces(settings));
    findings
}

/// Addresses that cannot be listened on both.
fn shared(settings: &Settings) -> Vec<Finding> {
    let given = [
        (API, Some(settings.listen_addr)),
        (ADMIN, settings.admin_addr),
        (webhook::SETTING, settings.webhook.webhook_addr),
    ];
    let given: Vec<(&str, SocketAddr)> = given
        .into_iter()
        .filter_map(|(setting, address)| Some((setting, address?)))
        .collect();
    let mut findings = Vec::new();
    for (index, (setting, address)) in given.iter().enumerate() {
        for (other, same) in &given[..index] {
            if !overlap(*address, *same) {
                continue;
            }
            let found =
                format!("{other} ({same}) and {setting} ({address}) cannot be listened on both");
            let mut apart = *address;
            apart.set_port(if address.port() < 1024 {
                50_053
            } else {
                address.port() ^ 2
            });
            let todo = format!("export {setting}={apart}   # or another address that is free");
            findings.push(Finding::fail("addresses", found).todo(todo));
        }
    }
    findings
}

/// Whether one address is, or holds, the other. The system gives port 0 another
/// number each time.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let holds = |all: IpAddr, one: IpAddr| all.is_unspecified() && (all.is_ipv6() || one.is_ipv4());
    let (ip, other_ip) = (one.ip(), other.ip());
    one.port() != 0
        && one.port() == other.port()
        && (ip == other_ip || holds(ip, other_ip) || holds(other_ip, ip))
}

/// Traces, if they are to be sent.
fn traces(settings: &Settings) -> Option<Finding> {
    const CHECK: &str = "traces";
    match app::check_traces(&settings.traces) {
        Ok(false) => None,
        Ok(true) => {
            let found = "OTEL_EXPORTER_OTLP_ENDPOINT and what goes with it are understood";
            Some(Finding::ok(CHECK, found))
        }
        Err(error) => {
            let todo = match &error {
                TraceError::Headers => {
                    "export OTEL_EXPORTER_OTLP_HEADERS=KEY=VALUE   # , and % in a value are \
                     written as %2C %25"
                }
                TraceError::Attributes => {
                    "export OTEL_RESOURCE_ATTRIBUTES=KEY=VALUE   # , and % in a value are written \
                     as %2C %25"
                }
                TraceError::Endpoint | TraceError::Transport(_) | TraceError::Exporter(_) => {
                    "export OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4317   # http://host:port \
                     or https://host:port"
                }
            };
            Some(Finding::fail(CHECK, error.to_string()).refused().todo(todo))
        }
    }
}

/// The finding, with what to do in terms of the setting.
pub(super) fn name_setting(finding: Finding, setting: &str) -> Finding {
    let todo = finding.todo.iter();
    Finding {
        todo: todo
            .map(|line| line.replace("{setting}", setting))
            .collect(),
        ..finding
    }
}

async fn address(
    check: &'static str,
    address: SocketAddr,
    health: Option<SocketAddr>,
    ask: Duration,
) -> Finding {
    if let Some(told) = unless_in_use(check, address).await {
        return told;
    }
    let Some(health) = health else {
        return maybe_ours(check, address);
    };
    let asked = healthcheck::run(health, OUR_SERVICE.to_owned(), ask);
    match tokio::time::timeout(2 * ask, asked).await {
        Ok(Ok(())) => Finding::ok(
            check,
            format!("{address} is in use by a running recsys, which is SERVING"),
        ),
        Ok(Err(Unhealthy::NotServing { status, .. })) => Finding::warn(
            check,
            format!("{address} is in use by a running recsys, which is {status}"),
        )
        .todo(format!(
            "recsys healthcheck --listen-addr {health}   # its log says what is missing"
        )),
        _ => taken(check, address),
    }
}

/// What there is to say of an address that nobody listens on.
pub(super) async fn unless_in_use(check: &'static str, address: SocketAddr) -> Option<Finding> {
    let error = match TcpListener::bind(address).await {
        Ok(_) => return Some(Finding::ok(check, format!("{address} is free"))),
        Err(error) => error,
    };
    if error.kind() == io::ErrorKind::AddrInUse {
        return None;
    }
    let found = if error.kind() == io::ErrorKind::PermissionDenied {
        format!("{address}: this user may not listen there")
    } else {
        format!("{address}: {error}")
    };
    Some(elsewhere(Finding::fail(check, found), address))
}

/// Over TLS nobody can be asked.
pub(super) fn maybe_ours(check: &'static str, address: SocketAddr) -> Finding {
    let found = format!("{address} is in use, over TLS perhaps by a running recsys");
    Finding::warn(check, found).todo(whose(address))
}

/// An address that another program listens on.
pub(super) fn taken(check: &'static str, address: SocketAddr) -> Finding {
    let found = format!("{address} is in use by another program");
    elsewhere(Finding::fail(check, found), address).todo(whose(address))
}

fn elsewhere(finding: Finding, address: SocketAddr) -> Finding {
    let port = address.port();
    let other = SocketAddr::new(address.ip(), if port < 1024 { 50_051 } else { port ^ 1 });
    finding.todo(format!(
        "export {{setting}}={other}   # or another address that is free"
    ))
}

fn whose(address: SocketAddr) -> String {
    format!("ss -ltnp 'sport = :{}'   # whose it is", address.port())
}

fn descriptors(settings: &Settings) -> Finding {
    const CHECK: &str = "file descriptors";
    let wanted = app::descriptors_wanted(&settings.server, settings.webhook.webhook_addr.is_some());
    let connections = settings.server.max_connections;
    let Ok((_, hard)) = rlimit::Resource::NOFILE.get() else {
        return Finding::ok(CHECK, "the system does not say how many there may be");
    };
    if hard >= wanted {
        let found = format!("{hard}, of {wanted} wanted for {connections} connections");
        return Finding::ok(CHECK, found);
    }
    let found = format!(
        "{hard}, and {wanted} are wanted for RECSYS_MAX_CONNECTIONS={connections}: there will be \
         fewer connections"
    );
    Finding::warn(CHECK, found)
        .todo(format!(
            "ulimit -n {wanted}   # as root; for systemd LimitNOFILE={wanted}, for docker run \
             --ulimit nofile={wanted}"
        ))
        .todo(format!(
            "export RECSYS_MAX_CONNECTIONS={}   # or so",
            hard / 2
        ))
}

/// Stores that are spoken to in clear beyond private networks; and who may call.
fn in_clear(settings: &Settings) -> Vec<Finding> {
    let mut findings = Vec::new();
    let stores = [
        (&settings.redis_url, "REDIS_URL", "rediss://"),
        (&settings.qdrant_api_url, "QDRANT_API_URL", "https://"),
    ];
    for (url, setting, scheme) in stores {
        let Some(url) = url else { continue };
        if app::leaves_in_clear(url.expose()) {
            let found = format!("{setting} leads out of private networks without TLS");
            let todo = format!("export {setting}={scheme}...   # begin it with {scheme}");
            findings.push(Finding::warn("sent in clear", found).todo(todo));
        }
    }
    findings.extend(
        match app::is_guarded(settings) {
            Ok(true) => None,
            Ok(false) => Some(Finding::warn(
                "callers",
                format!(
                    "everyone who reaches {} may read, change and erase everything, as \
                 RECSYS_INSECURE_ALLOW_UNAUTHENTICATED says",
                    settings.listen_addr
                ),
            )),
            Err(StartError::Unauthenticated { address }) => Some(
                Finding::fail(
                    "callers",
                    format!(
                        "{address} can be reached from other machines, and there is no tenants file"
                    ),
                )
                .refused(),
            ),
            Err(error) => Some(Finding::fail("callers", error.to_string()).refused()),
        }
        .map(|finding| {
            let collection = &settings.qdrant.collection_name;
            let tenant = format!("[tenants.shop]\\ncollection = \"{collection}\"\\n\\n");
            finding
                .todo(format!("(umask 077; printf '{tenant}' >> tenants.toml)"))
                .todo(super::tenants::NEW_KEY)
                .todo("export RECSYS_TENANTS_PATH=tenants.toml")
        }),
    );
    findings
}
