//! The outermost layer: which protocol a request speaks, and errors as Connect's.

use std::{
    convert::Infallible,
    future::Future,
    net::IpAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version,
    header::{
        ACCEPT_ENCODING, ALLOW, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, EXPECT,
        HOST,
    },
    uri::Authority,
};
use http_body::Body as HttpBody;
use tonic::{Code, Status, body::Body};
use tower::{Layer, Service};

use crate::{
    api::connect::{
        call::{ConnectCall, Format},
        error,
        lent_body::{LentBody, MAX_DRAIN_TIME, MAX_LATE_DRAIN_TIME, drain},
    },
    edge::{access::Access, call::CallLayer},
};

const GRPC: &str = "application/grpc";
const GRPC_WEB: &str = "application/grpc-web";
const PROTOCOL_VERSION: &str = "connect-protocol-version";
const TIMEOUT: &str = "connect-timeout-ms";
const GRPC_TIMEOUT: &str = "grpc-timeout";

/// Puts [`ConnectPort`] around the services of a port.
#[derive(Clone)]
pub(crate) struct Connect {
    access: Arc<Access>,
    calls: CallLayer,
    grpc_web: bool,
}

/// A request that is refused before the other layers: with an HTTP status that says more
/// than the one of its code.
struct Misdirected {
    status: Status,
    http: StatusCode,
}

impl From<Status> for Misdirected {
    fn from(status: Status) -> Self {
        let http = error::http_status(status.code());
        Self { status, http }
    }
}

impl Connect {
    /// Requests that are refused here are recorded by `calls`, as the layers behind this
    /// one record the others.
    pub(crate) fn new(access: Arc<Access>, calls: CallLayer, grpc_web: bool) -> Self {
        Self {
            access,
            calls,
            grpc_web,
        }
    }

    /// Reads which protocol a request speaks. One by Connect is marked, and gets the
    /// headers of gRPC; `None`: another protocol, which is not changed.
    fn read<B>(&self, request: &mut Request<B>) -> Result<Option<ConnectCall>, Misdirected> {
        let content_type = request.headers().get(CONTENT_TYPE);
        let content_type = content_type.and_then(|value| value.to_str().ok());
        let content_type = content_type.unwrap_or_default().to_owned();
        let is_web = content_type.starts_with(GRPC_WEB);
        let is_grpc = content_type.starts_with(GRPC) && !is_web;
        if is_grpc && request.version() == Version::HTTP_2 {
            return Ok(None);
        }
        if self.access.is_open() && !has_local_host(request) {
            let message = "this server has no keys, so it takes calls only under the name \
                           localhost or an address: a web page could call it under another name";
            return Err(Status::permission_denied(message).into());
        }
        if is_web && self.grpc_web {
            return Ok(None);
        }
        if request.method() != Method::POST {
            return Err(Misdirected {
                status: Status::unimplemented("calls are made by POST"),
                http: StatusCode::METHOD_NOT_ALLOWED,
            });
        }
        let Some(format) = Format::of(&content_type) else {
            let message = if is_web {
                "calls by gRPC-Web are off: set RECSYS_GRPC_WEB"
            } else if is_grpc {
                "gRPC needs HTTP/2"
            } else {
                "the content-type must be application/json or application/proto"
            };
            return Err(Misdirected {
                status: Status::unimplemented(message),
                http: StatusCode::UNSUPPORTED_MEDIA_TYPE,
            });
        };
        let call = headers_of(request.headers_mut(), format)?;
        *request.version_mut() = Version::HTTP_2;
        request.extensions_mut().insert(call);
        Ok(Some(call))
    }

    fn refuse<B>(&self, request: &mut Request<B>, refused: &Misdirected) -> Response<Body> {
        let call = self.calls.start(request);
        let mut reply = error::with_http_status(&refused.status, refused.http);
        if refused.http == StatusCode::METHOD_NOT_ALLOWED {
            let post = HeaderValue::from_static("POST");
            reply.headers_mut().insert(ALLOW, post);
        }
        call.finish(refused.status.code(), reply.headers_mut());
        reply
    }
}

/// Reads the headers of a call by Connect, and replaces them by those of gRPC.
fn headers_of(headers: &mut HeaderMap, format: Format) -> Result<ConnectCall, Status> {
    if headers
        .get(PROTOCOL_VERSION)
        .is_some_and(|version| version != "1")
    {
        return Err(Status::invalid_argument(
            "connect-protocol-version must be 1",
        ));
    }
    let mut encodings = headers.get_all(CONTENT_ENCODING).iter();
    let encoding = encodings
        .next()
        .map(HeaderValue::as_bytes)
        .unwrap_or_default();
    let gzip_request = match encoding.trim_ascii().to_ascii_lowercase().as_slice() {
        _ if encodings.next().is_some() => Err(()),
        b"" | b"identity" => Ok(false),
        b"gzip" => Ok(true),
        _ => Err(()),
    };
    let gzip_request = gzip_request
        .map_err(|()| Status::unimplemented("the content-encoding must be gzip or identity"))?;
    let gzip_reply = headers.get_all(ACCEPT_ENCODING).iter().any(takes_gzip);
    let timeout = headers.get(TIMEOUT).map(grpc_timeout).transpose()?;
    for name in [CONTENT_ENCODING, ACCEPT_ENCODING, CONTENT_LENGTH] {
        headers.remove(name);
    }
    for name in ["grpc-encoding", "grpc-accept-encoding", GRPC_TIMEOUT] {
        headers.remove(name);
    }
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(GRPC));
    if let Some(timeout) = timeout {
        headers.insert(GRPC_TIMEOUT, timeout);
    }
    Ok(ConnectCall {
        format,
        gzip_request,
        gzip_reply,
    })
}

