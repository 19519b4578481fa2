//! The webhook's address, and who may deliver there.

use std::{io, net::SocketAddr, time::Duration};

use tokio::net::TcpStream;

use super::{report::Finding, settings};
use crate::{
    app::{self, StartError},
    cli::healthcheck,
    config::Settings,
};

pub(super) const SETTING: &str = "RECSYS_WEBHOOK_ADDR";

const ADDRESS: &str = "webhook address";
const DELIVERIES: &str = "deliveries";
/// A request that no webhook takes, and what ours says to it.
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: recsys\r\nconnection: close\r\n\r\n";
const REPLY: &str = "deliveries go to /v1/webhooks/";
/// Of a reply, what is looked at.
const MAX_REPLY_BYTES: usize = 4_096;

pub(super) async fn check(settings: &Settings, ask: Duration) -> Vec<Finding> {
    let Some(address) = settings.webhook.webhook_addr else {
        return Vec::new();
    };
    let listens = match settings::unless_in_use(ADDRESS, address).await {
        Some(told) => told,
        None if settings.tls.tls_cert_file.is_some() => settings::maybe_ours(ADDRESS, address),
        None => in_use(address, ask).await,
    };
    let mut findings = vec![settings::name_setting(listens, SETTING)];
    if let Err(error) = app::check_webhook(settings) {
        let refused = Finding::fail(DELIVERIES, error.to_string()).refused();
        let todo = if matches!(error, StartError::SecretBesideKeys) {
            "unset RECSYS_WEBHOOK_SECRET"
        } else {
            "export RECSYS_WEBHOOK_SECRET=\"$(openssl rand -hex 32)\"   # and give it to who delivers"
        };
        findings.push(refused.todo(todo));
    }
    findings
}

async fn in_use(address: SocketAddr, ask: Duration) -> Finding {
    match tokio::time::timeout(ask, reply(address)).await {
        Ok(Ok(reply)) if reply.contains(REPLY) => {
            let found = format!("{address} is in use by a running recsys, which takes deliveries");
            Finding::ok(ADDRESS, found)
        }
        _ => settings::taken(ADDRESS, address),
    }
}

/// What is answered there, until it ends or is long enough.
async fn reply(address: SocketAddr) -> io::Result<String> {
    let stream = TcpStream::connect(healthcheck::reachable(address)).await?;
    let mut left = REQUEST;
    while !left.is_empty() {
        stream.writable().await?;
        match stream.try_write(left) {
            Ok(written) => left = &left[written..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    let mut reply = Vec::new();
    while reply.len() < MAX_REPLY_BYTES {
        stream.readable().await?;
        let mut part = [0; 1_024];
        match stream.try_read(&mut part) {
            Ok(0) => break,
            Ok(read) => reply.extend_from_slice(&part[..read]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(String::from_utf8_lossy(&reply).into_owned())
}
