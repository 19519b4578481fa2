//! What answers on an address that is not the API's.

use std::time::Duration;

use http::Uri;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tonic::{Code, Status};

const TIMEOUT: Duration = Duration::from_secs(2);
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: recsys\r\nConnection: close\r\n\r\n";

/// The first bytes of a TLS alert, with which a TLS server refuses plaintext.
const TLS_ALERT: [u8; 2] = [0x15, 0x03];
/// The type and flags of HTTP/2's first frame, SETTINGS.
const HTTP2_SETTINGS: [u8; 2] = [0x04, 0x00];

/// Why no stream can ever succeed on this URL, in one sentence; `None` if it may.
pub(super) async fn diagnose(url: &str) -> Option<String> {
    let uri: Uri = url.parse().ok()?;
    let tls = uri.scheme_str() == Some("https");
    let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
    let host = uri.host()?.trim_matches(['[', ']']);
    let reply = timeout(TIMEOUT, first_bytes(host, port)).await.ok()??;
    if reply.starts_with(&TLS_ALERT) {
        return (!tls).then(|| {
            let rest = url.strip_prefix("http").unwrap_or(url);
            format!("{url} answers with TLS only: write --to https{rest}")
        });
    }
    let is_plaintext = reply.starts_with(b"HTTP/1.") || reply.get(3..5) == Some(&HTTP2_SETTINGS);
    (tls && is_plaintext).then(|| {
        let rest = url.strip_prefix("https").unwrap_or(url);
        format!("{url} answers without TLS: write --to http{rest}")
    })
}

/// The first bytes of the reply to a request in plaintext.
async fn first_bytes(host: &str, port: u16) -> Option<Vec<u8>> {
    let mut stream = TcpStream::connect((host, port)).await.ok()?;
    stream.write_all(REQUEST).await.ok()?;
    let mut reply = Vec::new();
    while reply.len() < 8 && stream.read_buf(&mut reply).await.ok()? > 0 {}
    Some(reply)
}

/// Whether a reply comes from another server than a gRPC one. A proxy whose server is
/// down answers with 5xx: that passes.
pub(super) fn is_not_grpc(status: &Status) -> bool {
    let text = status.message();
    let is_other = text.contains("grpc-status header missing")
        || text.contains("invalid compression flag")
        || text.contains("invalid content type");
    let passes = text.contains("status code 5") || text.contains("with status: 5");
    is_other && !passes && status.code() != Code::Unavailable
}