/// Whether an `accept-encoding` names gzip, and not with weight 0.
fn takes_gzip(value: &HeaderValue) -> bool {
    let text = value.to_str().unwrap_or_default();
    text.split(',').any(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
        let weight = weight.trim().strip_prefix("q=").map(str::parse::<f32>);
        name.trim().eq_ignore_ascii_case("gzip") && weight != Some(Ok(0.0))
    })
}

/// A timeout of at most ten digits in milliseconds, as gRPC writes it: eight digits and a
/// unit.
fn grpc_timeout(value: &HeaderValue) -> Result<HeaderValue, Status> {
    let digits = value.as_bytes();
    let is_number = (1..=10).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
    let text = value.to_str().ok().filter(|_| is_number);
    let timeout = text.and_then(|text| text.parse::<u64>().ok());
    let timeout = timeout.map(|ms| match ms {
        0..100_000_000 => format!("{ms}m"),
        _ => format!("{}S", ms / 1_000),
    });
    timeout
        .and_then(|timeout| HeaderValue::try_from(timeout).ok())
        .ok_or_else(|| {
            Status::invalid_argument("connect-timeout-ms must be a number of at most ten digits")
        })
}

/// Whether a request names `localhost` or an address as its host. A page of another name
/// that resolves to this server (DNS rebinding) names that one.
fn has_local_host<B>(request: &Request<B>) -> bool {
    let of_header = |value: &HeaderValue| value.to_str().ok()?.parse::<Authority>().ok();
    let authority = match request.uri().authority() {
        Some(authority) => Some(authority.clone()),
        None => request.headers().get(HOST).and_then(of_header),
    };
    authority.is_some_and(|authority| {
        let host = authority
            .host()
            .trim_start_matches('[')
            .trim_end_matches(']');
        host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok()
    })
}

impl<S> Layer<S> for Connect {
    type Service = ConnectPort<S>;

    fn layer(&self, inner: S) -> Self::Service {
        ConnectPort {
            inner,
            connect: self.clone(),
        }
    }
}

/// The services of a port, called by Connect or gRPC.
#[derive(Clone)]
pub(crate) struct ConnectPort<S> {
    inner: S,
    connect: Connect,
}

impl<S, B> Service<Request<B>> for ConnectPort<S>
where
    S: Service<Request<LentBody<B>>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
    B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        // HTTP/2 has a stream for each call. A client that asks before it sends its body
        // (expect) does not send it after an error.
        let drains = request.version() < Version::HTTP_2 && !request.headers().contains_key(EXPECT);
        match self.connect.read(&mut request) {
            Err(refused) => {
                let mut reply = self.connect.refuse(&mut request, &refused);
                Box::pin(async move {
                    if drains && !drain(request.into_body(), MAX_DRAIN_TIME).await {
                        close(reply.headers_mut());
                    }
                    Ok(reply)
                })
            }
            Ok(None) => Box::pin(self.inner.call(request.map(LentBody::given))),
            Ok(Some(_)) if !drains => {
                let reply = self.inner.call(request.map(LentBody::given));
                Box::pin(async move { Ok(written(reply.await?)) })
            }
            Ok(Some(_)) => {
                let (parts, body) = request.into_parts();
                let (body, rest) = LentBody::lent(body);
                let reply = self.inner.call(Request::from_parts(parts, body));
                Box::pin(async move {
                    let mut reply = written(reply.await?);
                    let within = match reply.status() {
                        StatusCode::GATEWAY_TIMEOUT => MAX_LATE_DRAIN_TIME,
                        _ => MAX_DRAIN_TIME,
                    };
                    if !reply.status().is_success() && !rest.drain(within).await {
                        close(reply.headers_mut());
                    }
                    Ok(reply)
                })
            }
        }
    }
}

/// The connection of a reply ends with it: its client must not send another request.
fn close(reply: &mut HeaderMap) {
    reply.insert(CONNECTION, HeaderValue::from_static("close"));
}

/// A reply without what is gRPC's; a failed one as Connect's error.
fn written(mut reply: Response<Body>) -> Response<Body> {
    let status = Status::from_header_map(reply.headers());
    let headers = reply.headers_mut();
    for name in ["grpc-status", "grpc-message", "grpc-status-details-bin"] {
        headers.remove(name);
    }
    let Some(status) = status.filter(|status| status.code() != Code::Ok) else {
        return reply;
    };
    let mut error = error::reply(&status);
    for (name, value) in reply.headers() {
        if !error.headers().contains_key(name) && name != CONTENT_LENGTH {
            error.headers_mut().insert(name.clone(), value.clone());
        }
    }
    error
}
