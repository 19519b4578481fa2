//! Retries a call once if its connection was lost.
//!
//! Many calls share a connection, and a few can end it for all: Qdrant closes it
//! when some 20 calls are cancelled before it starts them, as happens when callers
//! time out. Every call made here is idempotent.

use std::{
    collections::VecDeque,
    convert::Infallible,
    future::poll_fn,
    mem,
    pin::{Pin, pin},
    task::{Context, Poll},
};

use http::{Request, Response};
use http_body::{Body as _, Frame};
use tonic::{Code, Status, body::Body, transport::Channel};
use tower::{Service, ServiceExt as _};

type Bytes = <Body as http_body::Body>::Data;

/// A channel that retries calls whose connection was lost.
#[derive(Clone)]
pub(super) struct RetryLostConnection(pub(super) Channel);

impl Service<Request<Body>> for RetryLostConnection {
    type Response = Response<Body>;
    type Error = Status;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Status>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Status>> {
        self.0.poll_ready(context).map_err(status)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        // `poll_ready` made this channel ready, not its clone.
        let next = self.0.clone();
        let mut channel = mem::replace(&mut self.0, next);
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let body = BufferedBody::read(body).await?;
            let retry = Request::from_parts(head.clone(), Body::new(body.clone()));
            let first = Request::from_parts(head, Body::new(body));
            let lost = match channel.call(first).await.map_err(status) {
                Err(lost) if was_connected(&lost) => lost,
                result => return result,
            };
            // The first error says best what is wrong, unless the request was
            // never sent.
            let was_sent = lost.code() != Code::Cancelled;
            let reported = |second| {
                if was_sent {
                    lost.clone()
                } else {
                    status(second)
                }
            };
            match channel.ready().await {
                Ok(ready) => ready.call(retry).await.map_err(reported),
                Err(_) => Err(lost),
            }
        })
    }
}

fn status(error: tonic::transport::Error) -> Status {
    Status::from_error(error.into())
}

/// A connection that cannot be made is `UNAVAILABLE`; an immediate retry would
/// fail, too.
fn was_connected(lost: &Status) -> bool {
    lost.code() != Code::Unavailable
}

/// All data frames of a request.
#[derive(Clone)]
struct BufferedBody(VecDeque<Bytes>);

impl BufferedBody {
    async fn read(body: Body) -> Result<Self, Status> {
        let mut body = pin!(body);
        let mut frames = VecDeque::with_capacity(1);
        while let Some(frame) = poll_fn(|context| body.as_mut().poll_frame(context)).await {
            // Requests have no trailers.
            frames.extend(frame?.into_data());
        }
        Ok(Self(frames))
    }
}

impl http_body::Body for BufferedBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop_front().map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }
}
