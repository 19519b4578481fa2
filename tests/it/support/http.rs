//! Clients of HTTP/1.1 and HTTP/2.

use std::{
    future::poll_fn,
    io::{Read as _, Write as _},
    net::SocketAddr,
};

use bytes::Bytes;
use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::raw_http2;

#[derive(Debug)]
pub struct HttpReply {
    pub status: u16,
    headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl HttpReply {
    pub fn header(&self, name: &str) -> Option<&str> {
        let header = self.headers.iter().find(|(known, _)| known == name);
        header.map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> serde_json::Value {
        assert_eq!(self.header("content-type"), Some("application/json"));
        serde_json::from_slice(&self.body).unwrap()
    }

    fn parse(bytes: &[u8]) -> Self {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
        let end = end.unwrap_or_else(|| panic!("no reply: {}", bytes.escape_ascii()));
        let head = std::str::from_utf8(&bytes[..end]).unwrap();
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap();
        let header = |line: &str| {
            let (name, value) = line.split_once(':').unwrap();
            (name.to_ascii_lowercase(), value.trim().to_owned())
        };
        let mut reply = Self {
            status: status.parse().unwrap(),
            headers: lines.map(header).collect(),
            body: bytes[end + 4..].to_vec(),
        };
        if reply.header("transfer-encoding") == Some("chunked") {
            reply.body = dechunked(&reply.body);
        }
        reply
    }
}

/// The content of a chunked body.
fn dechunked(mut rest: &[u8]) -> Vec<u8> {
    let mut content = Vec::new();
    loop {
        let end = rest.windows(2).position(|two| two == b"\r\n").unwrap();
        let size = std::str::from_utf8(&rest[..end]).unwrap();
        let size = usize::from_str_radix(size, 16).unwrap();
        rest = &rest[end + 2..];
        if size == 0 {
            return content;
        }
        content.extend(&rest[..size]);
        rest = &rest[size + 2..];
    }
}

/// The bytes of a request that closes its connection.
pub fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut text = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n");
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str(&format!("content-length: {}\r\n\r\n", body.len()));
    [text.as_bytes(), body].concat()
}

/// Sends bytes on a new connection, and reads to its end.
pub async fn exchange(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // The server may answer and close before it has read everything.
    let _ = stream.write_all(bytes).await;
    let mut received = Vec::new();
    let _ = stream.read_to_end(&mut received).await;
    received
}

pub async fn send(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> HttpReply {
    let request = request(method, path, headers, body);
    reply(&exchange(address, &request).await)
}

/// A version of HTTP, in plaintext.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    Http1,
    Http2,
}

pub const VERSIONS: [Version; 2] = [Version::Http1, Version::Http2];

impl Version {
    /// As [`send`], by this version.
    pub async fn send(
        self,
        address: SocketAddr,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> HttpReply {
        match self {
            Self::Http1 => send(address, method, path, headers, body).await,
            Self::Http2 => send_http2(address, method, path, headers, body).await,
        }
    }
}

async fn send_http2(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> HttpReply {
    let (mut client, _ended) = raw_http2::connect(address, 1 << 24).await;
    let mut request = http::Request::builder()
        .method(method)
        .uri(format!("http://localhost{path}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let (reply, mut stream) = client
        .send_request(request.body(()).unwrap(), body.is_empty())
        .unwrap();
    // The server may answer before it has read everything.
    let mut rest = Bytes::copy_from_slice(body);
    stream.reserve_capacity(rest.len());
    let sending = async {
        while !rest.is_empty() {
            let Some(Ok(room)) = poll_fn(|context| stream.poll_capacity(context)).await else {
                return;
            };
            let part = rest.split_to(room.min(rest.len()));
            if stream.send_data(part, rest.is_empty()).is_err() {
                return;
            }
        }
    };
    let reading = async {
        let (head, mut body) = reply.await.unwrap().into_parts();
        let mut content = Vec::new();
        while let Some(data) = body.data().await {
            content.extend(data.unwrap());
        }
        (head, content)
    };
    let ((), (head, body)) = tokio::join!(sending, reading);
    let header = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        (name.to_string(), value.to_str().unwrap().to_owned())
    };
    HttpReply {
        status: head.status.as_u16(),
        headers: head.headers.iter().map(header).collect(),
        body,
    }
}

/// Parses a reply.
pub fn reply(bytes: &[u8]) -> HttpReply {
    HttpReply::parse(bytes)
}

pub fn gunzip(packed: &[u8]) -> Vec<u8> {
    let mut unpacked = Vec::new();
    GzDecoder::new(packed).read_to_end(&mut unpacked).unwrap();
    unpacked
}

pub fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}
