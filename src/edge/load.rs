//! How much the process takes on: calls beyond that are refused early, with a
//! hint when to try again. Health and reflection are never refused.
//!
//! A call counts as worked on from when its request is complete until its reply
//! begins, so neither a client that sends slowly nor one that reads slowly takes
//! anybody's turn. What they do take is memory, and that is counted in bytes.

use std::{
    convert::Infallible,
    error::Error,
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use metrics::Gauge;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::{Code, Status, body::Body};
use tower::{Layer, Service};

use crate::{
    api::{
        error::ApiError,
        methods::{is_free, is_stream},
    },
    edge::connections::{Connection, OpenStream, UntakenReply},
    telemetry::meters::{self, Shed},
};

type BoxError = Box<dyn Error + Send + Sync>;

/// What a call takes besides its messages.
const CALL_BYTES: usize = 4 << 10;
/// What a stream may keep while it says nothing.
const MUCH_BYTES: usize = 64 << 10;
/// How soon a stream whose request found no turn tries again.
const NEXT_TRY: Duration = Duration::from_millis(20);

/// What the process has taken on, of what it may.
pub(crate) struct Load {
    max_calls: usize,
    max_bytes: usize,
    calls: AtomicUsize,
    bytes: AtomicUsize,
    calls_gauge: Gauge,
    bytes_gauge: Gauge,
}

impl Load {
    /// At most so many calls worked on at once, and so many bytes of messages
    /// that come in or go out.
    pub(crate) fn new(max_calls: usize, max_bytes: usize) -> Arc<Self> {
        let (calls_gauge, bytes_gauge) = (meters::calls_in_flight(), meters::buffered_bytes());
        Arc::new(Self {
            calls_gauge,
            bytes_gauge,
            ..Self::unmetered(max_calls, max_bytes)
        })
    }

    /// The same, of which no metric tells.
    pub(crate) fn unmetered(max_calls: usize, max_bytes: usize) -> Self {
        Self {
            max_calls,
            max_bytes,
            calls: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            calls_gauge: Gauge::noop(),
            bytes_gauge: Gauge::noop(),
        }
    }

    /// Why a call that begins now would be refused.
    fn full(&self) -> Option<Shed> {
        if self.calls.load(Ordering::Relaxed) >= self.max_calls {
            Some(Shed::Calls)
        } else if self.bytes.load(Ordering::Relaxed) >= self.max_bytes {
            Some(Shed::Bytes)
        } else {
            None
        }
    }

    fn begin_work(&self) -> Result<(), Shed> {
        if self.calls.fetch_add(1, Ordering::Relaxed) >= self.max_calls {
            self.calls.fetch_sub(1, Ordering::Relaxed);
            return Err(Shed::Calls);
        }
        self.calls_gauge.increment(1.0);
        Ok(())
    }

    fn end_work(&self) {
        self.calls.fetch_sub(1, Ordering::Relaxed);
        self.calls_gauge.decrement(1.0);
    }

    fn hold(&self, bytes: usize) -> Result<(), Shed> {
        self.bytes_gauge.increment(bytes as f64);
        let before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        if before + bytes > self.max_bytes {
            return Err(Shed::Bytes);
        }
        Ok(())
    }

    fn release(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.bytes_gauge.decrement(bytes as f64);
    }
}

fn refusal(why: Shed) -> Status {
    meters::shed(why);
    ApiError::overloaded().into()
}

/// A call and what it holds; given back when this is dropped.
pub(crate) struct OpenCall {
    load: Arc<Load>,
    connection: Option<Arc<Connection>>,
    _stream: Option<OpenStream>,
    /// Whether it takes requests and makes replies one after the other.
    is_stream: bool,
    bytes: AtomicUsize,
    /// Those that the largest request of a stream took.
    kept: AtomicUsize,
    at_work: AtomicBool,
}

/// A turn of a stream's request; given back when this is dropped.
pub(crate) struct Turn<'a>(&'a OpenCall);

impl OpenCall {
    /// Cancelled when a stream is to end.
    pub(crate) fn closing(&self) -> CancellationToken {
        let connection = self.connection.as_ref();
        connection.map_or_else(CancellationToken::new, |connection| {
            connection.closing.clone()
        })
    }

