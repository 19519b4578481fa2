//! Addresses, and what the system gives.

use std::{io, net::SocketAddr, time::Duration};

use tokio::net::TcpListener;

use super::report::Finding;
use crate::{
    app::{self, StartError},
    cli::healthcheck::{self, Unhealthy},
    config::Settings,
};

/// A health name that no other program has.
const OUR_SERVICE: &str = "recsys.v1.RecommenderService";
/// Longest to ask who listens.
const LONGEST_TO_ASK: Duration = Duration::from_secs(2);

pub(super) async fn check(settings: &Settings, at_most: Duration) -> Vec<Finding> {
    let ask = at_most.min(LONGEST_TO_ASK);
    // With TLS on the API's port, only the admin port can be asked.
    let health = settings.health_address();
    let api = address("listen address", settings.listen_addr, health, ask).await;
    let mut findings = vec![name_setting(api, "RECSYS_LISTEN_ADDR")];
    match settings.admin_addr {
        Some(admin) => {
            let found = address("admin address", admin, Some(admin), ask).await;
            findings.push(name_setting(found, "RECSYS_ADMIN_ADDR"));
        }
        None => findings.push(Finding::ok(
            "admin address",
            "none (RECSYS_ADMIN_ADDR): no metrics are served",
        )),
    }
    findings.push(descriptors(settings));
    findings.extend(in_clear(settings));
    findings
}

/// The finding, with what to do in terms of the setting.
fn name_setting(finding: Finding, setting: &str) -> Finding {
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
    let error = match TcpListener::bind(address).await {
        Ok(_) => return Finding::ok(check, format!("{address} is free")),
        Err(error) => error,
    };
    let port = address.port();
    let other = SocketAddr::new(address.ip(), if port < 1024 { 50_051 } else { port ^ 1 });
    let elsewhere = format!("export {{setting}}={other}   # or another address that is free");
    let failed = |found| Finding::fail(check, found).todo(elsewhere.clone());
    if error.kind() == io::ErrorKind::PermissionDenied {
        return failed(format!("{address}: this user may not listen there"));
    }
    if error.kind() != io::ErrorKind::AddrInUse {
        return failed(format!("{address}: {error}"));
    }
    let Some(health) = health else {
        let found = format!("{address} is in use, over TLS perhaps by a running recsys");
        let whose = format!("ss -ltnp 'sport = :{port}'   # whose it is");
        return Finding::warn(check, found).todo(whose);
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
        _ => failed(format!("{address} is in use by another program"))
            .todo(format!("ss -ltnp 'sport = :{port}'   # whose it is")),
    }
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
