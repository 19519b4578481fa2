//! Bodies that count their bytes.

use std::{
    future::Future as _,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio_util::sync::WaitForCancellationFutureOwned;
use tonic::{Status, body::Body};

use crate::edge::{
    connections::{Connection, PendingReply},
    load::{
        free_call::FreeCall,
        open_call::{OpenCall, Streams},
    },
    refusal::{BoxError, Protocol},
};

/// A request on its way in. Once it is complete its call is in flight, if there is
/// room for one more.
pub(crate) struct RequestBody<B> {
    pub(crate) body: B,
    pub(crate) call: Arc<OpenCall>,
}

impl<B> HttpBody for RequestBody<B>
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
            // Each request of a stream gets its own permit.
            None if self.call.streams == Streams::Both => Ok(()),
            // Trailers are the last frame; the reader may not poll for the end.
            Some(Ok(frame)) if frame.is_trailers() && self.call.streams != Streams::Both => {
                self.call.start_work()
            }
            Some(Ok(frame)) => frame
                .data_ref()
                .map_or(Ok(()), |data| self.call.hold(data.len())),
            Some(Err(_)) => Ok(()),
            None => self.call.start_work(),
        };
        Poll::Ready(match counted {
            Ok(()) => frame.map(|frame| frame.map_err(Into::into)),
            Err(limit) => Some(Err(self.call.body_error(limit))),
        })
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A reply on its way out.
pub(crate) struct ReplyBody {
    pub(crate) body: Body,
    pub(crate) call: Arc<OpenCall>,
    pub(crate) pending: Option<PendingReply>,
}

impl HttpBody for ReplyBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.call.streams != Streams::None {
            // The connection polls for the next reply once it has sent this one.
            self.pending = None;
        }
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &frame
            && let Some(data) = frame.data_ref()
        {
            self.call.send(data.len());
            if self.call.streams != Streams::None {
                self.pending = self.call.pending_reply();
            } else {
                // This reply exists already: only later calls are refused.
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

/// A reply that may never end, such as a health watch: it ends when its connection
/// closes.
pub(crate) struct EndlessBody {
    pub(crate) body: Body,
    pub(crate) closing: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    pub(crate) protocol: &'static dyn Protocol,
    pub(crate) ended: bool,
    /// Set from when a reply is sent until the connection polls for the next one.
    pub(crate) pending: Option<PendingReply>,
    pub(crate) call: FreeCall,
}

impl HttpBody for EndlessBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        self.pending = None;
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &frame
            && let Some(data) = frame.data_ref()
        {
            self.call.send(data.len());
            self.pending = self.call.connection().map(Connection::reply);
        }
        let closing = match &mut self.closing {
            Some(closing) if frame.is_pending() => closing.as_mut().poll(context),
            _ => Poll::Pending,
        };
        if closing.is_pending() {
            return frame;
        }
        self.ended = true;
        let trailers = self.protocol.closing_trailers();
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.body.is_end_stream()
    }
}
