//! Sends a call once more if the connection was lost under it.
//!
//! A connection carries many calls, and may end for all of them because of a
//! few: Qdrant ends it, for one, when some 20 calls are cancelled before it has
//! begun them, as happens when callers give up waiting. Every call made here
//! does no harm if it is done twice.

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

/// A channel whose calls survive the loss of its connection.
#[derive(Clone)]
pub(super) struct Resending(pub(super) Channel);

impl Service<Request<Body>> for Resending {
    type Response = Response<Body>;
    type Error = Status;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Status>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Status>> {
        self.0.poll_ready(context).map_err(status)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        // The one that is ready is used up by this call.
        let next = self.0.clone();
        let mut channel = mem::replace(&mut self.0, next);
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let message = Message::read(body).await?;
            let again = Request::from_parts(head.clone(), Body::new(message.clone()));
            let first = Request::from_parts(head, Body::new(message));
            let lost = match channel.call(first).await.map_err(status) {
                Err(lost) if was_connected(&lost) => lost,
                answered => return answered,
            };
            // What came first says best what is wrong, unless it was never sent.
            let was_sent = lost.code() != Code::Cancelled;
            let told = |second| {
                if was_sent {
                    lost.clone()
                } else {
                    status(second)
                }
            };
            match channel.ready().await {
                Ok(ready) => ready.call(again).await.map_err(told),
                Err(_) => Err(lost),
            }
        })
    }
}

fn status(error: tonic::transport::Error) -> Status {
    Status::from_error(error.into())
}

/// A connection that cannot be made is `UNAVAILABLE`, and would not be made a
/// moment later.
fn was_connected(lost: &Status) -> bool {
    lost.code() != Code::Unavailable
}

/// The frames of a request, whole.
#[derive(Clone)]
struct Message(VecDeque<Bytes>);

impl Message {
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

impl http_body::Body for Message {
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