    /// A turn for a stream's request, as soon as there is one.
    pub(crate) async fn turn(&self) -> Turn<'_> {
        while self.begin_work().is_err() {
            tokio::time::sleep(NEXT_TRY).await;
        }
        Turn(self)
    }

    /// Whether more of a stream's next request is there than nothing.
    pub(crate) fn has_begun_a_request(&self) -> bool {
        let kept = self.kept.load(Ordering::Relaxed);
        self.bytes.load(Ordering::Relaxed) > CALL_BYTES + kept
    }

    /// A stream's request is done with. What held the largest of them is kept for
    /// the next, as long as the stream lasts.
    pub(crate) fn release_request(&self) {
        let held = self.bytes.load(Ordering::Relaxed);
        let kept = self.kept.load(Ordering::Relaxed);
        let request = held.saturating_sub(CALL_BYTES + kept);
        let keeps = kept.max(request);
        self.kept.store(keeps, Ordering::Relaxed);
        self.bytes.store(CALL_BYTES + keeps, Ordering::Relaxed);
        self.load.release(held.saturating_sub(CALL_BYTES + keeps));
    }

    /// Whether what a stream keeps is worth its end.
    pub(crate) fn keeps_much(&self) -> bool {
        self.kept.load(Ordering::Relaxed) > MUCH_BYTES
    }

    fn hold(&self, bytes: usize) -> Result<(), Shed> {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.load.hold(bytes)
    }

    /// Its request is complete.
    fn begin_work(&self) -> Result<(), Shed> {
        if !self.at_work.load(Ordering::Relaxed) {
            self.load.begin_work()?;
            self.at_work.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    fn end_work(&self) {
        if self.at_work.swap(false, Ordering::Relaxed) {
            self.load.end_work();
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.end_work();
    }
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        self.end_work();
        self.load.release(self.bytes.load(Ordering::Relaxed));
    }
}

/// A call's account, for what it takes besides its messages; goes along with
/// its request.
#[derive(Clone)]
pub(crate) struct Account(Arc<OpenCall>);

impl Account {
    /// That of a request, if it has one.
    pub(crate) fn of(request: &http::Extensions) -> Option<Self> {
        request.get::<Self>().cloned()
    }

    /// Takes so many bytes more, until the call has ended.
    pub(crate) fn hold(&self, bytes: usize) -> Result<(), Status> {
        self.0.hold(bytes).map_err(refusal)
    }
}

/// Puts [`Admission`] around a service.
#[derive(Clone)]
pub(crate) struct LoadLayer(pub(crate) Arc<Load>);

impl<S> Layer<S> for LoadLayer {
    type Service = Admission<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Admission {
            inner,
            load: Arc::clone(&self.0),
        }
    }
}

/// A service that takes on no more than the process can bear.
#[derive(Clone)]
pub(crate) struct Admission<S> {
    inner: S,
    load: Arc<Load>,
}

impl<S, B> Service<Request<B>> for Admission<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
    B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let connection = request.extensions().get::<Arc<Connection>>().cloned();
        let stream = connection.as_ref().map(Connection::stream);
        if is_free(request.uri().path()) {
            let reply = self.inner.call(request.map(Body::new));
            return Box::pin(async move {
                Ok(reply.await?.map(|body| {
                    let closing = connection.map(|connection| connection.closing.clone());
                    Body::new(UntilClosing {
                        body,
                        closing: closing.map(|closing| Box::pin(closing.cancelled_owned())),
                        told: false,
                        _stream: stream,
                    })
                }))
            });
        }

        if let Some(why) = self.load.full() {
            return Box::pin(async move { Ok(refusal(why).into_http()) });
        }
        let call = Arc::new(OpenCall {
            load: Arc::clone(&self.load),
            connection,
            _stream: stream,
            is_stream: is_stream(request.uri().path()),
            bytes: AtomicUsize::new(0),
            kept: AtomicUsize::new(0),
            at_work: AtomicBool::new(false),
        });
        if let Err(why) = call.hold(CALL_BYTES) {
            return Box::pin(async move { Ok(refusal(why).into_http()) });
        }
        if call.is_stream {
            request.extensions_mut().insert(Arc::clone(&call));
        }
        let incoming = Arc::clone(&call);
        request.extensions_mut().insert(Account(Arc::clone(&call)));
        let reply = self.inner.call(request.map(|body| {
            Body::new(Counted {
                body,
                call: incoming,
            })
        }));
        Box::pin(async move {
            let reply = reply.await?;
            call.end_work();
            let untaken = call.connection.as_ref().map(Connection::reply);
            Ok(reply.map(|body| {
                Body::new(Outgoing {
                    body,
                    call,
                    untaken,
                })
            }))
        })
    }
}

