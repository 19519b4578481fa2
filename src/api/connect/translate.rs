//! The innermost layer: requests by Connect as gRPC, and replies of gRPC as Connect. It is
//! behind the guard: no message of a call that is refused is read.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::{Arc, LazyLock},
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::future::Either;
use http::{
    HeaderValue, Request, Response,
    header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE},
};
use http_body_util::{BodyExt as _, Full};
use tokio::sync::Semaphore;
use tonic::{Code, Status, body::Body};
use tower::Service;

use crate::{
    api::{
        connect::{
            call::{ConnectCall, Format},
            encoding::{gzip, reserve},
            json,
        },
        limits::{Limits, message_bytes},
    },
    blocking::{LONG_BYTES, in_place, processors},
    edge::{
        body::{gunzip, read},
        load::Account,
    },
};

/// Before each message of gRPC: whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;
/// The smallest reply that is worth compressing.
const MIN_GZIP_BYTES: usize = 1 << 10;

/// Services that take calls by gRPC and by Connect.
#[derive(Clone)]
pub(crate) struct Translated<S> {
    services: S,
    limits: Arc<Limits>,
}

impl<S> Translated<S> {
    pub(crate) fn new(services: S, limits: Arc<Limits>) -> Self {
        Self { services, limits }
    }
}

impl<S> Service<Request<Body>> for Translated<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future =
        Either<S::Future, Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.services.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let Some(call) = request.extensions().get::<ConnectCall>().copied() else {
            return Either::Left(self.services.call(request));
        };
        let next = self.services.clone();
        let services = std::mem::replace(&mut self.services, next);
        let limits = Arc::clone(&self.limits);
        Either::Right(Box::pin(async move {
            Ok(match answer(services, &limits, call, request).await {
                Ok(reply) => reply,
                Err(status) => status.into_http(),
            })
        }))
    }
}

async fn answer<S>(
    mut services: S,
    limits: &Limits,
    call: ConnectCall,
    request: Request<Body>,
) -> Result<Response<Body>, Status>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    let (parts, body) = request.into_parts();
    let Some(method) = json::method(parts.uri.path()) else {
        return Err(Status::unimplemented("no such method"));
    };
    if method.is_client_streaming() || method.is_server_streaming() {
        let message = format!("{} streams: it is served by gRPC alone", method.name());
        return Err(Status::unimplemented(message));
    }
    let max = message_bytes(limits, method.input().full_name());
    let account = Account::of(&parts.extensions);
    let account = account.as_ref();
    let body = read(body, max, account).await?;
    let framed = convert(body.len(), call.gzip_request, || {
        let body = match call.gzip_request {
            true => gunzip(&body, max, account)?,
            false => body,
        };
        match call.format {
            Format::Json => json::encode(method.input(), &body, PREFIX_BYTES, account),
            Format::Protobuf => {
                reserve(account, PREFIX_BYTES + body.len())?;
                Ok([&[0; PREFIX_BYTES][..], &body].concat())
            }
        }
    })
    .await?;
    let framed = with_length(framed)?;
    let request = Request::from_parts(parts, Body::new(Full::new(framed)));
    let Ok(reply) = services.call(request).await;

    let (mut parts, body) = reply.into_parts();
    let mut status = Status::from_header_map(&parts.headers);
    let body = body.collect().await?;
    if let Some(trailers) = body.trailers() {
        status = status.or_else(|| Status::from_header_map(trailers));
    }
    if let Some(status) = status
        && status.code() != Code::Ok
    {
        return Err(status);
    }
    let mut message = body.to_bytes();
    if message.len() < PREFIX_BYTES {
        return Err(Status::internal("internal error"));
    }
    let message = message.split_off(PREFIX_BYTES);
    let mut is_packed = false;
    let content = convert(message.len(), false, || {
        let content = match call.format {
            Format::Json => Bytes::from(json::write(method.output(), message, account)?),
            Format::Protobuf => message,
        };
        if call.gzip_reply && content.len() >= MIN_GZIP_BYTES {
            reserve(account, content.len())?;
            if let Some(packed) = gzip(&content) {
                is_packed = true;
                return Ok::<Bytes, Status>(packed.into());
            }
        }
        Ok(content)
    })
    .await?;
    let headers = &mut parts.headers;
    headers.remove(CONTENT_LENGTH);
    // The layers around this one read the status here; the outermost removes it.
    headers.insert(Status::GRPC_STATUS, HeaderValue::from_static("0"));
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static(call.format.content_type()),
    );
    if is_packed {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    Ok(Response::from_parts(parts, Body::new(Full::new(content))))
}

/// Long conversions at a time: all processors but one, so that short calls go on.
static LONG_CONVERSIONS: LazyLock<Semaphore> =
    LazyLock::new(|| Semaphore::new(processors().saturating_sub(1).max(1)));

/// Runs a conversion of a body of this size. A long one waits for its turn.
async fn convert<T>(bytes: usize, packed: bool, work: impl FnOnce() -> T) -> T {
    if bytes <= LONG_BYTES && !packed {
        return work();
    }
    // The semaphore is never closed.
    let _turn = LONG_CONVERSIONS.acquire().await;
    in_place(work)
}

/// Writes the length of a message before it.
fn with_length(mut framed: Vec<u8>) -> Result<Bytes, Status> {
    let length = u32::try_from(framed.len().saturating_sub(PREFIX_BYTES));
    let length = length.map_err(|_| Status::out_of_range("the request is too large"))?;
    if let Some(prefix) = framed.get_mut(1..PREFIX_BYTES) {
        prefix.copy_from_slice(&length.to_be_bytes());
    }
    Ok(framed.into())
}