/// A request on its way in. When it is complete the work begins, if there is
/// room for it.
struct Counted<B> {
    body: B,
    call: Arc<OpenCall>,
}

impl<B> HttpBody for Counted<B>
where
    B: HttpBody<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        let counted = match &frame {
            // Its requests each have a turn.
            None if self.call.is_stream => Ok(()),
            // Nothing comes after trailers, and nobody looks.
            Some(Ok(frame)) if frame.is_trailers() && !self.call.is_stream => {
                self.call.begin_work()
            }
            Some(Ok(frame)) => frame
                .data_ref()
                .map_or(Ok(()), |data| self.call.hold(data.len())),
            Some(Err(_)) => Ok(()),
            None => self.call.begin_work(),
        };
        Poll::Ready(match counted {
            Ok(()) => frame.map(|frame| frame.map_err(Into::into)),
            Err(why) => Some(Err(refusal(why).into())),
        })
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A reply on its way out.
struct Outgoing {
    body: Body,
    call: Arc<OpenCall>,
    untaken: Option<UntakenReply>,
}

impl HttpBody for Outgoing {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.call.is_stream {
            // Whoever asks for the next reply has sent the one before.
            self.untaken = None;
        }
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &frame
            && let Some(data) = frame.data_ref()
        {
            if self.call.is_stream {
                self.untaken = self.call.connection.as_ref().map(Connection::reply);
            } else {
                // It is made already: only those that come next are refused.
                let _ = self.call.hold(data.len());
            }
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A reply that may have no end of its own, such as a watch of health: it ends
/// when its connection is to close.
struct UntilClosing {
    body: Body,
    closing: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    told: bool,
    _stream: Option<OpenStream>,
}

impl HttpBody for UntilClosing {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.told {
            return Poll::Ready(None);
        }
        let frame = Pin::new(&mut self.body).poll_frame(context);
        let closing = match &mut self.closing {
            Some(closing) if frame.is_pending() => closing.as_mut().poll(context),
            _ => Poll::Pending,
        };
        if closing.is_pending() {
            return frame;
        }
        self.told = true;
        let mut trailers = HeaderMap::new();
        let ends = Status::new(Code::Unavailable, "this connection ends: connect anew");
        Poll::Ready(Some(match ends.add_header(&mut trailers) {
            Ok(()) => Ok(Frame::trailers(trailers)),
            Err(failed) => Err(failed),
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.told || self.body.is_end_stream()
    }
}

#[cfg(test)]
mod tests {
    use super::Load;
    use crate::telemetry::meters::Shed;

    #[test]
    fn as_many_calls_are_worked_on_as_may_be_and_no_more() {
        let load = Load::unmetered(2, 100);
        assert_eq!(load.begin_work(), Ok(()));
        assert_eq!(load.full(), None);
        assert_eq!(load.begin_work(), Ok(()));
        for _ in 0..3 {
            assert_eq!(load.full(), Some(Shed::Calls));
            assert_eq!(load.begin_work(), Err(Shed::Calls), "takes no turn");
        }
        load.end_work();
        assert_eq!(load.full(), None);
        assert_eq!(load.begin_work(), Ok(()));
    }

    #[test]
    fn as_many_bytes_are_held_as_may_be_and_no_more() {
        let load = Load::unmetered(2, 100);
        assert_eq!(load.hold(60), Ok(()));
        assert_eq!(load.full(), None);
        assert_eq!(load.hold(40), Ok(()));
        assert_eq!(load.full(), Some(Shed::Bytes));
        // Counts until it is given back, refused or not.
        assert_eq!(load.hold(1), Err(Shed::Bytes));
        load.release(41);
        assert_eq!(load.full(), None);
        assert_eq!(load.hold(41), Err(Shed::Bytes));
        load.release(41);
        assert_eq!(load.hold(40), Ok(()));
    }
}
